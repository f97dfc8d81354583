"""Invented results of the analysis of saliency, by its own code on invented records, beside those of `fabricate`."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from fabricate import CLASSES, Study

from resnest_core.analyses.saliency_cases import save_cases
from resnest_core.analyses.saliency_scores import saliency_metrics

NAME = "saliency/depth_11"
IMAGES, SIDE = 200, 8
DEFAULT = {  # network and mean excess fall of each run of the default profile
    "mini_resnest11": ("mini_resnest11", 0.1),
    "mini_resnetd11": ("mini_resnetd11", 0.0),
    "mini_2s1x64d_seed1": ("mini_2s1x64d", 0.2),
}


def add(
    study: Study,
    runs: Mapping[str, tuple[str, float]] = DEFAULT,
    *,
    key: str = NAME,
    objects: bool = True,
    agreement: float = 0.3,
    missing: str | None = None,
) -> None:
    """The analysis of `runs`, whose maps agree with those of the first by `agreement` in the mean."""
    study.add(key, {"limit": IMAGES, "stage": 0, "seed": 0}, missing)
    if missing is not None:
        return
    records = pd.concat(
        [
            invented(name, number, excess, objects=objects, agreement=agreement if number else None)
            for number, (name, (_, excess)) in enumerate(runs.items())
        ]
    )
    first = records[records["run"] == next(iter(runs))]
    shown = [*first.index[first["correct"]][:2], *first.index[~first["correct"]][:2]]
    beside = list(runs)[:2]
    parameters = {
        "models": {name: model for name, (model, _) in runs.items()},
        "seeds": {name: int(name.endswith("seed1")) for name in runs},
        "stages": dict.fromkeys(runs, 2),
        "map_sides": dict.fromkeys(runs, 4),
        "beside": beside,
        "shown": shown,
        "classes": [f"class {i}" for i in range(CLASSES)],
    }
    study.store(key, parameters, saliency_metrics(records), records)
    heat = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(1, SIDE, SIDE).repeat(len(shown), axis=0)
    save_cases(
        study.directory / key, [np.ones((3, SIDE, SIDE), np.float32)] * len(shown), [(heat, 1 - heat)] * len(beside)
    )


def invented(name: str, number: int, excess: float, *, objects: bool, agreement: float | None) -> pd.DataFrame:
    """Rows of one run, which gets some nine of ten images right."""
    rng = np.random.default_rng(number)

    def scatter(deviation: float) -> np.ndarray:
        """About zero, and zero in the mean."""
        drawn = rng.normal(0, deviation, IMAGES)
        return drawn - drawn.mean()

    target, correct = np.arange(IMAGES) % CLASSES, rng.random(IMAGES) < 0.9
    rows = pd.DataFrame({"run": name, "index": range(IMAGES), "image": "x.png", "target": target, "correct": correct})
    rows["predicted"] = np.where(correct, target, (target + 1) % CLASSES)
    rows["before"] = rng.uniform(0.6, 0.99, IMAGES)
    rows["after_random"] = rows["before"] - 0.2 + scatter(0.05)
    rows["after_marked"] = rows["after_random"] - excess + scatter(0.05)
    rows["hot"] = 0.2 + np.clip(scatter(0.02), -0.1, 0.1)
    rows["object"] = rng.uniform(0.3, 0.6, IMAGES) if objects else np.nan
    rows["on_object"] = rows["object"] + 0.05 + scatter(0.1)
    rows["correlation_true"] = np.where(correct, np.nan, scatter(0.3))
    if agreement is not None:
        rows["correlation"] = agreement + scatter(0.3)
        rows["correlation_other"] = scatter(0.3)
    return rows
