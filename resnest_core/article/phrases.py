"""Words and figures for the text: every number and every verdict in the article passes through here."""

import math
from collections.abc import Sequence

ALPHA = 0.05
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MINUS = "\u2212"
UNDEFINED = "undefined"  # stands for a number that is none: an accuracy of no pixel, say
HARD = "\u00a0"  # a space at which no line ends


def number(value: float, digits: int = 2) -> str:
    """A decimal with a proper minus sign; a rounded zero carries none."""
    if not math.isfinite(value):
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def signed(value: float, digits: int = 2) -> str:
    """A difference, always with its sign; plain where it rounds to zero."""
    text = number(value, digits)
    return text if text.startswith((MINUS, UNDEFINED)) or float(text) == 0 else f"+{text}"


def count(value: float) -> str:
    """A whole number with its thousands set apart: 10,000."""
    return f"{round(value):,}" if math.isfinite(value) else UNDEFINED


def words(value: int) -> str:
    """A small number as a word."""
    return WORDS[value] if 0 <= value < len(WORDS) else count(value)


def plural(value: int, noun: str) -> str:
    """A counted noun: "one image", "two images", "13 images"."""
    return f"{words(value)} {noun}{'' if value == 1 else 's'}"


def listing(items: Sequence[str]) -> str:
    """An enumeration: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def p_value(p: float) -> str:
    """A p-value with three decimals, in Markdown."""
    return f"*p*{HARD}<{HARD}0.001" if p < 0.0005 else f"*p*{HARD}={HARD}{number(p, 3)}"


def p_cell(p: float | None) -> str:
    """The same for a table's column of p-values."""
    return "no test" if p is None else "< 0.001" if p < 0.0005 else number(p, 3)


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """The limits of an interval; empty where there is none."""
    if low is None or high is None or not math.isfinite(high - low):
        return ""
    return f"{number(low, digits)} to {number(high, digits)}"


def points(difference: float, low: float | None, high: float | None) -> str:
    """A difference of percentages with its interval."""
    limits = interval(low, high)
    return f"{signed(difference)} points" + (f", 95 % interval {limits}" if limits else "")


def with_interval(difference: float, low: float | None, high: float | None, digits: int = 2) -> str:
    """The same for a table: "+0.40 (0.10 to 0.70)"."""
    limits = interval(low, high, digits)
    return signed(difference, digits) + (f" ({limits})" if limits else "")


def differs(p: float | None) -> bool:
    """Whether a test finds a difference; no test finds none."""
    return p is not None and p < ALPHA


def verdict(difference: float, p: float | None) -> str:
    """What a test of a difference allows to say about the first against the second."""
    if p is None:
        return "not tested"
    return "not detectably different" if not differs(p) else "better" if difference > 0 else "worse"


def tally(verdicts: Sequence[str]) -> str:
    """A count of verdicts: "better in two, worse in none and not detectably different in one"."""
    kinds = ("better", "worse", "not detectably different", "not tested")
    return listing([f"{kind} in {words(verdicts.count(kind))}" for kind in kinds if kind in verdicts])


def millions(value: float) -> str:
    """A number of parameters, in millions with one decimal, as the authors print it."""
    return number(value / 1e6, 1 if value >= 1e6 else 2)


def giga(value: float) -> str:
    return number(value / 1e9, 2) if value >= 1e8 else number(value / 1e9, 3)


def mebibytes(value: float) -> str:
    """A number of bytes in MiB, for a table."""
    return number(value / 2**20, 1)


def size(value: float) -> str:
    """A number of bytes with its unit."""
    return f"{mebibytes(value)}{HARD}MiB" if value < 1000 * 2**20 else f"{number(value / 2**30)}{HARD}GiB"


def duration(seconds: float) -> str:
    """A time span: "38 s", "12 min", "3 h 20 min"."""
    if not seconds >= 120:
        return f"{number(seconds, 0)}{HARD}s"
    if seconds == math.inf:
        return UNDEFINED
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{HARD}h{HARD}{minutes}{HARD}min" if hours else f"{minutes}{HARD}min"


def significant(value: float, digits: int = 3) -> str:
    """A number to so many significant digits, without an exponent unless it is far from 1."""
    if value == 0 or not math.isfinite(value):
        return number(value, 0)
    exponent = math.floor(math.log10(abs(value)))
    if -3 <= exponent <= 5:
        return number(value, max(0, digits - 1 - exponent))
    return f"{number(value / float(f'1e{exponent}'), digits - 1)}×10^{str(exponent).replace('-', MINUS)}^"
