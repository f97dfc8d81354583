"""What others have printed: report/published.csv."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from resnest_core.errors import InputError

REPORT = Path(__file__).parents[2] / "report"
PAPER, AUTHORS, REPLICATION, TIMM = "paper", "authors", "replication", "third-party"
# How the notes under a table name each kind of source.
SOURCES = {
    PAPER: "the paper [@zhang2020resnest], as secondary sources quote it",
    AUTHORS: "the authors' repository, figures for PyTorch [@resnestcode]",
    REPLICATION: "the earlier replication [@ouraou-replication]",
    TIMM: "timm: the authors' weights under another preprocessing [@wightman2019timm]",
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


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with open(REPORT / "published.csv", newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def quote(model: str, metric: str, source: str) -> Quote | None:
    """What `source` printed of a classifier's `metric` on ILSVRC2012 (top1, top5, parameters, flops, throughput)."""
    if source not in SOURCES:
        raise InputError(f"unknown source '{source}'; valid: {', '.join(SOURCES)}")
    rows = [
        row
        for row in _rows()
        if (row["model"], row["metric"], row["kind"]) == (model, metric, source)
        and row["study"] in ("base_results", "ablation", "efficiency")
    ]
    if len({row["value"] for row in rows}) > 1:
        raise InputError(f"published.csv has more than one {metric} of '{model}' from source '{source}'")
    return Quote(_padded(rows[0]["value"], metric), source, rows[0]["note"]) if rows else None


def _padded(value: str, metric: str) -> str:
    """An accuracy with two decimals or more: spreadsheets drop the zeros that the source prints."""
    whole, _, decimals = value.partition(".")
    return f"{whole}.{decimals.ljust(2, '0')}" if metric.startswith("top") else value
