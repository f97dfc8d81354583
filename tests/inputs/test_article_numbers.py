"""Everything that ends in the article, over random inputs: an answer, a stated absence, or an InputError in one line.

Never another exception, a warning, or a number that is none.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from resnest_core import statistics
from resnest_core.article import phrases, verdicts
from resnest_core.errors import InputError
from resnest_core.evaluation import results

often = settings(derandomize=True, deadline=None, max_examples=150)
seldom = settings(derandomize=True, deadline=None, max_examples=30)
rarely = settings(seldom, max_examples=8, phases=[Phase.explicit, Phase.generate])  # draws are slow to shrink

anything = st.floats(width=64)  # NaN and infinities as well
usual = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 50.0, 100.0]), st.floats(-1e6, 1e6), st.floats(-1e-9, 1e-9))
rows = st.lists(st.one_of(usual, anything), max_size=8) | st.lists(usual, max_size=8)
booleans = st.integers(0, 12).flatmap(lambda n: st.tuples(*[arrays(bool, n)] * 2))


def answer(call: Callable[..., Any], *given: Any, **more: Any) -> Any:
    """What a call returns, None if it refuses; a warning is an error, and so is a number that is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = call(*given, **more)
        except InputError as error:
            return None if "\n" not in str(error) else pytest.fail(f"more than a line: {error}")
    assert not (wrong := list(map(str, not_numbers(found)))), wrong
    return found


def not_numbers(found: Any) -> list[Any]:
    """The NaN and infinities in a result of any shape, and words for them in a text."""
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        found = vars(found)
    if isinstance(found, str):
        return [found] if {"nan", "inf"} & set(found.replace("-", " ").replace(",", " ").lower().split()) else []
    if isinstance(found, Mapping):
        return [wrong for value in found.values() for wrong in not_numbers(value)]
    if isinstance(found, (list, tuple, np.ndarray, pd.Series)):
        return [wrong for value in found for wrong in not_numbers(value)]
    return [found] if isinstance(found, (float, np.floating)) and not math.isfinite(found) else []


@often
@given(rows)
def test_means_and_seeds(values: list[float]) -> None:
    for call in (statistics.mean_interval, statistics.seeds_summary):
        found = answer(call, values)
        assert (found is None) == (not values or not np.isfinite(values).all() or max(map(abs, values)) > 1e100)
    interval = answer(statistics.mean_interval, values)
    if interval is not None and interval.low is not None:
        assert interval.low <= interval.value <= interval.high


@often
@given(rows, rows)
def test_pairs_of_seeds(a: list[float], b: list[float]) -> None:
    n = min(len(a), len(b))
    found = answer(statistics.paired_seeds, a[:n], b[:n])
    if found is not None and found.p is not None:
        assert 0 <= found.p <= 1
        assert found.low <= found.difference <= found.high


@often
@given(booleans)
def test_outcomes_of_two_classifiers(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = answer(statistics.mcnemar, *pair)
    assert (found is None) == (not len(pair[0]))
    if found is not None:
        assert 0 <= found.p <= 1
        assert -100 <= found.low <= found.difference <= found.high <= 100
        answer(statistics.wilson, int(pair[0].sum()), len(pair[0]))


@often
@given(st.integers(-2, 30), st.integers(-2, 30), st.one_of(anything, st.floats(0, 1)))
def test_shares(successes: int, n: int, confidence: float) -> None:
    found = answer(statistics.wilson, successes, n, confidence)
    if found is not None:
        assert -1e-9 <= found.low <= found.value + 1e-9
        assert found.value - 1e-9 <= found.high <= 100 + 1e-9


@rarely  # statsmodels collects all garbage each time
@given(st.lists(st.one_of(anything, st.floats(0, 1)), max_size=6) | st.lists(st.floats(0, 1), max_size=6))
def test_corrections(p_values: list[float]) -> None:
    found = answer(statistics.holm, p_values)
    assert (found is None) == (not all(0 <= p <= 1 for p in p_values))
    if found:
        assert found == multipletests(p_values, method="holm")[1].tolist()


@seldom
@given(st.lists(usual, max_size=5))
def test_resamples(values: list[float]) -> None:
    numbers = np.array(values)
    found = answer(statistics.bootstrap, lambda chosen: numbers[chosen].mean(axis=-1), len(values))
    assert found is None or found.low is None or found.low <= found.high
    p = answer(statistics.permutation, lambda a, b: (a - b).mean(axis=-1), len(values))
    assert p is None or 0 <= p <= 1


@often
@given(st.lists(st.floats(0, 1e9), max_size=6))
def test_rates(rates: list[float]) -> None:
    answer(results.rate, rates)


@often
@given(anything, anything, st.integers(0, 1000), anything)
def test_what_would_decide(low: float, high: float, n: int, effect: float) -> None:
    count = answer(verdicts.needed, low, high, n, effect)
    assert count is None or count >= 2


@often
@given(
    st.floats(1e-4, 1e3), st.sampled_from([2, 3, 5, 40, 1000]), st.floats(-5.9, math.log10(19.9)), st.floats(-1e3, 1e3)
)
def test_what_would_decide_is_always_told(half: float, n: int, size: float, middle: float) -> None:
    deviation = half / statistics.stats.t.ppf(0.975, n - 1) * math.sqrt(n)
    assert answer(verdicts.needed, middle - half, middle + half, n, 10**size * deviation) is not None


def test_what_would_decide_is_what_statsmodels_says() -> None:
    compared = 0
    for size in np.geomspace(1e-3, 3, 60):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = np.ravel(TTestPower().solve_power(size, alpha=0.05, power=0.8))[0]
        half = float(statistics.stats.t.ppf(0.975, 9)) / math.sqrt(10)
        if math.isfinite(theirs) and theirs > 2:
            assert verdicts.needed(-half, half, 10, size) == math.ceil(theirs)
            compared += 1
    assert compared > 40
    assert verdicts.needed(-0.1, 0.3, 2, 0.2) == 3, "statsmodels fails here"


@often
@given(st.one_of(usual, anything), st.integers(0, 5))
def test_phrases(value: float, digits: int) -> None:
    for call in (phrases.number, phrases.signed):
        answer(call, value, digits)
    for call in (phrases.count, phrases.millions, phrases.giga, phrases.mebibytes, phrases.size, phrases.significant):
        answer(call, value)
    for call in (phrases.duration, phrases.p_value, phrases.p_cell):
        answer(call, value)
    for low in (None, value):
        answer(phrases.points, value, low, value)
        answer(phrases.with_interval, value, low, None)
    answer(phrases.verdict, value, value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_never_printed(value: float) -> None:
    for call in (phrases.number, phrases.signed, phrases.count, phrases.significant, phrases.duration, phrases.size):
        assert call(value).startswith("undefined")
