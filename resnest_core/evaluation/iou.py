"""Pixel accuracy and intersection over union, from counts by image and class."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnest_core.data.base import IGNORED
from resnest_core.errors import InputError
from resnest_core.evaluation.results import Metric, metric
from resnest_core.statistics import bootstrap

Counts = NDArray[np.int64]
CLASS = "iou."  # begins the names of the classes' metrics
COUNTS = ("intersections", "unions", "pixels")


def count(predicted: Tensor, target: Tensor, classes: int) -> dict[str, Tensor]:
    """By class (classes,): pixels that are right, pixels of the class in either map, and pixels of it in truth.

    `predicted` and `target` are maps (H, W) of 0 to `classes` - 1; where the target is -1 neither map counts.
    """
    counted = target != IGNORED
    truth, guess = target[counted].long(), predicted[counted].long()
    right, guessed, true = (torch.bincount(x, minlength=classes) for x in (guess[guess == truth], guess, truth))
    return {"intersections": right, "unions": guessed + true - right, "pixels": true}


def by_image(records: pd.DataFrame) -> dict[str, Counts]:
    """The counts of segmentation records as matrices (images, classes); InputError if there are none."""
    if records.empty:
        raise InputError("there is no record of an image; evaluate one or more")
    return {name: np.stack(records[name].to_list()).astype(np.int64) for name in COUNTS}


def pixel_accuracy(intersections: Counts, pixels: Counts) -> NDArray[np.float64]:
    """The share (%) of labelled pixels that are right, from sums (..., classes) over images; 0 of none."""
    return 100 * intersections.sum(-1) / np.maximum(pixels.sum(-1), 1)


def class_iou(intersections: Counts, unions: Counts) -> NDArray[np.float64]:
    """Intersection over union (%) of each class, from sums (..., classes); 0 for a class that is nowhere."""
    return 100 * intersections / np.maximum(unions, 1)


def mean_iou_all(intersections: Counts, unions: Counts) -> NDArray[np.float64]:
    """The authors' mIoU (%): over all classes, one that is nowhere counting 0 (`encoding/utils/metrics.py`)."""
    return class_iou(intersections, unions).mean(-1)


def mean_iou_present(intersections: Counts, unions: Counts) -> NDArray[np.float64]:
    """The usual mIoU (%): over the classes that are in the truth or in the prediction of any image."""
    present = (unions > 0).sum(-1)
    return class_iou(intersections, unions).sum(-1) / np.maximum(present, 1)


def segmentation_metrics(records: pd.DataFrame, classes: Sequence[str]) -> dict[str, Metric]:
    """Pixel accuracy, mIoU in both ways, and the IoU of each class (%), with bootstrap intervals over images.

    The class's metric is called iou.CLASS; a class that is nowhere has none. Where no pixel counts there are none.
    """
    counts = by_image(records)
    if not counts["pixels"].any():
        return {}
    metrics = {
        "pixAcc": _interval(pixel_accuracy, counts["intersections"], counts["pixels"]),
        "mIoU": _interval(mean_iou_all, counts["intersections"], counts["unions"]),
        "mIoU_present": _interval(mean_iou_present, counts["intersections"], counts["unions"]),
    }
    for i, name in enumerate(classes):
        one = [counts[key][:, i : i + 1] for key in ("intersections", "unions")]
        if one[1].any():
            metrics[f"{CLASS}{name}"] = _interval(mean_iou_all, *one)
    return metrics


def class_scores(metrics: Mapping[str, Metric]) -> list[tuple[str, float, float | None, float | None]]:
    """The classes among `segmentation_metrics`: name, IoU (%) and limits."""
    found = {name.removeprefix(CLASS): value for name, value in metrics.items() if name.startswith(CLASS)}
    return [(name, value["value"], value["low"], value["high"]) for name, value in found.items()]


def _interval(statistic: Callable[[Counts, Counts], NDArray[np.float64]], a: Counts, b: Counts) -> Metric:
    """A statistic of sums over images as a metric."""
    interval = bootstrap(lambda chosen: statistic(a[chosen].sum(-2), b[chosen].sum(-2)), len(a))
    return metric(interval.value, "%", low=interval.low, high=interval.high, n=interval.n)
