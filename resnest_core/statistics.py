"""Intervals and tests for accuracies. Every interval is two-sided, at 95 % unless asked otherwise.

Accuracies and their differences are in percent and percentage points; means keep the unit of their values.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from resnest_core.errors import InputError

CONFIDENCE = 0.95
RESAMPLES, PERMUTATIONS, BATCH = 1000, 2000, 20
LARGEST = 1e100  # of a number, whose square is one, too
LEAST_STEP = 1e-12  # of a difference of proportions, far below 1/n

Indices = NDArray[np.int64]
Statistic = Callable[[Indices], NDArray[np.float64]]


@dataclass(frozen=True)
class Interval:
    """A value from `n` observations and its confidence interval; the limits are None where n is too small for one."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class PairedTest:
    """Two classifiers on the same `n` images.

    `only_a` and `only_b` count the images that just one of them gets right, `difference` is a's accuracy less b's in
    percentage points, `low` to `high` its interval, `p` that of the exact McNemar test, without correction for others.
    """

    n: int
    only_a: int
    only_b: int
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Seeds:
    """Mean and sample deviation (divisor n - 1; None for one run) over the seeds of one experiment."""

    mean: float
    deviation: float | None
    n: int


@dataclass(frozen=True)
class PairedSeeds:
    """Mean of a less b over `n` common seeds, its t interval and the p of the paired t test.

    The last three are None where t is undefined: one seed, or differences that do not vary.
    """

    n: int
    difference: float
    low: float | None
    high: float | None
    p: float | None


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Percentage of `successes` among `n` trials with the score interval of Wilson (1927)."""
    if not 0 <= successes <= n or n < 1:
        raise InputError(
            f"{successes} successes of {n} trials; there must be a trial, and successes from 0 to their number"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; it must lie between 0 and 1")
    bounds = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(100 * successes / n, 100 * float(bounds.low), 100 * float(bounds.high), n)


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> PairedTest:
    """Exact conditional McNemar test of two classifiers from booleans (n,), true where the image of that row is right.

    The interval is the score interval of Tango (1998, Statistics in Medicine 17:891). It inverts the test of which
    McNemar's uncorrected chi-squared is the case of no difference, and keeps its level where few images differ.
    """
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise InputError(
            f"paired outcomes have shapes {a.shape} and {b.shape}; they must be two rows of one length above 0"
        )
    if a.dtype != bool or b.dtype != bool:
        raise InputError(f"paired outcomes are {a.dtype} and {b.dtype}; they must be booleans")
    only_a, only_b, n = int((a & ~b).sum()), int((b & ~a).sum()), a.size
    table = [[int((a & b).sum()), only_a], [only_b, int((~a & ~b).sum())]]
    from statsmodels.stats.contingency_tables import mcnemar as exact_test  # a second to import, for comparisons only

    p = float(exact_test(table, exact=True).pvalue)
    low, high = _tango_low(only_a, only_b, n), -_tango_low(only_b, only_a, n)
    return PairedTest(n, only_a, only_b, 100 * (only_a - only_b) / n, 100 * low, 100 * high, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of one table, adjusted by Holm (1979), in their own order."""
    if not all(0 <= p <= 1 for p in p_values):
        raise InputError(f"p-values {list(p_values)}; each must lie between 0 and 1")
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)).clip(max=1)
    return adjusted.tolist()


def mean_interval(values: ArrayLike) -> Interval:
    """Mean of independent `values` (n,) with Student's t interval."""
    numbers = _numbers(values)
    mean, n = float(numbers.mean()), numbers.size
    if n < 2:
        return Interval(mean, None, None, n)
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * stats.sem(numbers))
    return Interval(mean, mean - margin, mean + margin, n)


def seeds_summary(values: ArrayLike) -> Seeds:
    """Mean and deviation of one metric (n,) over seeds."""
    numbers = _numbers(values)
    deviation = float(numbers.std(ddof=1)) if numbers.size > 1 else None
    return Seeds(float(numbers.mean()), deviation, numbers.size)


def paired_seeds(values_a: ArrayLike, values_b: ArrayLike) -> PairedSeeds:
    """Compare one metric (n,) of two experiments whose rows share their seeds."""
    a, b = _numbers(values_a), _numbers(values_b)
    if a.size != b.size:
        raise InputError(f"{a.size} and {b.size} seeds; each of one experiment needs its pair in the other")
    differences = a - b
    # The rounding of decimals makes equal differences vary by some 1e-14, which would pass for a huge t.
    if a.size < 2 or np.ptp(differences) <= 1e-9 * max(np.abs(a).max(), np.abs(b).max()):
        return PairedSeeds(a.size, float(differences.mean()), None, None, None)
    test = stats.ttest_rel(a, b)
    bounds = test.confidence_interval(CONFIDENCE)
    return PairedSeeds(a.size, float(differences.mean()), float(bounds.low), float(bounds.high), float(test.pvalue))


def bootstrap(statistic: Statistic, n: int) -> Interval:
    """The value of `statistic` on `n` observations with its bootstrap interval (BCa: Efron 1987, JASA 82:171).

    `statistic` maps indices (..., n) of observations to its values (...). The limits are None where it does not vary
    among the resamples. The draws are the same every time.
    """
    if n < 1:
        raise InputError(f"there are {n} observations to resample; there must be one or more")
    everything = np.arange(n)
    value = float(statistic(everything))
    if n < 2:
        return Interval(value, None, None, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of what the limits then say: they are not finite
        found = stats.bootstrap(
            (everything,),
            lambda chosen, axis: statistic(np.moveaxis(chosen, axis, -1)),
            n_resamples=RESAMPLES,
            batch=BATCH,
            rng=np.random.default_rng(0),
        ).confidence_interval
    if not np.isfinite([found.low, found.high]).all():
        return Interval(value, None, None, n)
    return Interval(value, float(found.low), float(found.high), n)


def permutation(difference: Callable[[Indices, Indices], NDArray[np.float64]], n: int) -> float:
    """Two-sided p of no difference between a and b on the same `n` observations, which are swapped at random.

    Of 2 n rows the first n are a's and the others b's; `difference` maps the indices (..., n) of the rows that stand
    for each to values (...).
    """
    rows = np.arange(n)
    if n < 2:  # one image can only change places with itself
        return 1.0
    test = stats.permutation_test(
        (rows, rows + n),
        lambda a, b, axis: difference(np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)),
        permutation_type="samples",
        n_resamples=PERMUTATIONS,
        batch=BATCH,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not numbers.size or not (np.abs(numbers) <= LARGEST).all():
        shown = " ".join(np.array2string(numbers, threshold=6).split())
        raise InputError(f"values {shown}; they must be a row of one or more finite numbers, 1e100 at the most")
    return numbers


def _tango_low(only_a: int, only_b: int, n: int) -> float:
    """Least difference of proportions, a less b, that the two-sided score test does not reject."""
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))

    def excess(difference: float) -> float:
        # The share of `only_b` that is most likely, given the difference, solves a q^2 + b q + c = 0.
        a, b = 2 * n, (2 * n - only_a + only_b) * difference - only_a - only_b
        c = -only_b * difference * (1 - difference)
        share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = n * (2 * share + difference * (1 - difference))
        return only_a - only_b - n * difference - z * math.sqrt(max(variance, 0.0))

    # At the estimate itself the variance may be zero, and with it the excess, although the limit lies further out.
    return float(optimize.brentq(excess, -1.0, (only_a - only_b) / n - LEAST_STEP))
