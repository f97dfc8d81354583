"""What others have printed: report/published.csv."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from resnest_core.errors import InputError

REPORT = Path(__file__).parents[2] / "report"
PAPER, AUTHORS, REPLICATION, TIMM = "paper", "authors", "replication", "third-party"
ENCODING = "encoding"  # where the authors print the figures for segmentation
DETECTRON = "detectron2"  # and those for detection
# How the notes under a table name each kind of source.
SOURCES = {
    PAPER: "the paper [@zhang2020resnest], as secondary sources quote it",
    AUTHORS: "the authors' repository, figures for PyTorch [@resnestcode]",
    ENCODING: "the authors' PyTorch-Encoding [@encoding]",
    DETECTRON: "the authors' configurations for detectron2 [@resnestcode]",
    REPLICATION: "the earlier replication [@ouraou-replication]",
    TIMM: "timm: the authors' weights under another preprocessing [@wightman2019timm]",
}
CLASSIFIERS = ("base_results", "ablation", "efficiency")
DETECTORS = ("object_detection", "instance_segmentation", "panoptic_segmentation")
STUDIES = {
    **dict.fromkeys(("pixAcc", "mIoU"), ("semantic_segmentation",)),
    **dict.fromkeys(("box_AP", "mask_AP", "PQ"), DETECTORS),
}


@dataclass(frozen=True)
class Quote:
    """One published figure, with the digits that its source prints."""

    text: str
    source: str
    note: str

    @property
    def value(self) -> float:
        return float(self.text)


@dataclass(frozen=True)
class Elsewhere:
    """A speed that others have measured: images a second, and on what."""

    device: str
    value: float


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with open(REPORT / "published.csv", newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def quote(model: str, metric: str, source: str) -> Quote | None:
    """What `source` printed of a network's `metric`: of a classifier on ILSVRC2012 top1, top5, parameters, flops or
    throughput; of a segmentation network pixAcc or mIoU; of a detector box_AP, mask_AP or PQ.
    """
    if source not in SOURCES:
        raise InputError(f"unknown source '{source}'; valid: {', '.join(SOURCES)}")
    kind = AUTHORS if source in (ENCODING, DETECTRON) else source
    studies = STUDIES.get(metric, CLASSIFIERS)
    rows = [
        row
        for row in _rows()
        if (row["model"], row["metric"], row["kind"]) == (model, metric, kind) and row["study"] in studies
    ]
    if len({row["value"] for row in rows}) > 1:
        raise InputError(f"published.csv has more than one {metric} of '{model}' from source '{source}'")
    if not rows:
        return None
    text = rows[0]["value"]
    # The paper's abstract prints mIoU with one decimal, all others with two.
    return Quote(text if (metric, source) == ("mIoU", PAPER) else _padded(text, metric), source, rows[0]["note"])


def elsewhere(model: str) -> list[Elsewhere]:
    """The speeds of a classifier at 224 pixels that timm's authors have measured."""
    rows = [row for row in _rows() if (row["model"], row["metric"], row["kind"]) == (model, "throughput", TIMM)]
    return [Elsewhere(row["protocol"].partition(";")[0], float(row["value"])) for row in rows]


def _padded(value: str, metric: str) -> str:
    """An accuracy with two decimals or more: spreadsheets drop the zeros that the source prints."""
    whole, _, decimals = value.partition(".")
    scores = ("top1", "top5", "pixAcc", "mIoU", "box_AP", "mask_AP", "PQ")
    return f"{whole}.{decimals.ljust(2, '0')}" if metric in scores else value
