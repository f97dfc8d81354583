"""What kinds of error a detector makes, in the manner of TIDE (Bolya et al. 2020, ECCV, arXiv 2008.08115), for boxes.

TIDE weighs its kinds by the AP that mending them would bring. Here they are counted among the detections that a user
would see, so that counts of images can be summed and resampled.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from resnest_core.errors import InputError

KINDS = ("correct", "wrong class", "badly placed", "both", "duplicate", "background", "missed")
LEAST_SCORE = 0.3  # of a detection that counts
RIGHT, NEAR = 0.5, 0.1  # overlaps (IoU) from which a box is placed well, and is about an object at all


class _Boxes(NamedTuple):
    """Boxes (n, 4), categories (n,) and whether each is a crowd (n,)."""

    boxes: NDArray[np.float64]
    category: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    def at(self, rows: NDArray) -> "_Boxes":
        return _Boxes(*(column[rows] for column in self))


def error_kinds(images: pd.DataFrame, truths: pd.DataFrame, detections: pd.DataFrame) -> pd.DataFrame:
    """How many detections of score 0.3 or more are of each kind, and how many truths are missed: a row per image.

    By falling score a detection is `correct` that overlaps a free truth of its class by 0.5 or more. One that is not is
    the first of these that fits: `badly placed` (its best overlap in its class is 0.1 to 0.5), `wrong class` (0.5 or
    more with another class), `duplicate` (0.5 or more with a truth that is taken), `both` (0.1 to 0.5 with another
    class), `background`. One that lies in a crowd of its class by half does not count. A truth is `missed` if it is
    not matched, nor the one that a badly placed detection or one of a wrong class overlaps most.

    Rows are named by the image's index. Raises InputError for an image that is not there.
    """
    seen = detections[detections["score"] >= LEAST_SCORE].sort_values("score", ascending=False, kind="stable")
    true, found = _boxes(truths, truths["crowd"]), _boxes(seen, np.zeros(len(seen), bool))
    rows = [_rows(images, table, what) for table, what in ((truths, "truth"), (seen, "detection"))]
    none = np.zeros(0, np.int64)
    index = pd.Index(images["index"], name="index")
    counts = [_count(true.at(rows[0].get(i, none)), found.at(rows[1].get(i, none))) for i in index]
    return pd.DataFrame(counts, index=index, columns=KINDS)


def _boxes(table: pd.DataFrame, crowd: pd.Series | NDArray[np.bool_]) -> _Boxes:
    boxes = table[["x", "y", "width", "height"]].to_numpy(np.float64)
    return _Boxes(boxes, table["category"].to_numpy(), np.asarray(crowd, bool))


def _rows(images: pd.DataFrame, table: pd.DataFrame, what: str) -> dict:
    """The rows of each image."""
    lost = table.loc[~table["index"].isin(images["index"]), "index"]
    if len(lost):
        raise InputError(f"a {what} has index {lost.iloc[0]}; valid: the index of an image")
    return table.groupby("index").indices


def _count(truths: _Boxes, found: _Boxes) -> list[int]:
    """The row of one image, whose detections stand by falling score."""
    true, crowd = truths.at(~truths.crowd), truths.at(truths.crowd)
    in_class, elsewhere = _overlaps(found, true)
    match = _match(in_class)
    kinds = _kinds(match, in_class, elsewhere)
    in_crowd = _overlaps(found, crowd)[0].max(axis=1, initial=0) >= RIGHT
    kinds[in_crowd & (match < 0)] = ""
    near = {*_best(in_class[kinds == "badly placed"]), *_best(elsewhere[kinds == "wrong class"])}
    missed = len(true.category) - len(near | {*match[match >= 0].tolist()})
    return [*(int((kinds == name).sum()) for name in KINDS[:-1]), missed]


def _overlaps(found: _Boxes, true: _Boxes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Overlaps (d, t) with truths of the detection's class, and with others; 0 stands for those of the other kind."""
    same = found.category[:, None] == true.category
    if not same.size:
        return np.zeros(same.shape), np.zeros(same.shape)
    overlap = run_lengths.iou(found.boxes, true.boxes, true.crowd.astype(np.uint8))
    return overlap * same, overlap * ~same


def _match(overlap: NDArray[np.float64]) -> NDArray[np.int64]:
    """The truth (d,) that each detection takes, or -1; who scores more takes first."""
    free, match = overlap.copy(), np.full(len(overlap), -1)
    for row in np.flatnonzero(overlap.max(axis=1, initial=0) >= RIGHT):
        best = free[row].argmax()
        if free[row, best] >= RIGHT:
            match[row], free[:, best] = best, 0
    return match


def _kinds(match: NDArray[np.int64], in_class: NDArray[np.float64], elsewhere: NDArray[np.float64]) -> NDArray[np.str_]:
    """The kind (d,) of each detection: the first that fits."""
    own, other = in_class.max(axis=1, initial=0), elsewhere.max(axis=1, initial=0)
    fits = {
        "correct": match >= 0,
        "badly placed": (own >= NEAR) & (own < RIGHT),
        "wrong class": other >= RIGHT,
        "duplicate": own >= RIGHT,
        "both": other >= NEAR,
    }
    return np.select(list(fits.values()), list(fits), "background")


def _best(overlap: NDArray[np.float64]) -> list[int]:
    """The truth that each detection overlaps most."""
    return overlap.argmax(axis=1).tolist() if overlap.size else []
