"""What an interval says about a claim: reproduced, not reproduced, or undecided, and how much would decide it."""

import math

import numpy as np
from scipy import stats

from resnest_core.article.phrases import ALPHA

REPRODUCED, REFUTED, UNDECIDED, NOT_RUN = "reproduced", "not reproduced", "undecided", "not run"
VERDICTS = (REPRODUCED, REFUTED, UNDECIDED, NOT_RUN)
POWER = 0.8
SMALLEST_EFFECT, LARGEST_EFFECT = 1e-6, 20.0  # deviations; two observations show the largest


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
    """Observations, the fewest, with which a paired t test finds `effect` with a power of 80 %.

    `low` to `high` is the 95 % t interval of the mean of `n` observations, from which their deviation follows. None
    where they do not vary or are too few to tell, and for an effect that is none or below a millionth of a deviation.
    """
    if n < 2 or not 0 < effect < math.inf or not 0 < high - low < math.inf:
        return None
    size = effect / (high - low) * 2 * float(stats.t.ppf(1 - ALPHA / 2, n - 1)) / math.sqrt(n)
    if not SMALLEST_EFFECT <= size <= LARGEST_EFFECT:
        return None
    less, enough = 1, 2
    while not _shows(size, enough):
        less, enough = enough, 2 * enough
    while enough - less > 1:
        middle = (less + enough) // 2
        less, enough = (less, middle) if _shows(size, middle) else (middle, enough)
    return enough


def _shows(size: float, n: int) -> bool:
    """Whether `n` observations show an effect of that size, in deviations, with the power that is asked."""
    limit, shift = float(stats.t.isf(ALPHA / 2, n - 1)), size * math.sqrt(n)
    wrong_sign = np.nan_to_num(stats.nct.cdf(-limit, n - 1, shift))  # scipy gives NaN for some that are next to zero
    return bool(stats.nct.sf(limit, n - 1, shift) + wrong_sign >= POWER)
