"""Scores of heat maps from their records, against scipy and arithmetic."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from resnest_core.analyses import saliency
from resnest_core.analyses.saliency_scores import saliency_metrics


def test_rank_correlations_are_spearmans() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 5, (3, 4, 4)).astype(np.float32) for _ in range(2))
    a[2] = 0
    found = saliency.rank_correlations(a, b)
    wanted = [stats.spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a[:2], b[:2], strict=True)]
    np.testing.assert_allclose(found, [*wanted, np.nan])
    assert np.isnan(saliency.rank_correlations(a[2:], b[2:])).all()


def test_maps_of_other_sizes_are_enlarged() -> None:
    heat = np.array([[[0, 1], [0, 1]]], np.float32)
    assert saliency.enlarged(heat, 4)[0].tolist() == [[0, 0.25, 0.75, 1]] * 4
    np.testing.assert_array_equal(saliency.enlarged(heat, 2), heat)


def test_heat_on_the_object() -> None:
    heat = np.array([[[1, 0.5], [0.5, 0]], [[0, 0], [0, 0]]], np.float32)
    objects = np.array([[[True, True], [False, False]]] * 2)
    found = saliency.on_object(heat, objects)
    np.testing.assert_allclose(found["on_object"], [0.75, np.nan])
    assert found["object"].tolist() == [0.5, 0.5]
    assert all(np.isnan(values).all() for values in saliency.on_object(heat, None).values())


def invented(n: int = 12) -> pd.DataFrame:
    """Records of two runs on the same images."""
    rng = np.random.default_rng(3)
    columns = ["before", "after_marked", "after_random", "hot", "on_object", "object", "correlation_true"]
    frame = pd.DataFrame(rng.random((2 * n, 7)), columns=columns)
    correct = np.arange(2 * n) % 3 > 0
    frame = frame.assign(run=["a"] * n + ["b"] * n, index=[*range(n)] * 2, correct=correct)
    frame["correlation"] = np.where(frame["run"] == "b", rng.random(2 * n), np.nan)
    frame["correlation_other"] = np.where(frame["run"] == "b", rng.random(2 * n), np.nan)
    return frame


def test_scores_are_means_with_their_intervals() -> None:
    records = invented()
    found = saliency_metrics(records)
    a, b = (records[records["run"] == name].reset_index(drop=True) for name in "ab")
    excess = 100 * (a["after_random"] - a["after_marked"])
    low, high = stats.t.interval(0.95, len(a) - 1, excess.mean(), stats.sem(excess))
    assert found["a.excess_fall"] == pytest.approx(
        {"value": excess.mean(), "low": low, "high": high, "n": 12, "unit": "points"}
    )
    assert found["b.object_excess"]["value"] == pytest.approx(100 * (b["on_object"] - b["object"]).mean())
    assert found["b.fall_marked"]["value"] == pytest.approx(100 * (b["before"] - b["after_marked"]).mean())
    assert found["a.empty_maps"]["value"] == 0
    less = stats.ttest_rel(a["hot"], b["hot"])
    assert found["a.hot_area_less_b"]["value"] == pytest.approx(found["a.hot_area"]["value"] - 100 * b["hot"].mean())
    assert found["a.hot_area_less_b"]["low"] == pytest.approx(100 * less.confidence_interval().low)
    assert found["a.hot_area_less_p_b"]["value"] == pytest.approx(less.pvalue)


def test_agreement_is_split_by_who_is_right() -> None:
    records = invented()
    found = saliency_metrics(records)
    a, b = (records[records["run"] == name].reset_index(drop=True) for name in "ab")
    both = a["correct"] & b["correct"]
    right, wrong = b["correlation"][both], b["correlation"][~both]
    assert found["a.agreement_right_b"]["value"] == pytest.approx(right.mean())
    assert (found["a.agreement_right_b"]["n"], found["a.agreement_wrong_b"]["n"]) == (8, 4)
    welch = stats.ttest_ind(right, wrong, equal_var=False).confidence_interval()
    assert (found["a.agreement_gap_b"]["low"], found["a.agreement_gap_b"]["high"]) == pytest.approx(tuple(welch))
    excess = stats.ttest_rel(b["correlation"], b["correlation_other"]).confidence_interval()
    assert found["a.agreement_excess_b"]["high"] == pytest.approx(excess.high)


def test_what_has_no_observation_is_left_out() -> None:
    records = invented().assign(correct=True, object=np.nan, on_object=np.nan, correlation_true=np.nan)
    found = saliency_metrics(records)
    unknown = {"a.object_excess", "a.on_object", "a.object_area", "a.true_class_agreement", "a.agreement_wrong_b"}
    assert not (unknown | {"a.agreement_gap_b", "a.object_excess_less_b", "a.object_excess_less_p_b"}) & found.keys()
    assert found["a.agreement_right_b"]["n"] == 12
    one = saliency_metrics(invented(1))
    assert (one["a.excess_fall"]["low"], one["a.hot_area_less_b"]["low"]) == (None, None)
    assert "a.hot_area_less_p_b" not in one
