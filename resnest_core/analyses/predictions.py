"""What finished classifiers say of images that are given to them otherwise than in their own experiment."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnest_core.data.base import select
from resnest_core.errors import InputError
from resnest_core.evaluation.results import Metric, metric
from resnest_core.experiments.finished import Finished
from resnest_core.ranges import check
from resnest_core.statistics import wilson


def chosen_images(targets: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Indices of the first `limit` images (0: all) of those with these targets (n,), when classes take turns."""
    check(limit=limit)
    return select(targets, limit)


def predict(run: Finished, inputs: Tensor) -> NDArray[np.int64]:
    """The classes (N,) that a network says of inputs (N, 3, S, S), where it is and with its experiment's precision."""
    logits = run.forward(inputs)
    if not torch.isfinite(logits).all():
        raise InputError(f"logits of '{run.directory}' are not finite; check the weights")
    return classes_of(logits)


def classes_of(logits: Tensor) -> NDArray[np.int64]:
    """The classes (N,) that logits (N, classes) on the CPU say; of equal ones the first, as for the evaluator."""
    return logits.sort(dim=1, descending=True, stable=True).indices[:, 0].numpy()


def accuracies(records: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Accuracy `top1` (%) of each group of rows `by` columns, with its Wilson interval `low` to `high`, of n images."""
    groups = records.groupby(list(by), observed=True, sort=False)["correct"]
    counts = groups.agg(right="sum", n="size")
    found = [wilson(int(right), int(n)) for right, n in zip(counts["right"], counts["n"], strict=True)]
    scores = [(interval.value, interval.low, interval.high, interval.n) for interval in found]
    return pd.DataFrame(scores, counts.index, ["top1", "low", "high", "n"]).reset_index()


def share(true: NDArray[np.bool_]) -> Metric:
    """The share (%) of images (n,) of which something is true, with its Wilson interval."""
    found = wilson(int(true.sum()), len(true))
    return metric(found.value, "%", low=found.low, high=found.high, n=found.n)
