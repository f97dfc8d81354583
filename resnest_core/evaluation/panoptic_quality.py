"""Panoptic quality (Kirillov et al. 2019, CVPR, arXiv 1801.00868), from counts by image and category."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from resnest_core.errors import InputError
from resnest_core.evaluation.average_precision import DRAWS, limits, resamples
from resnest_core.evaluation.results import Metric, metric

VOID = 0  # the id of pixels that belong to no segment
LEAST_OVERLAP = 0.5  # that a match exceeds, which makes it the only one
COUNTS = ["tp", "fp", "fn", "iou"]

Map = NDArray[np.integer]
Segments = Sequence[tuple[int, int]]


def count_segments(
    predicted: Map, segments: Segments, true: Map, true_segments: Segments, crowd: Collection[int] = ()
) -> pd.DataFrame:
    """Matches (tp), false (fp) and missing (fn) segments and the matches' sum of IoU (iou) of one image, by category.

    The maps (H, W) hold ids of segments, 0 where there is none; segments are pairs of id and category, `crowd` are the
    ids of true ones that hold many. Predicted and true segments match that have one category and overlap by more than
    half. Void counts for no union, and a prediction that lies by more than half in void or in crowds of its category is
    left out. Raises InputError if the maps have different sizes or other ids than the segments.
    """
    if predicted.shape != true.shape:
        raise InputError(f"a predicted map has shape {predicted.shape}, the true one {true.shape}; they must be equal")
    guesses, guess = np.unique(predicted, return_inverse=True)
    truths, truth = np.unique(true, return_inverse=True)
    of_guess, of_true = _categories("predicted", guesses, segments), _categories("true", truths, true_segments)
    pairs = np.bincount((truth * len(guesses) + guess).ravel(), minlength=len(truths) * len(guesses))
    shared, same = pairs.reshape(len(truths), len(guesses)), of_true[:, None] == of_guess
    many = np.isin(truths, list(crowd))
    real, whole = guesses != VOID, (truths != VOID) & ~many
    overlap = _overlap(shared, truths == VOID) * (same & real & whole[:, None])
    match = overlap > LEAST_OVERLAP
    unknown = shared * ((truths == VOID)[:, None] | (same & many[:, None]))
    left_out = unknown.sum(axis=0) > shared.sum(axis=0) / 2
    counts = {
        "tp": (of_true, match.any(axis=1)),
        "fp": (of_guess, real & ~match.any(axis=0) & ~left_out),
        "fn": (of_true, whole & ~match.any(axis=1)),
        "iou": (of_true, (overlap * match).sum(axis=1)),
    }
    categories = np.unique(np.concatenate([of_guess[real], of_true[whole]]))
    columns = {name: [values[of == category].sum() for category in categories] for name, (of, values) in counts.items()}
    return pd.DataFrame({"category": categories, **columns})


def panoptic_quality(rows: pd.DataFrame, things: Collection[int], weights: ArrayLike | None = None) -> dict[str, float]:
    """PQ, SQ and RQ (%), means over the categories that are in truth or prediction; NaN where there is none.

    The same follows over the categories of `things` (PQ_things, and so on) and over the others (PQ_stuff). `rows` are
    those of `count_segments`; `weights` (n,) are how often each image counts, which the rows name by `index`, 0 to
    n - 1.
    """
    counts = rows[COUNTS].to_numpy(np.float64)
    if weights is not None:
        counts *= np.asarray(weights)[rows["index"]][:, None]
    sums = pd.DataFrame(counts, columns=COUNTS).groupby(rows["category"].to_numpy()).sum()
    sums = sums[sums[["tp", "fp", "fn"]].sum(axis=1) > 0]
    thing = sums.index.isin(list(things))
    parts = {"": sums, "_things": sums[thing], "_stuff": sums[~thing]}
    return {f"{name}{part}": value for part, chosen in parts.items() for name, value in _qualities(chosen).items()}


def panoptic_metrics(rows: pd.DataFrame, things: Collection[int], n: int) -> dict[str, Metric]:
    """`panoptic_quality` of n images with bootstrap intervals over them; what is NaN is left out."""
    values = panoptic_quality(rows, things)
    drawn = pd.DataFrame([panoptic_quality(rows, things, weights) for weights in resamples(n, DRAWS)])
    found = {}
    for name, value in values.items():
        low, high = limits(value, drawn[name])
        found[name] = metric(value, "%", low=low, high=high, n=n)
    return {name: value for name, value in found.items() if not np.isnan(value["value"])}


def _categories(what: str, ids: Map, segments: Segments) -> NDArray[np.int64]:
    """The category of each id, -1 for void."""
    categories = dict(segments)
    lost = ({*ids.tolist()} - {VOID}) ^ {*categories}
    if lost:
        raise InputError(f"{what} segment {min(lost)} is in the map or among the segments only; valid: ids in both")
    return np.array([categories.get(number, -1) for number in ids.tolist()], np.int64)


def _overlap(shared: NDArray[np.int64], void: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU (t, g) from the shared pixels; what a prediction has in void belongs to no union."""
    union = shared.sum(axis=1, keepdims=True) + shared[~void].sum(axis=0) - shared
    return shared / np.maximum(union, 1)


def _qualities(sums: pd.DataFrame) -> dict[str, float]:
    matched, found = sums["tp"], sums["tp"] + (sums["fp"] + sums["fn"]) / 2
    shares = {"PQ": sums["iou"] / found, "SQ": sums["iou"] / matched.clip(lower=1), "RQ": matched / found}
    return {name: 100 * float(share.mean()) for name, share in shares.items()}
