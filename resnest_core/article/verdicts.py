"""What an interval says about a claim: reproduced, not reproduced, or undecided, and how much would decide it."""

import math

from scipy import stats

from resnest_core.article.phrases import ALPHA

REPRODUCED, REFUTED, UNDECIDED, NOT_RUN = "reproduced", "not reproduced", "undecided", "not run"
VERDICTS = (REPRODUCED, REFUTED, UNDECIDED, NOT_RUN)
POWER = 0.8
LARGEST_EFFECT = 20.0  # deviations: two observations show it, and the solver finds nothing beyond


def of_value(value: float, claimed: float, tolerance: float) -> str:
    """On the very images that the claim is about, where nothing is left to chance."""
    return REPRODUCED if abs(value - claimed) <= tolerance + 1e-9 else REFUTED


def of_band(low: float, high: float, claimed: float, tolerance: float) -> str:
    """Whether an interval lies within `tolerance` of the claimed value, or beyond it."""
    if claimed - tolerance <= low and high <= claimed + tolerance:
        return REPRODUCED
    return REFUTED if high < claimed - tolerance or low > claimed + tolerance else UNDECIDED


def of_gain(low: float, high: float, least: float) -> str:
    """Whether there is a gain, of `least` or more: an interval that reaches from no gain to that leaves it open."""
    if high < least:
        return REFUTED
    return REPRODUCED if low > 0 else UNDECIDED


def overall(verdicts: list[str]) -> str:
    """The verdict on a claim that several comparisons must bear out."""
    return next(verdict for verdict in (REFUTED, UNDECIDED, REPRODUCED) if verdict in verdicts)


def needed(low: float, high: float, n: int, effect: float) -> int | None:
    """Observations with which a paired t test finds `effect` with a power of 80 %; None where they do not vary.

    `low` to `high` is the 95 % t interval of the mean of `n` observations, from which their deviation follows.
    """
    from statsmodels.stats.power import TTestPower  # a second to import

    error = (high - low) / 2 / stats.t.ppf(1 - ALPHA / 2, n - 1)
    deviation = error * math.sqrt(n)
    if deviation <= 0 or effect / deviation > LARGEST_EFFECT:
        return None
    return math.ceil(TTestPower().solve_power(effect / deviation, alpha=ALPHA, power=POWER))
