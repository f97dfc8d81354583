"""Scores of evaluations and analyses over random records, few and many, alike and not: as `test_article_numbers`."""

from unittest import mock

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from inputs.test_article_numbers import answer, rarely, seldom

from resnest_core import plots
from resnest_core.analyses import attention_effects, calibration, corruption_scores, errors, frontier, saliency_scores
from resnest_core.analyses.corruptions import CORRUPTIONS
from resnest_core.evaluation import average_precision, detection_errors, iou, panoptic_quality, results, segmentation

counts = st.integers(0, 6).flatmap(lambda n: arrays(np.int64, (n, 3), elements=st.integers(0, 2)))
CATEGORIES = {3: "ant", 7: "bee"}
seeds = st.integers(0, 10**6)


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@seldom
@given(counts, counts)
def test_segmentation(right: np.ndarray, more: np.ndarray) -> None:
    n = min(len(right), len(more))
    pixels = right[:n] + more[:n]
    columns = {"intersections": right[:n], "unions": pixels, "pixels": pixels}
    records = pd.DataFrame({name: list(values) for name, values in columns.items()})
    found = answer(iou.segmentation_metrics, records, ["a", "b", "c"])
    assert (found is None) == (n == 0)
    if found is not None:
        assert ("mIoU" in found) == bool(pixels.any())
        line = answer(segmentation.score_line, {"metrics": found})
        assert ("undefined" in line) == (not pixels.any())
        answer(results.metrics_table, {"metrics": found})


@seldom
@given(st.integers(0, 6), seeds)
def test_classification(n: int, seed: int) -> None:
    rank = random(seed).integers(1, 7, n)
    records = pd.DataFrame({"correct": rank == 1, "rank": rank, "loss": random(seed).exponential(size=n)})
    found = answer(results.classification_metrics, records)
    assert (found is None) == (n == 0)


def scene(n: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Images, and few truths and detections, some of them alike, some in a crowd, some empty."""
    draw = random(seed)
    tables = []
    for many in (draw.integers(0, 6), draw.integers(0, 8)):
        many = int(many) if n else 0
        table = pd.DataFrame(draw.choice([0.0, 5.0, 10.0, 40.0], (many, 4)), columns=["x", "y", "width", "height"])
        table = table.assign(index=draw.integers(0, max(n, 1), many), category=draw.choice([*CATEGORIES], many))
        tables.append(table.assign(area=table.width * table.height, crowd=draw.random(many) < 0.3, mask=None))
    detections = tables[1].drop(columns=["area", "crowd"]).assign(score=draw.choice([0.1, 0.5, 0.9], len(tables[1])))
    images = pd.DataFrame({"index": range(n), "height": 60, "width": 60})
    return images, tables[0].sort_values("index", kind="stable"), detections.sort_values("index", kind="stable")


@rarely
@given(st.integers(0, 3), seeds)
def test_detection(n: int, seed: int) -> None:
    images, truths, detections = scene(n, seed)
    found = answer(average_precision.detection_metrics, images, truths, detections, CATEGORIES, masks=False)
    if found is not None:
        assert ("box_AP" in found) == bool((~truths["crowd"]).any())
    assert answer(detection_errors.error_kinds, images, truths, detections) is not None
    for metric in (found or {}).values():
        assert metric["low"] is None or metric["low"] <= metric["high"]


@rarely
@given(st.integers(0, 3), seeds)
def test_pairs_of_detectors(n: int, seed: int) -> None:
    images, truths, detections = scene(n, seed)
    others = scene(n, seed + 1)[2]
    pair = [average_precision.matches(images, truths, d, CATEGORIES, "bbox") for d in (detections, others)]
    if (~truths["crowd"]).any():
        assert answer(average_precision.paired_difference, pair[:1], pair[1:], draws=20) is not None
    answer(average_precision.precision_recall, pair[0])


@rarely
@given(st.integers(0, 3), seeds)
def test_panoptic(n: int, seed: int) -> None:
    draw = random(seed)
    rows = pd.DataFrame(draw.integers(0, 2, (3 * n, 3)), columns=["tp", "fp", "fn"])
    rows = rows.assign(iou=rows["tp"] * draw.uniform(0.5, 1, 3 * n), category=draw.choice([1, 2, 9], 3 * n))
    rows["index"] = np.repeat(np.arange(n), 3)
    with mock.patch.object(panoptic_quality, "DRAWS", 20):
        found = answer(panoptic_quality.panoptic_metrics, rows, [1, 2], n)
    assert (found is None) == (n == 0)
    assert found is None or ("PQ" in found) == bool((rows[["tp", "fp", "fn"]].sum(axis=1) > 0).any())


@rarely
@given(st.integers(0, 12), st.integers(1, 4), st.sampled_from([0.0, 1e-3, 1.0, 300.0]), seeds)
def test_calibration(n: int, classes: int, spread: float, seed: int) -> None:
    draw = random(seed)
    logits, targets = spread * draw.normal(size=(n, classes)).round(2), draw.integers(0, classes, n)
    t = answer(calibration.held_out_temperatures, logits, targets, seed)
    assert (t is None) == (n < 2)
    if t is not None:
        table = answer(calibration.image_scores, logits, targets, t).assign(temperature=t)
        states = {("a", False): table, ("a", True): table, ("b", False): table, ("b", True): table}
        answer(calibration._metrics, states, {"a": "b"}, 15)
        answer(calibration.reliability, table)


@seldom
@given(st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0]), seeds)
def test_saliency(n: int, known: float, seed: int) -> None:
    draw = random(seed)
    columns = ["before", "after_marked", "after_random", "hot", "on_object", "object"]
    columns += ["correlation_true", "correlation", "correlation_other"]
    table = pd.DataFrame(draw.choice([0.0, 0.25, 1.0], (2 * n, len(columns))), columns=columns)
    table = table.where(draw.random(table.shape) <= known).assign(run=["a"] * n + ["b"] * n)
    table = table.assign(index=[*range(n)] * 2, correct=draw.random(2 * n) < known)
    answer(saliency_scores.saliency_metrics, table)


@rarely
@given(st.integers(0, 4), st.sampled_from([0.0, 0.2, 0.9, 1.0]), seeds)
def test_corruptions(n: int, right: float, seed: int) -> None:
    draw = random(seed)
    kinds = [(corruption_scores.CLEAN, 0), *((name, level) for name in CORRUPTIONS for level in (1, 2))]
    rows = [(run, i, kind, level, draw.random() < right) for run in "ab" for i in range(n) for kind, level in kinds]
    records = pd.DataFrame(rows, columns=["run", "index", "corruption", "severity", "correct"])
    answer(corruption_scores.metrics, records.astype({"correct": bool}), "a", {"b": "a"})


@seldom
@given(st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0]), seeds)
def test_attention(n: int, right: float, seed: int) -> None:
    draw = random(seed)
    cases = [("all", "none"), ("all", "uniform"), ("all", "mean"), ("1", "mean")]
    rows = [(s, i, k, int(draw.random() < right), draw.random() < right) for s, i in cases for k in range(n)]
    records = pd.DataFrame(rows, columns=["stage", "intervention", "index", "predicted", "correct"])
    answer(attention_effects.effects, records.assign(run="a"))


@seldom
@given(st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_common_mistakes(cells: list[int]) -> None:
    answer(errors.shared_mistakes, *cells)


@seldom
@given(st.integers(1, 3), st.integers(0, 4), seeds)
def test_frontier(networks: int, n: int, seed: int) -> None:
    correct = random(seed).random((networks, n)) < 0.5
    found = answer(frontier.beaten, correct, random(seed).integers(0, 2, networks).astype(float))
    assert found is None or len(found) == networks


@seldom
@given(st.floats(-1e3, 1e3), st.floats(-5, 5), st.floats(-5, 5))
def test_bars_have_a_length(value: float, below: float, above: float) -> None:
    found = answer(plots.distances, [value] * 2, [value + below] * 2, [value + above] * 2)
    assert found.shape == (2, 2)
    assert (found >= 0).all(), "matplotlib draws no negative ones"
