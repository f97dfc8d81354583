"""Numbers and verdicts in words, by examples worked out by hand."""

import pytest

from resnest_core.article import findings, phrases
from resnest_core.article.findings import BETTER, SAME, UNTESTED, WORSE

EQUAL = "The logits are equal to the bit."


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(87.654, 2, "87.65"), (-1.5, 2, "−1.50"), (-0.001, 2, "0.00"), (0.0, 1, "0.0"), (12345.0, 0, "12345")],
)
def test_numbers_have_a_proper_minus_and_no_negative_zero(value: float, digits: int, text: str) -> None:
    assert phrases.number(value, digits) == text


@pytest.mark.parametrize(("value", "text"), [(0.4, "+0.40"), (-0.4, "−0.40"), (0.001, "0.00"), (-0.001, "0.00")])
def test_differences_carry_their_sign(value: float, text: str) -> None:
    assert phrases.signed(value) == text


def test_enumerations_and_counts() -> None:
    assert [phrases.listing(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert [phrases.plural(n, "image") for n in (0, 1, 2, 13)] == ["no images", "one image", "two images", "13 images"]
    assert phrases.count(10000) == "10,000"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "*p* < 0.001"), (0.0005, "*p* = 0.001"), (0.0496, "*p* = 0.050"), (1.0, "*p* = 1.000")]
)
def test_p_values(p: float, text: str) -> None:
    assert phrases.p_value(p).replace(phrases.HARD, " ") == text


@pytest.mark.parametrize(
    ("difference", "p", "verdict"),
    [(0.5, 0.049, BETTER), (-0.5, 0.049, WORSE), (0.5, 0.05, SAME), (-9.0, 0.9, SAME), (9.0, None, UNTESTED)],
)
def test_only_a_test_makes_a_difference(difference: float, p: float | None, verdict: str) -> None:
    assert phrases.verdict(difference, p) == verdict


def test_tally() -> None:
    assert phrases.tally([BETTER, SAME, BETTER]) == "better in two and not detectably different in one"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1234"), (8.0, "8.00"), (0.0123, "0.0123"), (0.0, "0"), (3e-06, "3.00×10^−6^"), (0.00099, "9.90×10^−4^")],
)
def test_significant_digits(value: float, text: str) -> None:
    assert phrases.significant(value) == text


def test_units() -> None:
    spans = [phrases.duration(s).replace(phrases.HARD, " ") for s in (21.4, 119.4, 600, 12000)]
    assert spans == ["21 s", "119 s", "10 min", "3 h 20 min"]
    assert [phrases.size(b).replace(phrases.HARD, " ") for b in (18_500_000, 3 * 2**30)] == ["17.6 MiB", "3.00 GiB"]
    assert [phrases.millions(n) for n in (26_217_896, 532_714)] == ["26.2", "0.53"]
    assert [phrases.giga(n) for n in (4.337e9, 21.4e6)] == ["4.34", "0.021"]


def test_a_comparison_differs_only_with_its_verdict() -> None:
    words = ("ours", "theirs", "+1.00 points", "p")
    assert findings.comparison(*words, BETTER) == "Ours differs from theirs and is better (+1.00 points, p)."
    assert findings.comparison(*words, WORSE) == "Ours differs from theirs and is worse (+1.00 points, p)."
    assert findings.comparison(*words, SAME) == "Ours does not differ detectably from theirs (+1.00 points, p)."
    assert findings.comparison(*words, UNTESTED) == "Ours could not be tested against theirs (+1.00 points)."


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ({"a": SAME, "b": SAME}, "none of a and b differs detectably from r"),
        ({"a": SAME}, "a does not differ detectably from r"),
        ({"a": BETTER, "b": BETTER, "c": WORSE}, "a and b are better than r and c is worse"),
        ({"a": SAME, "b": BETTER, "c": SAME}, "b is better than r and a and c do not differ detectably"),
        ({"a": UNTESTED, "b": SAME}, "b does not differ detectably from r and a could not be tested"),
    ],
)
def test_conclusions_name_everything_once(verdicts: dict[str, str], text: str) -> None:
    assert findings.conclusion(verdicts, "r") == text


def test_conclusions_by_numbers() -> None:
    assert findings.counted([SAME] * 7, "setting", "r") == "none of the seven settings differs detectably from r"
    assert findings.counted([SAME], "setting", "r") == "one setting does not differ detectably from r"
    mixed = findings.counted([WORSE, SAME, SAME, BETTER], "setting", "r")
    assert mixed == "one setting is better than r, one is worse and two do not differ detectably"


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ([(11, BETTER), (14, BETTER)], "Split attention improved accuracy at every depth tested."),
        ([(11, WORSE)], "Split attention lowered accuracy at every depth tested."),
        ([(11, SAME), (14, SAME)], "At no depth does split attention change accuracy detectably."),
        (
            [(11, BETTER), (14, SAME), (17, BETTER)],
            "Split attention made a difference that depends on the depth: it improved accuracy with 11 and 17 layers; "
            "no difference was detected with 14 layers.",
        ),
    ],
)
def test_depths(verdicts: list[tuple[int, str]], text: str) -> None:
    assert findings.depths(verdicts) == text


def test_flips() -> None:
    same = findings.flips({1: 0, 64: 0}, 10000, 32, 0.0)
    assert same == f"None of the 10,000 predictions changes between batches of 1, 32 and 64. {EQUAL}"
    changed = findings.flips({1: 2, 64: 0}, 10000, 32, 3e-6)
    assert changed.startswith(
        "Against batches of 32, of 10,000 predictions change: two with batches of 1 and none with "
    )
    assert changed.endswith("The greatest change of any logit is 3.0×10^−6^.")
    assert "logit" not in findings.flips({1: 0}, 10, 32, None)


@pytest.mark.parametrize(("tau", "p", "verb"), [(0.9, 0.01, " agrees with "), (-0.9, 0.01, " is opposite to ")])
def test_order_that_the_test_finds(tau: float, p: float, verb: str) -> None:
    assert verb in findings.order(tau, p, 8)


def test_order_that_the_test_does_not_find() -> None:
    assert "does not agree detectably" in findings.order(0.9, 0.2, 8)


@pytest.mark.parametrize(("operations", "time", "verb"), [(1.2, 1.4, "understate"), (1.2, 1.0, "overstate")])
def test_price(operations: float, time: float, verb: str) -> None:
    assert f"Multiply-adds {verb} the price" in findings.price(operations, time)


def test_price_that_is_as_foretold() -> None:
    assert findings.price(1.2, 1.21).startswith("Multiply-adds foretell the time well")


def test_published_figures_inside_and_outside() -> None:
    both = findings.replication([("A", -0.1, True), ("B", 0.2, True), ("C", 5.0, False)])
    inside = "inside our 95 % interval for A (−0.10 points) and B (+0.20 points)"
    assert both == f"The authors' figure lies {inside} and outside it for C (+5.00 points)."
    outside = findings.replication([("C", 5.0, False)])
    assert outside == "The authors' figure lies outside our 95 % interval for C (+5.00 points)."
