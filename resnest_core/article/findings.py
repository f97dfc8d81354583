"""Sentences that say what came out. Each follows from tests or counts, whichever way they turn out."""

from collections.abc import Mapping, Sequence

from resnest_core.article import phrases
from resnest_core.article.phrases import count, listing, number, plural, words

BETTER, WORSE, SAME, UNTESTED = "better", "worse", "not detectably different", "not tested"
KINDS = (BETTER, WORSE, SAME, UNTESTED)
NEAR = 0.05  # relative difference below which two ratios are called equal


def comparison(first: str, second: str, difference: str, p: str, verdict: str) -> str:
    """One tested comparison; `difference` and `p` as `phrases` writes them."""
    if verdict == UNTESTED:
        return sentence(f"{first} could not be tested against {second} ({difference})")
    if verdict == SAME:
        return sentence(f"{first} does not differ detectably from {second} ({difference}, {p})")
    return sentence(f"{first} differs from {second} and is {verdict} ({difference}, {p})")


def conclusion(verdicts: Mapping[str, str], reference: str) -> str:
    """Several things against one reference: "A is better than R and B does not differ detectably"; no full stop."""
    if set(verdicts.values()) == {SAME} and len(verdicts) > 1:
        return f"none of {listing(list(verdicts))} differs detectably from {reference}"
    parts: list[str] = []
    for kind in KINDS:
        names = [name for name, verdict in verdicts.items() if verdict == kind]
        if names:
            parts.append(f"{listing(names)} {_predicate(kind, len(names), '' if parts else reference)}")
    return listing(parts)


def sentence(text: str) -> str:
    """With a capital at the front and a full stop at the end."""
    return f"{text[:1].upper()}{text[1:]}."


def counted(verdicts: Sequence[str], noun: str, reference: str) -> str:
    """The same by numbers: "one setting is better than R and two do not differ detectably"; without a full stop."""
    if set(verdicts) == {SAME} and len(verdicts) > 1:
        return f"none of the {plural(len(verdicts), noun)} differs detectably from {reference}"
    parts: list[str] = []
    for kind in KINDS:
        if n := verdicts.count(kind):
            subject = words(n) if parts else plural(n, noun)
            parts.append(f"{subject} {_predicate(kind, n, '' if parts else reference)}")
    return listing(parts)


def depths(verdicts: Sequence[tuple[int, str]]) -> str:
    """ResNeSt against ResNet-D over depths."""
    kinds = {verdict for _, verdict in verdicts}
    if kinds == {BETTER}:
        return "Split attention improved accuracy at every depth tested."
    if kinds == {WORSE}:
        return "Split attention lowered accuracy at every depth tested."
    if kinds == {SAME}:
        return "At no depth does split attention change accuracy detectably."
    texts = {
        BETTER: "it improved accuracy with {}",
        WORSE: "it lowered accuracy with {}",
        SAME: "no difference was detected with {}",
        UNTESTED: "there was no test with {}",
    }
    found = {kind: [str(layers) for layers, verdict in verdicts if verdict == kind] for kind in texts}
    parts = [texts[kind].format(f"{listing(layers)} layers") for kind, layers in found.items() if layers]
    return f"Split attention made a difference that depends on the depth: {'; '.join(parts)}."


def starts(verdicts: Sequence[tuple[str, str]]) -> str:
    """Whether networks gained by beginning with a classifier's weights; no full stop."""
    texts = {
        BETTER: "beginning with the weights of a classifier helped {}",
        WORSE: "it harmed {}",
        SAME: "no difference was detected for {}",
    }
    networks = [(name.removesuffix(", pretrained"), verdict) for name, verdict in verdicts]
    found = {kind: [name for name, verdict in networks if verdict == kind] for kind in texts}
    return "; ".join(texts[kind].format(listing(names)) for kind, names in found.items() if names)


def transfer_claim(value: float, low: float | None, high: float | None, baseline: float) -> str:
    """The mIoU of ResNeSt-50 measured here against that quoted for ResNet-50."""
    limits = phrases.interval(low, high)
    text = f"Measured here, ResNeSt-50 has {number(value)} %" + (f" ({limits})" if limits else "")
    return f"{text}, which is {phrases.signed(value - baseline)} points from the figure quoted for ResNet-50."


def flips(changed: Mapping[int, int], n: int, reference: int, logits: float | None) -> str:
    """Predictions that other batch sizes of evaluation change, and by how much logits do."""
    if not any(changed.values()):
        batches = listing([str(batch) for batch in sorted([*changed, reference])])
        text = f"None of the {count(n)} predictions changes between batches of {batches}."
    else:
        cases = [f"{words(c) if c else 'none'} with batches of {batch}" for batch, c in changed.items()]
        text = f"Against batches of {reference}, of {count(n)} predictions change: {listing(cases)}."
    if logits is None:
        return text
    if logits == 0:
        return f"{text} The logits are equal to the bit."
    return f"{text} The greatest change of any logit is {phrases.significant(logits, 2)}."


def order(tau: float, p: float, n: int) -> str:
    """Rank correlation of our accuracies with the published ones."""
    numbers = f"(Kendall's $\\tau = {number(tau)}$ over {plural(n, 'setting')}, {phrases.p_value(p)})"
    if not phrases.differs(p):
        return f"The order of our accuracies does not agree detectably with that of the published ones {numbers}."
    relation = "agrees with" if tau > 0 else "is opposite to"
    return f"The order of our accuracies {relation} that of the published ones {numbers}."


def replication(cases: Sequence[tuple[str, float, bool]]) -> str:
    """Our accuracies less the authors' figures (label, points, whether the figure is inside our 95 % interval)."""
    inside, outside = (
        listing([f"{label} ({phrases.signed(points)} points)" for label, points, within in cases if within == wanted])
        for wanted in (True, False)
    )
    parts = [f"inside our 95 % interval for {inside}"] if inside else []
    parts += [f"outside it for {outside}" if inside else f"outside our 95 % interval for {outside}"] if outside else []
    return f"The authors' figure lies {listing(parts)}."


def price(operations: float, time: float) -> str:
    """Whether multiply-adds foretell time, both as multiples of a reference."""
    numbers = f"{number(operations)} times the multiply-adds take {number(time)} times as long"
    if abs(time / operations - 1) < NEAR:
        return f"Multiply-adds foretell the time well: {numbers}."
    return f"Multiply-adds {'understate' if time > operations else 'overstate'} the price in time: {numbers}."


def excess(differences: Sequence[float]) -> str:
    """By how much published counts (G) exceed ours."""
    low, high = min(differences), max(differences)
    if low < 0:
        return f"lie between {number(-low)} G below and {number(high)} G above ours"
    return f"lie {number(low)} to {number(high)} G above ours"


def _predicate(kind: str, n: int, reference: str) -> str:
    """What a verdict says of `n` things; the reference is named once, in the first part of a sentence."""
    if kind in (BETTER, WORSE):
        return f"{'is' if n == 1 else 'are'} {kind}" + (f" than {reference}" if reference else "")
    if kind == SAME:
        return f"{'does' if n == 1 else 'do'} not differ detectably" + (f" from {reference}" if reference else "")
    return "could not be tested" + (f" against {reference}" if reference else "")
