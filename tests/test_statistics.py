"""Intervals and tests against published examples, and against what must hold for any data."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from resnest_core.errors import InputError
from resnest_core.statistics import (
    Interval,
    PairedSeeds,
    Seeds,
    bootstrap,
    holm,
    mcnemar,
    mean_interval,
    paired_seeds,
    permutation,
    seeds_summary,
    wilson,
)

# Student (1908): hours of sleep gained by ten patients with each of two drugs; the t test is in R's ?sleep.
SLEEP_A = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_B = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def outcomes(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Paired booleans with these counts, shuffled together."""
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    order = np.random.default_rng(0).permutation(a.size)
    return a[order], b[order]


class TestWilson:
    @pytest.mark.parametrize(
        ("successes", "n", "low", "high"),
        # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
    )
    def test_published_intervals(self, successes: int, n: int, low: float, high: float) -> None:
        interval = wilson(successes, n)
        assert interval.value == pytest.approx(100 * successes / n)
        assert (interval.low, interval.high) == pytest.approx((100 * low, 100 * high), abs=0.005)
        assert interval.n == n

    @pytest.mark.parametrize("n", [1, 7, 50_000])
    def test_limits_are_percentages_around_the_value(self, n: int) -> None:
        for successes in {0, 1, n // 2, n}:
            interval = wilson(successes, n)
            assert 0 <= interval.low <= interval.value <= interval.high <= 100
            mirrored = wilson(n - successes, n)
            assert (100 - mirrored.high, 100 - mirrored.low) == pytest.approx((interval.low, interval.high))

    def test_more_confidence_and_fewer_trials_widen_it(self) -> None:
        assert wilson(80, 100, 0.99).low < wilson(80, 100).low < wilson(800, 1000).low

    @pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 10), (11, 10), (0, -1)])
    def test_impossible_counts(self, successes: int, n: int) -> None:
        with pytest.raises(InputError, match=f"{successes} successes of {n} trials"):
            wilson(successes, n)

    @pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
    def test_impossible_confidence(self, confidence: float) -> None:
        with pytest.raises(InputError, match=f"confidence is {confidence}"):
            wilson(1, 2, confidence)


class TestMcNemar:
    # Airway hyper-responsiveness (Bentur 2009) and complete response (Cavo 2012): the exact conditional test and
    # Tango's interval in Fagerland, Lydersen and Laake, "Statistical Analysis of Contingency Tables" (2017), chapter 8.
    @pytest.mark.parametrize(
        ("table", "difference", "low", "high", "p"),
        [
            ((1, 1, 7, 12), -0.2857, -0.517, -0.026, 0.0703),
            ((59, 6, 16, 80), -0.0621, -0.1240, -0.0054, 0.0525),
        ],
    )
    def test_published_tables(
        self, table: tuple[int, ...], difference: float, low: float, high: float, p: float
    ) -> None:
        test = mcnemar(*outcomes(*table))
        assert (test.n, test.only_a, test.only_b) == (sum(table), table[1], table[2])
        assert test.difference == pytest.approx(100 * difference, abs=0.006)
        assert (test.low, test.high) == pytest.approx((100 * low, 100 * high), abs=0.04)
        assert test.p == pytest.approx(p, abs=5e-5)

    def test_presidential_approval(self) -> None:
        """Agresti's table of two surveys, whose exact p is in the manual of R's exact2x2."""
        assert mcnemar(*outcomes(794, 150, 86, 570)).p == pytest.approx(3.716e-05, rel=1e-3)

    def test_swapping_the_classifiers_mirrors_the_result(self) -> None:
        a, b = outcomes(50, 9, 3, 8)
        one, other = mcnemar(a, b), mcnemar(b, a)
        assert (one.only_a, one.only_b, one.p) == (other.only_b, other.only_a, other.p)
        assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))

    @pytest.mark.parametrize("seed", range(20))
    def test_the_interval_inverts_the_score_test(self, seed: int) -> None:
        """At each limit the score statistic, with the constrained likelihood maximised by brute force, equals z."""
        table = np.random.default_rng(seed).multinomial(200, [0.7, 0.12, 0.08, 0.1])
        test = mcnemar(*outcomes(*table))
        for limit in (test.low / 100, test.high / 100):
            assert abs(score(test.only_a, test.only_b, test.n, limit)) == pytest.approx(1.959964, abs=1e-4)

    def test_the_interval_excludes_zero_where_chi_squared_does(self) -> None:
        for only_a in range(0, 40, 3):
            for only_b in range(0, 40, 3):
                test = mcnemar(*outcomes(30, only_a, only_b, 10))
                statistic = (only_a - only_b) ** 2 / max(only_a + only_b, 1)
                assert (test.low <= 0 <= test.high) == (statistic <= stats.chi2.ppf(0.95, 1))

    def test_identical_classifiers_still_have_an_uncertain_difference(self) -> None:
        test = mcnemar(*outcomes(40, 0, 0, 4))
        z2 = stats.norm.ppf(0.975) ** 2
        assert (test.difference, test.p) == (0, 1)
        assert (test.low, test.high) == pytest.approx((-100 * z2 / (44 + z2), 100 * z2 / (44 + z2)))

    def test_the_limits_stay_within_the_possible(self) -> None:
        assert mcnemar([True] * 30, [False] * 30).high == 100
        assert mcnemar([False] * 30, [True] * 30).low == -100
        for table in [(0, 1, 0, 0), (0, 0, 1, 0), (1, 0, 0, 0), (0, 1, 1, 0), (49_000, 1, 999, 0)]:
            test = mcnemar(*outcomes(*table))
            assert -100 <= test.low <= test.difference <= test.high <= 100

    @pytest.mark.parametrize(
        ("a", "b", "message"),
        [
            ([True], [True, False], r"shapes \(1,\) and \(2,\)"),
            ([], [], r"shapes \(0,\) and \(0,\)"),
            ([[True]], [[True]], r"shapes \(1, 1\)"),
            ([1, 0], [True, False], "int64 and bool; they must be booleans"),
        ],
    )
    def test_bad_pairs(self, a: list, b: list, message: str) -> None:
        with pytest.raises(InputError, match=message):
            mcnemar(a, b)


class TestHolm:
    @pytest.mark.parametrize(
        ("p_values", "adjusted"),
        [
            ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # the four hypotheses of Wikipedia's article
            ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),  # R: p.adjust(1:4 / 100, "holm")
            ([0.9, 0.8], [1.0, 1.0]),
            ([0.05], [0.05]),
            ([], []),
        ],
    )
    def test_worked_examples(self, p_values: list[float], adjusted: list[float]) -> None:
        assert holm(p_values) == pytest.approx(adjusted)

    def test_lies_between_the_raw_values_and_bonferroni(self) -> None:
        raw = np.random.default_rng(0).uniform(size=20) ** 3
        adjusted = np.array(holm(raw.tolist()))
        assert (raw <= adjusted).all()
        assert (adjusted <= np.minimum(20 * raw, 1) + 1e-15).all()
        assert (np.diff(adjusted[raw.argsort()]) >= 0).all()

    @pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
    def test_no_probability(self, bad: float) -> None:
        with pytest.raises(InputError, match="must lie between 0 and 1"):
            holm([0.5, bad])


class TestMeans:
    def test_interval_of_a_mean(self) -> None:
        """R: t.test(extra[group == 1]) on the sleep data."""
        interval = mean_interval(SLEEP_A)
        assert (interval.value, interval.n) == (pytest.approx(0.75), 10)
        assert (interval.low, interval.high) == pytest.approx((-0.5297804, 2.0297804), abs=1e-6)

    def test_one_value_has_no_interval(self) -> None:
        assert mean_interval([3.0]) == Interval(3.0, None, None, 1)

    def test_summary_of_seeds(self) -> None:
        summary = seeds_summary([2, 4, 4, 4, 5, 5, 7, 9])
        assert (summary.mean, summary.n) == (5.0, 8)
        assert summary.deviation == pytest.approx(math.sqrt(32 / 7))  # the divisor is n - 1
        assert seeds_summary([88.5]) == Seeds(88.5, None, 1)

    @pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf], [[1.0, 2.0]]])
    @pytest.mark.parametrize("function", [mean_interval, seeds_summary])
    def test_values_that_have_no_mean(self, function, bad: list) -> None:
        with pytest.raises(InputError, match="one or more finite numbers"):
            function(bad)


class TestPairedSeeds:
    def test_sleep(self) -> None:
        """R: t.test(Pair(extra.1, extra.2) ~ 1, data = sleep2)."""
        result = paired_seeds(SLEEP_A, SLEEP_B)
        assert (result.difference, result.n) == (pytest.approx(-1.58), 10)
        assert (result.low, result.high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-6)
        assert result.p == pytest.approx(0.002833, abs=1e-6)

    def test_one_seed(self) -> None:
        assert paired_seeds([90.0], [89.0]) == PairedSeeds(1, 1.0, None, None, None)

    def test_equal_differences_claim_no_certainty(self) -> None:
        result = paired_seeds([90.1, 90.2], [89.1, 89.2])  # in floating point these differences do vary
        assert result == PairedSeeds(2, pytest.approx(1.0), None, None, None)
        assert paired_seeds([0.0, 0.0], [0.0, 0.0]).p is None

    def test_the_least_step_of_an_accuracy_does_vary(self) -> None:
        assert paired_seeds([90.01, 90.02], [89.0, 89.0]).p is not None

    def test_unpaired_seeds(self) -> None:
        with pytest.raises(InputError, match="2 and 1 seeds"):
            paired_seeds([1.0, 2.0], [1.0])


def score(only_a: int, only_b: int, n: int, difference: float) -> float:
    """The score statistic of a difference of paired proportions, its nuisance share found numerically."""

    def negative_log_likelihood(share: float) -> float:
        probabilities = share + difference, share, 1 - 2 * share - difference
        counts = only_a, only_b, n - only_a - only_b
        return -sum(count * math.log(max(p, 1e-300)) for count, p in zip(counts, probabilities, strict=True))

    bounds = max(0, -difference), (1 - difference) / 2
    share = optimize.minimize_scalar(
        negative_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    ).x
    return (only_a - only_b - n * difference) / math.sqrt(n * (2 * share + difference * (1 - difference)))


def test_the_bootstrap_is_scipys() -> None:
    values = np.random.default_rng(3).exponential(size=60)
    found = bootstrap(lambda chosen: values[chosen].mean(axis=-1), len(values))
    limits = stats.bootstrap((values,), np.mean, n_resamples=9999, rng=np.random.default_rng(1)).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(limits.low, rel=0.04)
    assert found.high == pytest.approx(limits.high, rel=0.04)
    assert found == bootstrap(lambda chosen: values[chosen].mean(axis=-1), len(values)), "the draws are the same"


def test_a_bootstrap_that_does_not_vary_has_no_limits() -> None:
    same = np.ones(9)
    assert bootstrap(lambda chosen: same[chosen].mean(axis=-1), 9) == Interval(1.0, None, None, 9)
    assert bootstrap(lambda chosen: same[chosen].mean(axis=-1), 1) == Interval(1.0, None, None, 1)


def test_the_permutation_test_swaps_signs() -> None:
    a, b = np.array([3.0, 2.0, 4.0, 5.0, 2.5, 1.0]), np.array([2.0, 1.5, 3.0, 3.5, 2.0, 0.5])
    rows = np.concatenate([a, b])
    p = permutation(lambda x, y: rows[x].mean(axis=-1) - rows[y].mean(axis=-1), 6)
    assert p == pytest.approx(2 / 2**6), "every difference has one sign: the two extremes of 64"
    none = permutation(lambda x, y: rows[x].mean(axis=-1) * 0.0, 6)
    assert none == 1.0
    assert permutation(lambda x, y: rows[x].mean(axis=-1) - rows[y].mean(axis=-1), 1) == 1.0
