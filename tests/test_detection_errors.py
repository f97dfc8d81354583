"""Kinds of error of detections: each by hand, what crowds do, and sums that must hold for any boxes."""

import numpy as np
import pandas as pd
import pytest

from resnest_core.errors import InputError
from resnest_core.evaluation.detection_errors import KINDS, error_kinds

# A box of 10 by 10 overlaps one that is moved by 2.5 by 0.6, by 5 by 1/3, and by 9 by 1/19.
GOOD, POOR, FAR = 2.5, 5.0, 9.0


def box(x: float, category: int = 1, score: float = 0.9, *, crowd: bool = False, width: float = 10) -> dict:
    place = {"index": 4, "category": category, "x": x, "y": 0.0, "width": width, "height": 10.0}
    return place | {"score": score, "crowd": crowd}


def kinds(found: list[dict], truths: list[dict]) -> dict[str, int]:
    """The kinds that occur in one image."""
    columns = list(box(0))
    tables = (pd.DataFrame(rows, columns=columns) for rows in (truths, found))
    counts = error_kinds(pd.DataFrame({"index": [4]}), *tables).loc[4]
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize(
    ("found", "truths", "expected"),
    [
        ([box(0)], [box(GOOD)], {"correct": 1}),
        ([box(POOR)], [box(0)], {"badly placed": 1}),
        ([box(GOOD, 2)], [box(0)], {"wrong class": 1}),
        ([box(POOR, 2)], [box(0)], {"both": 1, "missed": 1}),
        ([box(0), box(GOOD, score=0.5)], [box(0)], {"correct": 1, "duplicate": 1}),
        ([box(FAR)], [box(0)], {"background": 1, "missed": 1}),
        ([box(0)], [], {"background": 1}),
        ([], [box(0), box(50)], {"missed": 2}),
        ([], [], {}),
        ([box(0, score=0.29)], [box(0)], {"missed": 1}),
        ([box(0, score=0.3)], [box(0)], {"correct": 1}),
    ],
)
def test_each_kind(found: list[dict], truths: list[dict], expected: dict[str, int]) -> None:
    assert kinds(found, truths) == expected


def test_the_best_scored_detection_takes_the_truth_first() -> None:
    """The one in the middle overlaps both truths, the one on the left only the first, which both like best."""
    middle, left, truths = 1, -1, [box(0), box(3)]
    found = [box(left, score=0.8), box(middle, score=0.9)]
    assert kinds(found, truths) == kinds(found[::-1], truths) == {"correct": 1, "duplicate": 1, "missed": 1}
    found = [box(left, score=0.9), box(middle, score=0.8)]
    assert kinds(found, truths) == kinds(found[::-1], truths) == {"correct": 2}


def test_the_first_kind_that_fits() -> None:
    assert kinds([box(POOR)], [box(0), box(POOR, 2)]) == {"badly placed": 1, "missed": 1}
    truths = [box(0), box(1, 2)]
    assert kinds([box(0), box(1, score=0.5)], truths) == {"correct": 1, "wrong class": 1}


def test_a_truth_that_two_errors_touch_is_not_missed() -> None:
    found = [box(POOR), box(0, 2), box(50)]
    assert kinds(found, [box(0), box(80)]) == {"badly placed": 1, "wrong class": 1, "background": 1, "missed": 1}


def test_crowds_neither_count_nor_are_missed() -> None:
    crowd = box(0, crowd=True, width=100)
    assert kinds([box(0), box(30), box(94)], [crowd]) == {}
    assert kinds([box(96)], [crowd]) == {"background": 1}, "more of it lies outside"
    assert kinds([box(30, 2)], [crowd]) == {"background": 1}, "the crowd is of another class"
    assert kinds([box(30)], [crowd, box(30)]) == {"correct": 1}
    assert kinds([box(30 + POOR)], [crowd, box(30)]) == {"missed": 1}, "it does not count, so it touches nothing"


def test_sums_over_random_images() -> None:
    rng = np.random.default_rng(0)
    images = pd.DataFrame({"index": range(30)})
    tables = []
    for size in (200, 300):
        sides = {name: rng.uniform(10, 30, size) for name in ("x", "y", "width", "height")}
        ids = {"index": rng.integers(0, 28, size), "category": rng.integers(1, 3, size)}
        tables.append(pd.DataFrame(ids | sides).assign(score=rng.random(size), crowd=rng.random(size) < 0.05))
    truths, found = tables
    counts = error_kinds(images, truths, found)
    assert counts.index.tolist() == list(range(30))
    assert tuple(counts.columns) == KINDS
    assert (counts >= 0).all(axis=None)
    assert (counts.sum() > 0).all(), "every kind occurs"
    seen = found[found["score"] >= 0.3].groupby("index").size().reindex(images["index"], fill_value=0)
    real = truths[~truths["crowd"]].groupby("index").size().reindex(images["index"], fill_value=0)
    assert (counts.drop(columns="missed").sum(axis=1) <= seen).all()
    assert (counts["correct"] + counts["missed"] <= real).all()
    assert (counts.loc[28:] == 0).all(axis=None)
    alone = error_kinds(images.iloc[5:6], *(table[table["index"] == 5] for table in tables))
    assert alone.loc[5].equals(counts.loc[5])
    without = error_kinds(images, truths.assign(crowd=False), found)
    assert (without.drop(columns="missed").sum(axis=1) == seen).all()


def test_without_detections() -> None:
    truths = pd.DataFrame([box(0)])
    counts = error_kinds(pd.DataFrame({"index": [4]}), truths, truths.iloc[:0])
    assert counts["missed"].tolist() == [1]


@pytest.mark.parametrize("what", ["truth", "detection"])
def test_an_image_that_is_not_there(what: str) -> None:
    good, bad = pd.DataFrame([box(0)]), pd.DataFrame([box(0)]).assign(index=5)
    tables = (bad, good) if what == "truth" else (good, bad)
    with pytest.raises(InputError, match=f"a {what} has index 5; valid: the index of an image"):
        error_kinds(pd.DataFrame({"index": [4]}), *tables)
