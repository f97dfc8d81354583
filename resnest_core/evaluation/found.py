"""What an evaluation of a detector left, read again: scores, curves, errors and things to look at."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resnest_core.evaluation.average_precision import precision_recall
from resnest_core.evaluation.detection_errors import KINDS, LEAST_SCORE, error_kinds
from resnest_core.evaluation.detection_matches import KINDS as COCO_KINDS
from resnest_core.evaluation.detection_matches import Matches, matches
from resnest_core.evaluation.results import RECORDS, RESULT
from resnest_core.figures.detection import Thing, things_of
from resnest_core.statistics import bootstrap

SIZES = {"APs": "small", "APm": "medium", "APl": "large"}
Scores = Sequence[tuple[str, float, float | None, float | None]]  # what is scored, its value (%), limits


@dataclass(frozen=True)
class Found:
    """The images, truths and detections of an evaluation, the names of COCO's numbers, and the metrics."""

    images: pd.DataFrame
    truths: pd.DataFrame
    detections: pd.DataFrame
    names: dict[int, str]
    metrics: dict[str, Any]
    _matched: dict[str, Matches] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, out: str | Path) -> "Found":
        """What the evaluation left in `out`."""
        result = json.loads((Path(out) / RESULT).read_text(encoding="utf-8"))
        parameters = result["parameters"]
        names = dict(zip(parameters["category_ids"], parameters["classes"], strict=True))
        return cls(*read_tables(out), names, result["metrics"])

    def matches(self, kind: str) -> Matches:
        """COCO's matching by "box" or "mask", which takes half a minute on COCO and is done once."""
        if kind not in self._matched:
            name = next(coco for coco, ours in COCO_KINDS.items() if ours == kind)
            self._matched[kind] = matches(self.images, self.truths, self.detections, self.names, name)
        return self._matched[kind]

    def curve(self, kind: str) -> pd.DataFrame:
        """Precision over recall by "box" or "mask" where they overlap by one half."""
        return precision_recall(self.matches(kind))

    def sizes(self, kind: str) -> Scores:
        """AP of small, medium and large objects, where there are any."""
        found = {size: self.metrics.get(f"{kind}_{name}") for name, size in SIZES.items()}
        return [(size, m["value"], m["low"], m["high"]) for size, m in found.items() if m]

    def class_scores(self, kind: str) -> Scores:
        """AP of each class that occurs."""
        start = f"{kind}_AP."
        found = {name.removeprefix(start): m for name, m in self.metrics.items() if name.startswith(start)}
        return [(name, m["value"], m["low"], m["high"]) for name, m in found.items()]

    @property
    def errors(self) -> Scores:
        """Each kind of detection, and the objects missed, for every hundred objects, with bootstrap intervals."""
        counts = error_kinds(self.images, self.truths, self.detections)
        objects = self.truths[~self.truths["crowd"]].groupby("index").size().reindex(counts.index, fill_value=0)
        return [(kind, *_rate(counts[kind].to_numpy(), objects.to_numpy())) for kind in KINDS]

    def true_things(self, count: int) -> list[list[Thing]]:
        """The objects of the first images."""
        return [things_of(self.truths, row, self.names) for _, row in self.images.head(count).iterrows()]

    def things(self, count: int) -> list[list[Thing]]:
        """What was found in the first images with a score that counts as an error or as right."""
        rows = self.images.head(count).iterrows()
        return [things_of(self.detections, row, self.names, least_score=LEAST_SCORE) for _, row in rows]


def read_tables(out: str | Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The images, truths and detections that an evaluation left in `out`."""
    out = Path(out)
    records = pd.read_parquet(out / RECORDS)
    return records, pd.read_parquet(out / "truths.parquet"), pd.read_parquet(out / "detections.parquet")


def _rate(counts: Any, objects: Any) -> tuple[float, float | None, float | None]:
    """Sum of counts (n,) for a hundred objects (n,), with its interval over the n images."""
    if not objects.sum():
        return float("nan"), None, None
    interval = bootstrap(
        lambda chosen: 100 * counts[chosen].sum(-1) / np.maximum(objects[chosen].sum(-1), 1), len(counts)
    )
    return interval.value, interval.low, interval.high
