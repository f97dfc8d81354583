"""The analysis of saliency: where networks look, and what their heat maps are worth."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

from resnest_core.analyses.saliency_cases import read_cases
from resnest_core.article import phrases
from resnest_core.article.analysis import Analysis
from resnest_core.article.comparisons import Comparison, corrected
from resnest_core.article.illustrations import Illustration
from resnest_core.article.networks import classifier_label
from resnest_core.article.results import Metric
from resnest_core.article.tables import ABSENT, Cell, Table, measured
from resnest_core.evaluation.examples import EXAMPLES
from resnest_core.figures.saliency import cases
from resnest_core.models.variants import CLASSIFIERS

TEST = "paired t test over images"
SCORES = {"excess_fall": "Excess fall", "object_excess": "Heat on object", "hot_area": "Hot area"}
NAMES = {"excess_fall": "excess fall", "object_excess": "heat on the object", "hot_area": "hot area"}
AGREEMENTS = {"agreement_right": "Both right", "agreement_wrong": "One errs", "agreement_other": "Other image"}
ORDINALS = ("first", "second", "third", "fourth")


class Saliency(Analysis):
    """What the article says about heat maps."""

    study = "saliency"

    @property
    def stages(self) -> str:
        """The stages that are looked at, in words, with the size of their maps."""
        return phrases.listing(list(dict.fromkeys(self._stage(name) for name in self.networks)))

    def _stage(self, name: str) -> str:
        parameters = self.store.parameters(self.sources[name])
        side = parameters["map_sides"][name]
        return f"{ORDINALS[parameters['stages'][name] - 1]} with {side} × {side} pixels"

    @property
    def images(self) -> int:
        return self.metric(self.networks[0], "excess_fall").n or 0

    def label(self, name: str) -> str:
        """A network; with its seed if it is another training of one that stands before it."""
        own = classifier_label(self._model(name))
        first = next(other for other in self.sources if self._architecture(other) == self._architecture(name))
        if first == name:
            return own
        seed = self.store.parameters(self.sources[name])["seeds"][name]
        return f"{classifier_label(self._model(first))} (seed {seed})"

    def _model(self, name: str) -> str:
        return self._models(self.sources[name])[name]

    def _architecture(self, name: str) -> object:
        return CLASSIFIERS[self._model(name)]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """The first run of each experiment, with each of its others."""
        names = [list(self._models(run)) for run in self.done]
        return [(first, other) for first, *others in names for other in others]

    def again(self, pair: tuple[str, str]) -> bool:
        """Whether the two are trainings of one network."""
        return self._architecture(pair[0]) == self._architecture(pair[1])

    @cached_property
    def tests(self) -> dict[tuple[str, str], dict[str, Comparison]]:
        """For each pair the scores of the first less those of the second, with Holm's correction for all."""
        listed = [(pair, score) for pair in self.pairs for score in SCORES if self.peek(pair[0], score)]
        tests = corrected(self._test(pair, score) for pair, score in listed)
        found: dict[tuple[str, str], dict[str, Comparison]] = {pair: {} for pair in self.pairs}
        for (pair, score), test in zip(listed, tests, strict=True):
            if test is not None:
                found[pair][score] = test
        return found

    def _test(self, pair: tuple[str, str], score: str) -> Comparison:
        first, other = pair
        found, p = self.metric(first, f"{score}_less_{other}"), self.peek(first, f"{score}_less_p_{other}")
        limits = (found.value, found.low, found.high, p.value if p else None)
        return Comparison(self.label(first), self.label(other), TEST, *limits)

    def peek(self, name: str, metric: str) -> Metric | None:
        """A metric of a run, if it has that."""
        return self.store.peek(self.sources[name], f"{name}.{metric}")

    @property
    def faithful(self) -> str:
        """Whether what is marked matters to the networks."""
        texts = {1: "more with {}", -1: "less with {}", 0: "detectably neither more nor less with {}"}
        return f"Against hiding as much elsewhere, hiding what is marked costs {self._told('excess_fall', texts)}."

    @property
    def on_object(self) -> str:
        """Whether heat lies on the objects; or that these are unknown."""
        if not any(self.peek(name, "object_excess") for name in self.networks):
            return "Which pixels are the object is not known of these images, so that heat on it is not measured."
        texts = {1: "more heat with {}", -1: "less heat with {}", 0: "detectably neither more nor less heat with {}"}
        return f"For its area, the object has {self._told('object_excess', texts)}."

    def _told(self, score: str, texts: Mapping[int, str]) -> str:
        """Which networks have a score above, below and not detectably off zero; no full stop."""
        return _by_side({self.label(name): self.peek(name, score) for name in self.networks}, texts, "networks")

    @property
    def differences(self) -> str:
        """In which scores networks differ, and whether trainings of one network do so too."""
        others = [pair for pair in self.pairs if not self.again(pair)]
        again = [pair for pair in self.pairs if self.again(pair)]
        parts = [self._difference(pair) for pair in others]
        if others and not again:
            parts.append("Each network is of one training, and trainings may differ as much.")
        both = {score for pair in others for score in self._differing(pair)}
        return " ".join([*parts, *(self._scatter(pair, both) for pair in again)])

    def _differing(self, pair: tuple[str, str]) -> list[str]:
        return [score for score, test in self.tests[pair].items() if phrases.differs(test.p)]

    def _difference(self, pair: tuple[str, str]) -> str:
        first, other = (self.label(name) for name in pair)
        scores = [NAMES[score] for score in self._differing(pair)]
        if not scores:
            return f"{first} and {other} do not differ detectably in any score of the table."
        return f"{first} differs from {other} in {phrases.listing(scores)}."

    def _scatter(self, pair: tuple[str, str], elsewhere: set[str]) -> str:
        """What two trainings of one network say of the scores in which it differs from another network."""
        network, own = classifier_label(self._model(pair[0])), self._differing(pair)
        if common := [NAMES[score] for score in own if score in elsewhere]:
            tell = "tells" if len(common) == 1 else "tell"
            names = phrases.listing(common)
            return (
                f"Two trainings of {network} differ too in {names}, which therefore {tell} nothing of the architecture."
            )
        return f"Two trainings of {network} differ detectably in {phrases.listing([NAMES[s] for s in own]) or 'none'}."

    @property
    def agreement(self) -> str:
        """Whether networks look at the same places of an image, and less so where one of them errs."""
        shared = {1: "more for {}", -1: "less for {}", 0: "not detectably more for {}"}
        gaps = {1: "less for {}", -1: "more for {}", 0: "not detectably less for {}"}
        told, errors = self._between("agreement_excess", shared), self._between("agreement_gap", gaps)
        first = f"Compared with different images, heat in one image agrees {told}." if told else ""
        return f"{first} Where one errs it agrees {errors}." if errors else first

    def _between(self, score: str, texts: Mapping[int, str]) -> str:
        """Which pairs have a score above, below and not detectably off zero; no full stop."""
        found = {pair: self.peek(pair[0], f"{score}_{pair[1]}") for pair in self.pairs}
        return _by_side({self._both(pair): metric for pair, metric in found.items()}, texts, "pairs")

    def _both(self, pair: tuple[str, str]) -> str:
        if self.again(pair):
            return f"two trainings of {classifier_label(self._model(pair[0]))}"
        return f"{self.label(pair[0])} and {self.label(pair[1])}"

    @property
    def true_class(self) -> str:
        """Whether a network that errs looks elsewhere for the true class."""
        found = [m.value for name in self.networks if (m := self.peek(name, "true_class_agreement"))]
        if not found:
            return ""
        low, high = (phrases.number(value) for value in (min(found), max(found)))
        span = low if low == high else f"{low} to {high}"
        return f"In errors, heat of the true class and of the predicted one correlate by {span}."

    def tables(self) -> list[Table]:
        return [self.table()] if self.done else []

    def figures(self) -> list[Illustration]:
        return [self.figure()] if self.done else []

    def table(self) -> Table:
        """The scores of each network; of each pair their differences, and how heat goes together."""
        scores = [score for score in SCORES if any(self.peek(name, score) for name in self.networks)]
        agreements = list(AGREEMENTS) if self.pairs else []
        rows = [[self._name(name), *(self._score(name, score, 1) for score in scores)] for name in self.networks]
        rows = [[*row, *(measured("") for _ in agreements)] for row in rows]
        for (first, other), tests in self.tests.items():
            label = measured(f"{self.label(first)} less {self.label(other)}", self.sources[first].key)
            cells = [_difference(tests[score]) if score in tests else ABSENT for score in scores]
            rows.append([label, *cells, *(self._score(first, f"{name}_{other}", 2) for name in agreements)])
        header = ["Network", *(SCORES[score] for score in scores), *(AGREEMENTS[name] for name in agreements)]
        return Table("saliency", self._caption(scores), header, "l" + "r" * (len(header) - 1), rows, wide=True)

    def _caption(self, scores: list[str]) -> str:
        text = "Means with 95 % t intervals over images. Excess fall: how much more probability (points) the predicted "
        text += "class loses when the fifth of the pixels with most heat is hidden than when as much is elsewhere"
        if "object_excess" in scores:
            text += "; heat on the object: beyond its share of the area (points)"
        text += "; hot area: that with half of the greatest heat or more (%)"
        if self.pairs:
            text += "; agreement: rank correlation of two networks' heat where both are right, where one errs, and in "
            text += f"different images. \\*: $p$ < 0.05 in the {TEST}, after Holm's correction"
        return f"{text}."

    def _name(self, name: str) -> Cell:
        return measured(self.label(name), self.sources[name].key)

    def _score(self, name: str, score: str, digits: int) -> Cell:
        found = self.peek(name, score)
        return measured(_limits(found, digits)) if found else ABSENT

    def figure(self) -> Illustration:
        """The first images of the first experiment."""
        directory = self.store.file(self.done[0], EXAMPLES).parent
        labels = {name: self.label(name) for name in self.networks}
        who = ("both networks get", "one gets") if self.pairs else ("the network gets", "it gets")
        caption = "Below its class each image, and the heat of the class that is predicted: the first images that "
        caption += f"{who[0]} right (left), and that {who[1]} wrong (right). Wrong classes are coloured; there a line "
        caption += "surrounds half of the true class's greatest heat or more."
        alt = "Small pictures in a grid, with coloured spots where networks look"
        return Illustration("saliency", caption, alt, cases(read_cases(directory), labels), wide=True)


def _by_side(scores: Mapping[str, Metric | None], texts: Mapping[int, str], noun: str) -> str:
    """What `texts` say, filled in with the names of what has its interval above (1), below (-1) or about zero (0)."""
    sides = {name: _side(metric) for name, metric in scores.items() if metric}
    named = {side: [name for name, own in sides.items() if own == side] for side in texts}
    return phrases.listing(
        [text.format(_names(named[side], sides, noun)) for side, text in texts.items() if named[side]]
    )


def _names(names: Sequence[str], everything: Collection[str], noun: str) -> str:
    """The names, or where these are several and no other: "both networks", "all three networks"."""
    if 1 < len(names) == len(everything):
        return f"both {noun}" if len(names) == 2 else f"all {phrases.words(len(names))} {noun}"
    return phrases.listing(names)


def _side(metric: Metric) -> int:
    """1 or -1 if the interval is above or below zero, else 0."""
    if metric.low is None or metric.high is None:
        return 0
    return int(metric.low > 0) - int(metric.high < 0)


def _limits(metric: Metric, digits: int) -> str:
    limits = phrases.interval(metric.low, metric.high, digits)
    return phrases.number(metric.value, digits) + (f" ({limits})" if limits else "")


def _difference(test: Comparison) -> Cell:
    mark = "\\*" if phrases.differs(test.p) else ""
    limits = phrases.interval(test.low, test.high, 1)
    return measured(f"{phrases.signed(test.difference, 1)}{mark}" + (f" ({limits})" if limits else ""))
