"""Invented results of the analysis of robustness, by its own metrics on invented records."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from fabricate import CLASSES, Study, metric

from resnest_core.analyses.corruption_scores import CLEAN, counterparts, metrics
from resnest_core.analyses.corruptions import CORRUPTIONS, SEVERITIES

NAME = "robustness/corruptions"
IMAGES = 300
RUNS = {"mini_resnetd11": 0.1, "mini_resnest11": 0.14, "mini_resnetd20": 0.1, "mini_resnest20": 0.1}


def add(study: Study, *, runs: Mapping[str, float] = RUNS, real: float | None = None) -> None:
    """The analysis of base results that are there already, whose names are those of their networks.

    `runs` says what share of its right predictions each loses by one step of severity; the first is the baseline.
    """
    places = [(CLEAN, 0), *((name, severity) for name in CORRUPTIONS for severity in SEVERITIES)]
    tables = [_rows(study, run, name, severity, share) for run, share in runs.items() for name, severity in places]
    records, baseline = pd.concat(tables, ignore_index=True), next(iter(runs))
    pairs = counterparts({run: run for run in runs})
    parameters = {"runs": list(runs), "models": {run: run for run in runs}, "baseline": baseline, "counterparts": pairs}
    found = metrics(records, baseline, pairs)
    if real is not None:
        found |= {f"{run}.real": metric(real, real - 1, real + 1, 46_000) for run in runs}
    study.add(NAME, {"limit": IMAGES}, None)
    study.store(NAME, parameters, found, records)


def _rows(study: Study, run: str, corruption: str, severity: int, share: float) -> pd.DataFrame:
    records = pd.read_parquet(study.directory / "base_results" / run / "records.parquet").head(IMAGES)
    # Contrast is the hardest; what is drawn is the same for all networks.
    rate = share * severity * (1.5 if corruption == "contrast" else 1.0)
    spoils = np.random.default_rng([len(corruption), severity]).random(IMAGES) < rate
    predicted = np.where(spoils & records["correct"], (records["target"] + 1) % CLASSES, records["predicted"])
    rows = pd.DataFrame({"index": records["index"], "predicted": predicted, "correct": predicted == records["target"]})
    return rows.assign(run=run, corruption=corruption, severity=severity)
