"""The analysis of calibration: whether probabilities are true, what split attention and one temperature change."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from resnest_core.analyses.calibration import SCALED, reliability
from resnest_core.article import phrases
from resnest_core.article.analysis import Analysis
from resnest_core.article.comparisons import Comparison, corrected
from resnest_core.article.illustrations import Illustration
from resnest_core.article.results import Experiment
from resnest_core.article.tables import Cell, Table, measured
from resnest_core.figures.calibration import Value
from resnest_core.figures.calibration import reliability as draw
from resnest_core.statistics import holm

VERDICTS = LOWER, HIGHER, SAME = ("lower", "higher", "not detectably different")
BOOTSTRAP = "bootstrap over images"
SCORES = {"ece": "ECE", "log_loss": "log loss"}


class Calibration(Analysis):
    """What the article says about the probabilities of networks."""

    study = "calibration"

    @property
    def bins(self) -> int:
        return int(self.settings["bins"])

    @property
    def smoothed(self) -> bool:
        """Whether all networks were trained here with smoothed labels."""
        given = {name: float(s) for run in self.done for name, s in self._parameter(run, "label_smoothing").items()}
        return all(given.get(name, 0.0) > 0 for name in self.networks)

    def _parameter(self, run: Experiment, name: str) -> dict[str, Any]:
        return dict(self.store.parameters(run)[name])

    def direction(self, state: str = "") -> str:
        """How many networks have less confidence than accuracy, and how many more; no full stop."""
        limits = [self.metric(name, f"{state}overconfidence") for name in self.networks]
        kinds = {
            "underconfident": [m.value for m in limits if m.high is not None and m.high < 0],
            "overconfident": [m.value for m in limits if m.low is not None and m.low > 0],
        }
        rest = len(limits) - sum(map(len, kinds.values()))
        told = [
            f"{self._share(len(found))} {_is(len(found))} {kind} ({_range(map(abs, found))} points)"
            for kind, found in kinds.items()
            if found
        ]
        return phrases.listing(told + ([f"{self._share(rest)} {_is(rest)} detectably neither"] if rest else []))

    def range(self, metric: str, digits: int = 2) -> str:
        """From the least to the greatest value of a metric among the networks."""
        return _range((self.metric(name, metric).value for name in self.networks), digits)

    def untrue(self, state: str = "") -> str:
        """Of how many networks the consistency test finds the probabilities untrue."""
        p_values = holm([self.metric(name, f"{state}ece_p").value for name in self.networks])
        return self._share(sum(map(phrases.differs, p_values)))

    @cached_property
    def changes(self) -> dict[str, list[Comparison]]:
        """Each measure after scaling less before, with Holm's correction for all."""
        return self._corrected(
            {
                score: [self._comparison(name, f"change_{score}", "scaled", "not scaled") for name in self.networks]
                for score in SCORES
            }
        )

    @cached_property
    def families(self) -> dict[str, list[Comparison]]:
        """Each measure in both states of ResNeSt less that of ResNet-D of equal depth, with Holm's correction."""
        pairs = {name: other for run in self.done for name, other in self._parameter(run, "baselines").items()}
        return self._corrected(
            {
                f"{state}{score}": [
                    self._comparison(name, f"{state}less_baseline_{score}", self.label(name), self.label(other))
                    for name, other in pairs.items()
                ]
                for state in SCALED.values()
                for score in SCORES
            }
        )

    def _comparison(self, name: str, metric: str, first: str, second: str) -> Comparison:
        found, p = self.metric(name, metric), self.metric(name, f"{metric}_p").value
        return Comparison(first, second, BOOTSTRAP, found.value, found.low, found.high, p)

    @staticmethod
    def _corrected(tests: dict[str, list[Comparison]]) -> dict[str, list[Comparison]]:
        together = iter(corrected(test for group in tests.values() for test in group))
        return {name: [test for _ in group if (test := next(together))] for name, group in tests.items()}

    def changed(self, score: str) -> str:
        """In how many networks scaling lowers or raises a measure; no full stop."""
        verdicts = [_verdict(test) for test in self.changes[score]]
        return phrases.listing([f"{kind} for {self._share(verdicts.count(kind))}" for kind in dict.fromkeys(verdicts)])

    def against_baseline(self, score: str) -> str:
        """At which depths ResNeSt has less or more of a measure than ResNet-D, and by how much; no full stop."""
        tests = self.families[score]
        groups = {kind: [test for test in tests if _verdict(test) == kind] for kind in VERDICTS}
        if len(groups[SAME]) == len(tests) > 1:
            return f"{SAME} at any depth"
        told = [f"{kind} {_depths(found, tests)}{_size(found, score)}" for kind, found in groups.items() if found]
        if len(told) > 1 and groups[SAME]:
            told[-1] = f"{SAME} elsewhere"
        return phrases.listing(told)

    def _share(self, count: int) -> str:
        """So many of the networks: "all eight networks", "two of the eight networks"."""
        total = len(self.networks)
        if total == 1:
            return "the network" if count else "no network"
        if count in (0, total):
            return f"{'all' if count else 'none of the'} {phrases.words(total)} networks"
        return f"{phrases.words(count)} of the {phrases.words(total)} networks"

    def tables(self) -> list[Table]:
        return [self.table()] if self.done else []

    def figures(self) -> list[Illustration]:
        return [self.figure()] if self.done else []

    def table(self) -> Table:
        """All networks before and after scaling."""
        header = ["Network", "ECE", "scaled", "Equal mass", "scaled", "Log loss", "scaled", "Brier", "scaled", "*T*"]
        caption = f"Expected calibration error (%) in {self.bins} bins of equal width, with 95 % bootstrap intervals "
        caption += "over images, and of equal mass; log loss (nats) and Brier score; each as the network is and after "
        caption += "scaling by the temperature *T*, of which the mean of both halves is given."
        rows = [self._row(name) for name in self.networks]
        return Table("calibration", caption, header, "l" + "r" * (len(header) - 1), rows, wide=True)

    def _row(self, name: str) -> list[Cell]:
        pairs = [
            ("ece", self._interval),
            ("ece_adaptive", self._plain),
            ("log_loss", self._fine),
            ("brier", self._fine),
        ]
        texts = [show(name, f"{state}{score}") for score, show in pairs for state in SCALED.values()]
        key = self.sources[name].key
        return [measured(text, key) for text in (self.label(name), *texts, self._plain(name, "temperature"))]

    def _interval(self, name: str, metric: str) -> str:
        found = self.metric(name, metric)
        limits = phrases.interval(found.low, found.high)
        return self._plain(name, metric) + (f" ({limits})" if limits else "")

    def _plain(self, name: str, metric: str) -> str:
        return phrases.number(self.metric(name, metric).value)

    def _fine(self, name: str, metric: str) -> str:
        return phrases.number(self.metric(name, metric).value, 3)

    def figure(self) -> Illustration:
        curves = {
            self.label(name): [reliability(table, self.bins) for table in self._states(name)] for name in self.networks
        }
        errors = {
            self.label(name): [self._value(name, f"{state}ece") for state in SCALED.values()] for name in self.networks
        }
        caption = f"Accuracy less confidence in each of {self.bins} bins of the confidence (those of 1 % of the images "
        caption += "or more) before and after temperature scaling, a colour a network; true probabilities have none. "
        caption += "Right: the ECE with 95 % intervals, filled before and open after."
        drawn = draw(curves, errors, xlabel="ECE (%)")
        return Illustration("reliability", caption, "Accuracy less confidence, and calibration error", drawn, wide=True)

    def _states(self, name: str) -> list[pd.DataFrame]:
        rows = self.store.records(self.sources[name], ["run", "scaled", "correct", "confidence"])
        return [rows[(rows["run"] == name) & (rows["scaled"] == scaled)] for scaled in SCALED]

    def _value(self, name: str, metric: str) -> Value:
        found = self.metric(name, metric)
        return found.value, found.low, found.high


def _range(values: Iterable[float], digits: int = 2) -> str:
    listed = list(values)
    return " to ".join(dict.fromkeys(phrases.number(end, digits) for end in (min(listed), max(listed))))


def _verdict(test: Comparison) -> str:
    if not phrases.differs(test.p):
        return SAME
    return HIGHER if test.difference > 0 else LOWER


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _depths(tests: Sequence[Comparison], everything: Sequence[Comparison]) -> str:
    """Where something holds."""
    if len(tests) == len(everything) > 1:
        return "at all depths"
    depths = [test.first.rpartition("-")[2] for test in tests]
    return f"at depth{'s' if len(depths) > 1 else ''} {phrases.listing(depths)}"


def _size(tests: Sequence[Comparison], score: str) -> str:
    """One difference with its interval, or the range of several, in brackets; nothing where none was found."""
    if not all(phrases.differs(test.p) for test in tests):
        return ""
    digits, unit = (2, "points") if score.endswith("ece") else (3, "nats")
    ends = [phrases.signed(end(test.difference for test in tests), digits) for end in (min, max)]
    text = f"{' to '.join(dict.fromkeys(ends))} {unit}"
    limits = phrases.interval(tests[0].low, tests[0].high, digits)
    return f" ({text}, {limits})" if len(tests) == 1 and limits else f" ({text})"
