"""Result files: metrics with intervals, parameters and provenance, beside the records they were computed from."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from resnest_core.errors import InputError
from resnest_core.files import write_json
from resnest_core.outputs import MARK, facts_of
from resnest_core.outputs import RESULT as RESULT  # part of what this module offers
from resnest_core.statistics import mean_interval, wilson

Metric = dict[str, Any]
UNDEFINED = "undefined"  # in place of a score that a result has not: an accuracy of no pixel, a precision of no object

RECORDS = "records.parquet"
SCORED = ("correct", "rank", "loss")  # the columns of a classifier's records that its metrics follow from


def metric(
    value: float, unit: str, *, low: float | None = None, high: float | None = None, n: int | None = None
) -> Metric:
    """One entry of a result's metrics; `low` and `high` bound the 95 % interval, where there is one."""
    return {"value": value, "low": low, "high": high, "n": n, "unit": unit}


def printed(metrics: dict[str, Metric], name: str) -> str:
    """A score with two decimals, for a line."""
    return f"{metrics[name]['value']:.2f}" if name in metrics else UNDEFINED


def quartiles(values: ArrayLike, unit: str) -> Metric:
    """The median of values (n,), between the quartiles."""
    numbers = np.asarray(values, np.float64)
    if not numbers.size:
        raise InputError(f"there is no value in {unit} to take the median of; there must be one or more")
    low, median, high = np.quantile(numbers, [0.25, 0.5, 0.75])
    return metric(float(median), unit, low=float(low), high=float(high), n=numbers.size)


def rate(rates: list[float]) -> Metric:
    """Images a second, over batches or images."""
    return quartiles(rates, "images/s")


def classification_metrics(records: pd.DataFrame) -> dict[str, Metric]:
    """Top-1 and top-5 accuracy (%, Wilson intervals) and the mean loss (nats, t interval) of classifier records."""
    n = len(records)
    top1 = wilson(int(records["correct"].sum()), n)
    top5 = wilson(int((records["rank"] <= 5).sum()), n)
    loss = mean_interval(records["loss"].to_numpy(np.float64))
    return {
        "top1": metric(top1.value, "%", low=top1.low, high=top1.high, n=n),
        "top5": metric(top5.value, "%", low=top5.low, high=top5.high, n=n),
        "loss": metric(loss.value, "nats", low=loss.low, high=loss.high, n=n),
    }


def write_result(out: Path, metrics: dict[str, Metric], parameters: dict[str, Any], provenance: dict[str, Any]) -> dict:
    """Write `result.json`, the last file of a run, and return its content."""
    result = {"metrics": metrics, "parameters": parameters, "provenance": provenance}
    result |= {"run": facts} if (facts := facts_of(out)) else {}
    write_json(out / RESULT, result)
    (out / MARK).unlink(missing_ok=True)
    return result


def metrics_table(result: dict[str, Any]) -> pd.DataFrame:
    """The metrics of a result file as a table to read: value, low, high, n, unit, a row a metric; empty where none."""
    table = pd.DataFrame(result["metrics"]).T
    return table.map(lambda entry: "" if pd.isna(entry) else entry if isinstance(entry, str) else f"{entry:,.6g}")
