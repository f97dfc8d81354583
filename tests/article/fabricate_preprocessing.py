"""Invented results of the analysis of preprocessing, by its own metrics on invented records."""

import numpy as np
import pandas as pd
from fabricate import CLASSES, Study

from resnest_core.analyses.conditions import AS_IT_IS, REFERENCE, STORED, Condition, Sweep, conditions
from resnest_core.analyses.preprocessing import metrics
from resnest_core.data.transforms import Preprocessing

NAME = "preprocessing/small"
IMAGES = 400
SMALL = Condition(REFERENCE, STORED, AS_IT_IS)
PHOTOGRAPHS = Condition(REFERENCE, "pillow", Preprocessing())
SIZES = {SMALL: (14, 20, 28, 40), PHOTOGRAPHS: (160, 224, 256)}
WRONG = {"centre_square": 0.5, "resize_then_crop": 0.1, "whole": 0.0}  # share of right predictions that a rule spoils


def add(
    study: Study,
    *,
    runs: tuple[str, ...] = ("mini_resnest11", "mini_resnetd11"),
    own: Condition = SMALL,
    resolution: tuple[float, ...] = (0.4, 0.8),
    spoilt: float | None = None,
) -> None:
    """The analysis of base results that are there already, whose names are those of their networks.

    `resolution` is the share of predictions that twice the size spoils for each of them; `spoilt` is what all others do
    in place of `WRONG`.
    """
    sweep = Sweep(sizes=SIZES[own])
    plan = conditions(own, sweep)
    tables = [_rows(study, run, c, own, r, spoilt) for run, r in zip(runs, resolution, strict=False) for c in plan]
    records = pd.concat(tables, ignore_index=True)
    parameters = {"runs": list(runs), "models": {run: run for run in runs}, "quality": sweep.quality, "limit": IMAGES}
    parameters |= {"conditions": {run: [c.description for c in plan] for run in runs}, "encoded": own is SMALL}
    study.add(NAME, {"limit": IMAGES}, None)
    study.store(NAME, parameters, metrics(records, dict.fromkeys(runs, plan)), records)


def _rows(
    study: Study, run: str, condition: Condition, own: Condition, resolution: float, spoilt: float | None
) -> pd.DataFrame:
    """The run's own records, of which some right ones are spoilt."""
    records = pd.read_parquet(study.directory / "base_results" / run / "records.parquet").head(IMAGES)
    octaves = abs(np.log2(condition.preprocessing.crop_size / own.preprocessing.crop_size))
    share = WRONG[condition.rule] if spoilt is None else spoilt
    share = 0.0 if condition.part == REFERENCE else resolution * octaves if condition.part == "resolution" else share
    spoils = np.random.default_rng(len(condition.name)).random(IMAGES) < share
    predicted = np.where(spoils & records["correct"], (records["target"] + 1) % CLASSES, records["predicted"])
    pixels = {STORED: 0, "pillow": 1, "torchvision": 1, "draft": 2}[condition.decoder]
    rows = pd.DataFrame({"index": records["index"], "pixels": pixels, "predicted": predicted})
    return rows.assign(correct=predicted == records["target"], run=run, condition=condition.name, **condition.factors)
