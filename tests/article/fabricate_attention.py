"""Invented predictions and weights of the analysis of attention, and what the real analysis makes of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from fabricate import CLASSES, IMAGES, Study

from resnest_core.analyses.attention_effects import ALL, NONE, QUANTILES, metrics
from resnest_core.analyses.attention_maps import PARTS
from resnest_core.analyses.interventions import changes_for

NETWORKS = {"mini_resnest11": 2, "mini_resnest20": 2, "mini_4s1x64d_seed0": 4, "mini_1s1x64d_seed0": 1}
STAGES = ("stage1", "stage2", "stage3")
HARM = {"mean": 20, "shuffled": 40, "uniform": 25, "rolled": 90}  # images lost of a thousand


def attention(
    study: Study,
    networks: Mapping[str, int] = NETWORKS,
    harm: Mapping[str, int] = HARM,
    *,
    name: str = "classifiers",
    missing: str | None = None,
) -> None:
    """The analysis of `networks` (radix by name of the run), whose interventions lose `harm` images each."""
    key = f"attention/{name}"
    study.add(key, {"limit": IMAGES}, missing)
    if missing is not None:
        return
    records = pd.concat([_records(study, run, radix, harm) for run, radix in networks.items()], ignore_index=True)
    maps = pd.concat([_maps(study, run) for run in networks], ignore_index=True)
    spread = {"block": ALL} | {f"p{q}": 0.2 + 0.6 * q / 100 for q in QUANTILES}
    blocks = pd.DataFrame([{"run": run, "stage": stage} | spread for run in networks for stage in STAGES])
    parameters = {
        "limit": IMAGES,
        "models": {run: run.removesuffix("_seed0") for run in networks},
        "radix": dict(networks),
        "stages": {run: list(STAGES) for run in networks},
    }
    study.store(key, parameters, metrics(records, maps, blocks), records)


def _records(study: Study, run: str, radix: int, harm: Mapping[str, int]) -> pd.DataFrame:
    """The untouched network gets nine of ten images right; an intervention loses some of them, fewer in one stage."""
    right = np.arange(IMAGES) % 10 != 0
    cases = [_rows(study, right, NONE, ALL)]
    for name in changes_for(radix):
        for stage in (ALL, *STAGES):
            correct = right.copy()
            correct[np.flatnonzero(right)[: harm[name] if stage == ALL else harm[name] // 4]] = False
            correct[np.flatnonzero(~right)[:5]] = True
            cases.append(_rows(study, correct, name, stage))
    return pd.concat(cases, ignore_index=True).assign(run=run)


def _rows(study: Study, correct: np.ndarray, intervention: str, stage: str) -> pd.DataFrame:
    predicted = np.where(correct, study.targets, (study.targets + 1) % CLASSES)
    rows = pd.DataFrame({"index": range(IMAGES), "target": study.targets, "predicted": predicted, "correct": correct})
    return rows.assign(intervention=intervention, stage=stage)


def _maps(study: Study, run: str) -> pd.DataFrame:
    random = np.random.default_rng(len(run))
    frames: Sequence[pd.DataFrame] = [
        pd.DataFrame(random.uniform(0.01, 0.03, (IMAGES, len(PARTS))), columns=PARTS).assign(
            run=run,
            index=range(IMAGES),
            target=study.targets,
            stage=stage,
            block=1,
            entropy=random.uniform(0.7, 0.9, IMAGES),
        )
        for stage in STAGES
    ]
    return pd.concat(frames, ignore_index=True)


def add(study: Study) -> None:
    """The experiment of the default profile."""
    attention(study)
