"""Verdicts on claims: hand-made intervals, and a power calculation against simulation."""

import numpy as np
import pytest
from scipy import stats

from resnest_core.article.verdicts import REFUTED, REPRODUCED, UNDECIDED, needed, of_band, of_gain, of_value, overall


@pytest.mark.parametrize(
    ("value", "verdict"), [(81.03, REPRODUCED), (81.08, REPRODUCED), (80.98, REPRODUCED), (81.09, REFUTED)]
)
def test_a_score_on_the_same_images_is_right_or_wrong(value: float, verdict: str) -> None:
    assert of_value(value, 81.03, 0.05) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (80.99, 81.07, REPRODUCED),
        (80.90, 81.07, UNDECIDED),
        (80.0, 82.0, UNDECIDED),
        (80.5, 80.97, REFUTED),
        (81.09, 83.0, REFUTED),
    ],
)
def test_an_interval_lies_within_a_band_or_beyond_it_or_leaves_it_open(low: float, high: float, verdict: str) -> None:
    assert of_band(low, high, 81.03, 0.05) == verdict


@pytest.mark.parametrize(
    ("low", "high", "least", "verdict"),
    [
        (0.1, 0.5, 0.2, REPRODUCED),
        (0.1, 0.15, 0.2, REFUTED),  # there is a gain, and it is too small
        (-0.1, 0.5, 0.2, UNDECIDED),
        (-0.1, 0.15, 0.2, REFUTED),
        (-0.5, -0.1, 0.2, REFUTED),
        (-0.05, 0.01, -0.08, UNDECIDED),  # a published gain so small that its tolerance reaches beyond zero
    ],
)
def test_a_gain_is_seen_or_excluded_or_left_open(low: float, high: float, least: float, verdict: str) -> None:
    assert of_gain(low, high, least) == verdict


def test_one_contradiction_outweighs_any_number_of_agreements() -> None:
    assert overall([REPRODUCED, REPRODUCED]) == REPRODUCED
    assert overall([REPRODUCED, UNDECIDED]) == UNDECIDED
    assert overall([UNDECIDED, REFUTED, REPRODUCED]) == REFUTED


def test_the_number_that_decides_has_the_power_that_is_promised() -> None:
    random, deviation, effect = np.random.default_rng(0), 1.7, 0.6
    margin = stats.t.ppf(0.975, 39) * deviation / np.sqrt(40)
    count = needed(-margin, margin, 40, effect)
    assert count is not None
    found = stats.ttest_1samp(random.normal(effect, deviation, (4000, count)), 0, axis=1).pvalue < 0.05
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_fewer_observations_do_for_a_greater_effect_and_none_where_nothing_varies() -> None:
    counts = [needed(-0.5, 0.5, 100, effect) for effect in (0.1, 0.2, 0.4)]
    assert counts == sorted(counts, reverse=True)
    assert needed(0.1, 0.1, 100, 0.1) is None
    assert needed(-1e-9, 1e-9, 2, 1.0) is None
