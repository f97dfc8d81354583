"""Average precision against COCO's own, by hand, under weights, and its intervals."""

import functools
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from resnest_core.errors import InputError
from resnest_core.evaluation import average_precision
from resnest_core.evaluation.average_precision import (
    SCORES,
    Matches,
    average_precisions,
    bootstrap_interval,
    by_category,
    detection_metrics,
    matches,
    paired_difference,
    precision_recall,
)
from resnest_core.evaluation.records import DETECTED_IMAGES, DETECTIONS, TRUTHS

CATEGORIES = {7: "cat", 3: "dog", 90: "owl", 12: "newt"}  # no newt is anywhere
HEIGHT, WIDTH = 170, 230
Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def ellipse(x: float, y: float, width: float, height: float) -> dict:
    """Run lengths of the ellipse in a box."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = ((columns - x - width / 2) / width) ** 2 + ((rows - y - height / 2) / height) ** 2 < 0.25
    return run_lengths.encode(np.asfortranarray(inside.astype(np.uint8)))


def shapes(rng: np.random.Generator, boxes: np.ndarray) -> dict:
    """Columns of boxes and masks."""
    masks = [ellipse(*box)["counts"].decode("ascii") for box in boxes]
    return dict(zip(("x", "y", "width", "height"), boxes.T, strict=True)) | {"mask": masks}


@functools.cache
def scene(seed: int = 0, n: int = 16, *, ties: bool = True, noise: float = 0.08) -> Tables:
    """Objects of all sizes, some of them crowds; image 1 has no object, 2 no detection, 3 neither."""
    rng = np.random.default_rng(seed)
    images = pd.DataFrame({"index": range(n), "image": [f"{i}.png" for i in range(n)]})
    images = images.assign(height=HEIGHT, width=WIDTH)
    t = 6 * n
    side = rng.choice([14, 50, 130], t) * rng.uniform(0.8, 1.2, t)
    boxes = np.column_stack([rng.uniform(0, 90, t), rng.uniform(0, 40, t), side, side * rng.uniform(0.7, 1.0, t)])
    truths = pd.DataFrame({"index": rng.integers(0, n, t), "category": rng.choice([3, 7, 90], t)} | shapes(rng, boxes))
    truths["area"] = truths["width"] * truths["height"] * 0.8
    truths["crowd"] = rng.random(t) < 0.1
    chosen = rng.integers(0, t, 2 * t)
    moved = boxes[chosen] + rng.normal(0, noise, (2 * t, 4)) * side[chosen, None]
    found = truths[["index", "category"]].iloc[chosen].assign(**shapes(rng, np.maximum(moved, 1)))
    found["category"] = np.where(rng.random(2 * t) < 0.2, rng.choice([3, 7, 90], 2 * t), found["category"])
    found["score"] = rng.random(2 * t).round(1) if ties else rng.permutation(2 * t) / (2 * t)
    truths, found = truths[~truths["index"].isin([1, 3])], found[~found["index"].isin([2, 3])]
    return images, truths.reset_index(drop=True), found.reset_index(drop=True)


def coco_stats(tables: Tables, kind: str) -> np.ndarray:
    """The first six of COCOeval's twelve numbers (%), by way of its files' format."""
    images, truths, found = tables
    objects = []
    for i, row in enumerate(truths.to_dict("records"), 1):
        box = [row[side] for side in ("x", "y", "width", "height")]
        mask = {"size": [HEIGHT, WIDTH], "counts": row["mask"]}
        about = {"id": i, "image_id": row["index"], "category_id": row["category"], "iscrowd": int(row["crowd"])}
        objects.append(about | {"bbox": box, "area": row["area"], "segmentation": mask})
    coco = COCO()
    coco.dataset = {"images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in images["index"]]}
    coco.dataset |= {"categories": [{"id": number} for number in CATEGORIES], "annotations": objects, "info": {}}
    coco.createIndex()
    results = []
    for row in found.to_dict("records"):
        result = {"image_id": row["index"], "category_id": row["category"], "score": row["score"]}
        shape = [row[side] for side in ("x", "y", "width", "height")]
        mask = {"size": [HEIGHT, WIDTH], "counts": row["mask"]}
        results.append(result | ({"bbox": shape} if kind == "bbox" else {"segmentation": mask}))
    evaluated = COCOeval(coco, coco.loadRes(results), kind)
    evaluated.evaluate()
    evaluated.accumulate()
    evaluated.summarize()
    return np.where(evaluated.stats[:6] < 0, np.nan, 100 * evaluated.stats[:6])


def scores(tables: Tables, kind: str = "bbox", weights: np.ndarray | None = None) -> list[float]:
    return list(average_precisions(matches(*tables, CATEGORIES, kind), weights).values())


def subset(tables: Tables, chosen: np.ndarray) -> Tables:
    images, truths, found = (table[table["index"].isin(chosen)].reset_index(drop=True) for table in tables)
    return images, truths, found


def twice(tables: Tables, chosen: np.ndarray) -> Tables:
    """With the chosen images a second time, as images of their own."""
    n = len(tables[0])
    copies = [table.assign(index=table["index"] + n) for table in subset(tables, chosen)]
    images, truths, found = (pd.concat(pair, ignore_index=True) for pair in zip(tables, copies, strict=True))
    return images, truths, found


def exact(score: float, x: float, category: int = 3, index: int = 0) -> dict:
    return {"index": index, "category": category, "x": x, "y": 0.0, "width": 10.0, "height": 10.0, "score": score}


def small(found: list[dict], truths: list[dict], n: int = 1) -> Tables:
    """Boxes of 10 by 10 without masks."""
    images = pd.DataFrame({"index": range(n), "image": "a.png", "height": HEIGHT, "width": WIDTH})
    true = pd.DataFrame(truths).drop(columns="score").assign(area=100.0, crowd=False, mask=None)
    return images, true, pd.DataFrame(found).assign(mask=None)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_coco(seed: int, kind: str) -> None:
    tables = scene(seed)
    assert scores(tables, kind) == pytest.approx(coco_stats(tables, kind).tolist(), abs=1e-9)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_equals_coco_on_a_subset(kind: str) -> None:
    tables, chosen = scene(5), np.array([1, 2, 3, 6, 9, 10])
    expected = pytest.approx(coco_stats(subset(tables, chosen), kind).tolist(), abs=1e-9)
    assert scores(subset(tables, chosen), kind) == expected
    assert scores(tables, kind, np.isin(np.arange(16), chosen).astype(int)) == expected


def test_a_weight_of_two_is_the_image_entered_twice() -> None:
    tables, chosen = scene(6, ties=False), np.array([0, 3, 4, 8])
    weights = 1 + np.isin(np.arange(16), chosen)
    for kind in ("bbox", "segm"):
        assert scores(tables, kind, weights) == pytest.approx(scores(twice(tables, chosen), kind), abs=1e-9)
        assert scores(tables, kind, weights) != pytest.approx(scores(tables, kind), abs=1e-3)


def test_areas_without_truths_have_no_score() -> None:
    images, truths, found = scene(1)
    tables = images, truths[truths["area"].between(32**2, 96**2)].reset_index(drop=True), found
    assert np.isnan([scores(tables)[3], scores(tables)[5]]).all()
    assert scores(tables) == pytest.approx(coco_stats(tables, "bbox").tolist(), abs=1e-9, nan_ok=True)
    assert not any(name.startswith("box_APs") for name in detection_metrics(*tables, CATEGORIES, masks=False))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_without_detections_or_truths(kind: str) -> None:
    images, truths, found = scene(2)
    assert scores((images, truths, found.iloc[:0]), kind) == [0] * 6
    assert np.isnan(scores((images, truths.iloc[:0], found), kind)).all()


def test_hand_arithmetic() -> None:
    """Found right, wrong, right: precision 1 up to recall 1/2 (51 of 101 recalls), then 2/3."""
    tables = small([exact(0.9, 0), exact(0.8, 50), exact(0.7, 20)], [exact(0, 0), exact(0, 20)])
    matched = matches(*tables, CATEGORIES, "bbox")
    expected = 100 * (51 + 50 * 2 / 3) / 101
    values = average_precisions(matched)
    assert [values[name] for name in ("AP", "AP50", "AP75", "APs")] == pytest.approx([expected] * 4)
    assert by_category(matched) == pytest.approx(
        {"dog": expected, "cat": np.nan, "newt": np.nan, "owl": np.nan}, nan_ok=True
    )
    curve = precision_recall(matched)
    assert curve["recall"].tolist() == pytest.approx(np.linspace(0, 1, 101).tolist())
    assert curve["precision"].tolist() == pytest.approx([1] * 51 + [2 / 3] * 50)


def test_an_overlap_between_thresholds() -> None:
    """A box moved by a quarter overlaps by 0.6: right at the thresholds 0.5, 0.55 and 0.6."""
    tables = small([exact(0.9, 2.5)], [exact(0, 0)])
    values = average_precisions(matches(*tables, CATEGORIES, "bbox"))
    assert [values[name] for name in ("AP", "AP50", "AP75")] == pytest.approx([30, 100, 0])
    matched = matches(*tables, CATEGORIES, "bbox")
    assert precision_recall(matched, 0.6)["precision"].mean() == pytest.approx(1)
    assert precision_recall(matched, 0.65)["precision"].mean() == 0


def test_categories_and_curves_average_to_the_scores() -> None:
    matched = matches(*scene(3), CATEGORIES, "segm")
    values, categories = average_precisions(matched), by_category(matched)
    assert np.nanmean(list(categories.values())) == pytest.approx(values["AP"])
    assert np.isnan(categories["newt"])
    assert 100 * precision_recall(matched, 0.75)["precision"].mean() == pytest.approx(values["AP75"])


@pytest.mark.parametrize("name", SCORES)
def test_an_interval_holds_its_value(name: str) -> None:
    matched = matches(*scene(4, n=30), CATEGORIES, "bbox")
    interval = bootstrap_interval(matched, name)
    assert interval.value == pytest.approx(average_precisions(matched)[name])
    assert interval.low < interval.value < interval.high
    assert (interval.n, interval.draws) == (30, 200)
    assert interval == bootstrap_interval(matched, name), "the draws are the same"


def test_limits_are_percentiles_corrected_for_bias() -> None:
    normal = np.random.default_rng(0).normal(size=200_000)
    assert average_precision.limits(0.0, normal) == pytest.approx((-1.96, 1.96), abs=0.03)
    assert average_precision.limits(0.0, normal + 0.5) == pytest.approx((-2.46, 1.46), abs=0.05)
    assert average_precision.limits(0.0, [*normal, np.nan]) == pytest.approx((-1.96, 1.96), abs=0.03)


def test_scores_that_do_not_vary_have_no_limits() -> None:
    tables = small([exact(0.9, 0), exact(0.8, 0, index=1)], [exact(0, 0), exact(0, 0, index=1)], n=2)
    matched = matches(*tables, CATEGORIES, "bbox")
    interval = bootstrap_interval(matched, "AP")
    assert (interval.value, interval.low, interval.high) == (pytest.approx(100), None, None)
    missing = bootstrap_interval(matched, "APl")
    assert np.isnan(missing.value)
    assert (missing.low, missing.high) == (None, None)


def test_a_table_does_not_differ_from_itself() -> None:
    matched = [matches(*scene(7), CATEGORIES, kind) for kind in ("bbox", "bbox")]
    found = paired_difference(matched, matched, draws=20)
    assert (found.value, found.p, found.low, found.high) == (0, 1, None, None)
    assert np.isnan(paired_difference(*([matches(*empty(), CATEGORIES, "bbox")] for _ in "ab"), draws=3).p)


def empty() -> Tables:
    images, truths, found = scene(7)
    return images, truths.iloc[:0], found


def pair(noise: float = 0.2) -> tuple[list[Matches], list[Matches]]:
    """Two seeds of a detector with exact boxes and of one with moved ones, on the same truths."""
    images, truths, _ = scene(8)
    rng = np.random.default_rng(0)
    found = []
    for size in (0.02, 0.03, noise, noise):
        moved = truths[["x", "y", "width", "height"]] + truths[["width"]].to_numpy() * rng.normal(0, size, (1, 4))
        table = truths.assign(**moved, score=rng.random(len(truths)))
        found.append(matches(images, truths, table.drop(columns=["area", "crowd"]), CATEGORIES, "bbox"))
    return found[:2], found[2:]


def test_a_clear_difference() -> None:
    a, b = pair()
    found = paired_difference(a, b, draws=100)
    by_seed = [average_precisions(x)["AP"] - average_precisions(y)["AP"] for x, y in zip(a, b, strict=True)]
    assert found.value == pytest.approx(np.mean(by_seed))
    assert 0 < found.low < found.value < found.high
    assert (found.n, found.draws) == (16, 100)
    assert found.p == pytest.approx(1 / 101)
    other = paired_difference(b, a, draws=100)
    assert (-other.value, -other.high, -other.low) == pytest.approx((found.value, found.low, found.high))
    assert other.p == found.p


def test_chance_alone_is_no_difference() -> None:
    images, truths, found = scene(9, n=24)
    rng = np.random.default_rng(1)
    a, b = (matches(images, truths, found.assign(score=rng.random(len(found))), CATEGORIES, "bbox") for _ in range(2))
    result = paired_difference([a], [b], draws=100)
    assert result.low < 0 < result.high
    assert result.p > 0.1


def test_swaps_are_those_of_the_tables() -> None:
    """The score of a table in which some images have the other's detections."""
    images, truths, found = scene(10)
    other = found.assign(score=found["score"].to_numpy()[::-1], x=found["x"] + 4)
    swap = np.random.default_rng(0).random(16) < 0.5
    mixed = [
        pd.concat([one[~swap[one["index"]]], two[swap[two["index"]]]]) for one, two in ((found, other), (other, found))
    ]
    a, b = (matches(images, truths, table, CATEGORIES, "bbox") for table in (found, other))
    for name in SCORES:
        values = [average_precisions(matches(images, truths, m, CATEGORIES, "bbox"))[name] for m in mixed]
        got = average_precision._swapped([average_precision._joined(a, b)], name, swap)
        assert got == pytest.approx(values[0] - values[1], abs=1e-9)


def test_metrics_have_names_and_intervals() -> None:
    tables = scene(11)
    metrics = detection_metrics(*tables, CATEGORIES, masks=True)
    for kind, prefix in (("bbox", "box"), ("segm", "mask")):
        for name, value in zip(SCORES, coco_stats(tables, kind), strict=True):
            found = metrics[f"{prefix}_{name}"]
            assert found["value"] == pytest.approx(value)
            assert found["low"] < found["value"] < found["high"]
        assert metrics[f"{prefix}_AP.owl"]["low"] is None
        assert f"{prefix}_AP.newt" not in metrics
    assert {(metric["unit"], metric["n"]) for metric in metrics.values()} == {("%", 16)}
    boxes = detection_metrics(*tables, CATEGORIES, masks=False)
    assert boxes == {name: value for name, value in metrics.items() if name.startswith("box")}


def test_tables_come_back_from_their_files() -> None:
    tables = scene(12)
    schemas = (DETECTED_IMAGES, TRUTHS, DETECTIONS)
    stored = [
        pa.Table.from_pandas(table[schema.names], schema, preserve_index=False).to_pandas()
        for table, schema in zip(tables, schemas, strict=True)
    ]
    assert scores((stored[0], stored[1], stored[2]), "segm") == scores(tables, "segm")


@pytest.mark.parametrize(
    ("table", "change", "kind", "message"),
    [
        (0, lambda t: t[::-1], "bbox", "index does not rise"),
        (0, lambda t: t.assign(index=0), "bbox", "index does not rise"),
        (1, lambda t: t.assign(index=16), "bbox", "truth 0 has index 16; valid: the index of an image"),
        (2, lambda t: t.assign(index=-1), "bbox", "detection 0 has index -1; valid: the index of an image"),
        (1, lambda t: t.assign(category=4), "bbox", r"truth 0 has category 4; valid: \[3, 7, 12, 90\]"),
        (2, lambda t: t.assign(category=0), "bbox", r"detection 0 has category 0; valid: \[3, 7, 12, 90\]"),
        (2, lambda t: t.assign(index=5).head(101), "bbox", "image 5 has 101 detections; valid: at most 100"),
        (1, lambda t: t.assign(mask=None), "segm", "truth 0 has mask None; valid: compressed run lengths"),
        (2, lambda t: t, "keypoints", "unknown kind of overlap 'keypoints'; valid: bbox, segm"),
    ],
)
def test_bad_tables(table: int, change: Callable, kind: str, message: str) -> None:
    tables = list(scene())
    tables[table] = change(tables[table])
    with pytest.raises(InputError, match=message):
        matches(*tables, CATEGORIES, kind)


def test_a_hundred_detections_are_allowed() -> None:
    """The first that overlaps by half is moved by 3 pixels, and 96 score more."""
    tables = small([exact(0.5 + i / 1000, i) for i in range(100)], [exact(0, 0)])
    assert scores(tables)[1] == pytest.approx(100 / 97)


@pytest.mark.parametrize("weights", [[1] * 15, [0.5] * 16, [-1] * 16, 1])
def test_bad_weights(weights: object) -> None:
    with pytest.raises(InputError, match="for 16 images; valid: one whole number"):
        average_precisions(matches(*scene(), CATEGORIES, "bbox"), weights)


def test_bad_requests() -> None:
    matched, other = (matches(*scene(seed), CATEGORIES, "bbox") for seed in range(2))
    with pytest.raises(InputError, match=r"overlap 0\.52 is no threshold"):
        precision_recall(matched, 0.52)
    with pytest.raises(InputError, match="unknown score 'AP51'"):
        bootstrap_interval(matched, "AP51")
    with pytest.raises(InputError, match="0 draws of 16 images"):
        bootstrap_interval(matched, "AP", draws=0)
    with pytest.raises(InputError, match="2 and 1 seeds"):
        paired_difference([matched, matched], [matched])
    with pytest.raises(InputError, match="different images, categories or truths"):
        paired_difference([matched], [other])
