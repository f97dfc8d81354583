"""The claims of the paper and of the authors' tables, judged by what was measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from resnest_core.article import phrases, verdicts
from resnest_core.article.claim_file import Claim, Count, Figure, Gain, Same, Score, Speed, Test, read_claims
from resnest_core.article.comparisons import SEEDS, Comparison, Group
from resnest_core.article.published import AUTHORS, Quote, quote
from resnest_core.article.results import Experiment, Store
from resnest_core.article.tables import ABSENT, Cell, Table, measured, not_run
from resnest_core.article.verdicts import NOT_RUN, REFUTED, REPRODUCED, UNDECIDED
from resnest_core.errors import InputError
from resnest_core.statistics import mean_interval

FULL, SMALL = "full", "small"
UNITS = {"parameters": 1e6, "multiply_adds_224": 1e9}


@dataclass(frozen=True)
class Judgement:
    """The verdict on one test of a claim: what was found, and what would decide it or why it has not run."""

    verdict: str
    found: str = ""
    needed: str = ""
    reason: str = ""
    experiment: str | None = None

    @property
    def ran(self) -> bool:
        return self.verdict != NOT_RUN

    @property
    def cell(self) -> Cell:
        """What was found, the verdict, and what would decide it; or why there is none."""
        if not self.ran:
            return not_run(self.reason)
        verdict = f"{self.found}: {self.verdict}"
        return measured(f"{verdict}; {self.needed}" if self.needed else verdict, self.experiment)


@dataclass(frozen=True)
class Judged:
    """A claim with its figure as published and both judgements; None where a test cannot be."""

    claim: Claim
    claimed: Cell
    full: Judgement | None
    small: Judgement | None

    @property
    def study(self) -> str:
        """Where the evidence is: in the study of the test that ran, or would run."""
        pairs = [
            (test, found) for test, found in ((self.claim.full, self.full), (self.claim.small, self.small)) if test
        ]
        tests = [test for test, _ in pairs]
        ran = [test for test, found in pairs if found and found.ran]
        return (ran or tests)[0].study


class Claims:
    """What the article says about claims; `studies` are its studies by name, None for those that were not planned."""

    def __init__(self, store: Store, studies: Mapping[str, Any]) -> None:
        self.store, self.studies = store, studies

    @cached_property
    def judged(self) -> list[Judged]:
        return [self._judged(claim) for claim in read_claims()]

    def _judged(self, claim: Claim) -> Judged:
        tests = {FULL: claim.full, SMALL: claim.small}
        found = {scale: self.judge(test, scale) if test else None for scale, test in tests.items()}
        return Judged(claim, _claimed(claim), found[FULL], found[SMALL])

    def judge(self, test: Test, scale: str) -> Judgement:
        """The verdict on a test of the published networks ("full") or of those trained here ("small")."""
        if self.studies.get(test.study) is None:
            return Judgement(NOT_RUN, reason=f"profile {self.store.plan.profile} does not plan {_title(test.study)}")
        judges: dict[type, Callable[[Any, str], Judgement]] = {
            Score: self._score,
            Gain: self._gain,
            Same: self._same,
            Count: self._count,
            Speed: self._speed,
        }
        return judges[type(test)](test, scale)

    def _group(self, study: str, wanted: Mapping[str, Any], scale: str) -> tuple[Any, Group] | Judgement:
        """The one group of runs that is meant, or why it has no results."""
        groups: Mapping[Any, Group] = self.studies[study].groups
        found = [key for key, group in groups.items() if self._is(key, group.runs[0], wanted, scale)]
        if len(found) > 1:
            raise InputError(f"claims.yaml: {wanted} means more than one network of study '{study}'; say more of it")
        if not found:
            return self._unplanned(scale)
        if not groups[found[0]].done:
            return Judgement(NOT_RUN, reason=self.store.reason(groups[found[0]].runs[0]))
        return found[0], groups[found[0]]

    def _unplanned(self, scale: str) -> Judgement:
        what = "of published weights" if scale == FULL else "of networks trained here"
        return Judgement(NOT_RUN, reason=f"profile {self.store.plan.profile} has no such run {what}")

    def _is(self, key: Any, run: Experiment, wanted: Mapping[str, Any], scale: str) -> bool:
        """Whether a group is of this scale and has the wanted attributes, or else parameters."""
        parameters = self.store.parameters(run)
        if (parameters.get("weights") == "published") != (scale == FULL):
            return False
        return all(getattr(key, name, parameters.get(name, "")) == value for name, value in wanted.items())

    def _score(self, test: Score, scale: str) -> Judgement:
        found = self._group(test.study, test.run, scale)
        if isinstance(found, Judgement):
            return found
        if not found[1].known(test.figure.metric):
            return Judgement(NOT_RUN, reason=f"{test.figure.metric} is undefined on these images")
        metric = found[1].metrics(test.figure.metric)[0]
        claimed = _figure(test.figure).value
        limits = phrases.interval(metric.low, metric.high)
        text = phrases.number(metric.value) + (f" ({limits})" if limits else "")
        key = found[1].done[0].key
        if metric.n == test.images:
            verdict = verdicts.of_value(metric.value, claimed, test.tolerance)
            return Judgement(verdict, phrases.number(metric.value), experiment=key)
        if metric.low is None or metric.high is None:
            return Judgement(UNDECIDED, text, experiment=key)
        verdict = verdicts.of_band(metric.low, metric.high, claimed, test.tolerance)
        whole = f"all {phrases.count(test.images)} images needed"
        return Judgement(verdict, text, whole if verdict == UNDECIDED else "", experiment=key)

    def _gain(self, test: Gain, scale: str) -> Judgement:
        pair = [self._group(test.study, wanted, scale) for wanted in (test.first, test.second)]
        for found in pair:
            if isinstance(found, Judgement):
                return found
        (first, group), (second, _) = pair  # type: ignore[misc]
        comparison = self.studies[test.study].compare(first, second, test.metric)
        if comparison is None:
            return Judgement(NOT_RUN, reason="the two networks have no seed in common, or no score")
        text = phrases.with_interval(comparison.difference, comparison.low, comparison.high)
        if comparison.low is None or comparison.high is None:
            return Judgement(UNDECIDED, text, "more seeds needed", experiment=group.done[0].key)
        effect, least = _expected(test)
        verdict = verdicts.of_gain(comparison.low, comparison.high, least)
        needed = _needed(comparison, group, test.metric, effect) if verdict == UNDECIDED else ""
        return Judgement(verdict, text, needed, experiment=group.done[0].key)

    def _same(self, test: Same, scale: str) -> Judgement:
        study = self.studies[test.study]
        runs = [group.runs[0] for group in study.evaluated.values() if group.done]
        if not runs or (self.store.parameters(runs[0]).get("weights") == "published") != (scale == FULL):
            return self._unplanned(scale)
        tests = [t for t in study.evaluated_tests.values() if t.low is not None and t.high is not None]
        if not tests:
            return Judgement(NOT_RUN, reason="only one batch size has run")
        found = verdicts.overall([verdicts.of_band(t.low, t.high, 0.0, test.tolerance) for t in tests])
        furthest = max(tests, key=lambda t: max(abs(t.low), abs(t.high)))
        text = phrases.with_interval(furthest.difference, furthest.low, furthest.high)
        return Judgement(found, text, experiment=runs[0].key)

    def _count(self, test: Count, scale: str) -> Judgement:
        study = self.studies[test.study]
        pairs = [
            (study.value(n, test.metric) / UNITS[test.metric], figure.value)
            for n in (study.networks if study.done else [])
            if (figure := quote(n, test.published, AUTHORS))
        ]
        if not pairs:
            return Judgement(NOT_RUN, reason="no network was counted whose figure is published")
        met = sum(verdicts.of_value(ours, theirs, test.tolerance) == REPRODUCED for ours, theirs in pairs)
        verdict = REPRODUCED if met == len(pairs) else REFUTED
        return Judgement(verdict, f"{met} of {len(pairs)} agree", experiment=study.done[0].key)

    def _speed(self, test: Speed, scale: str) -> Judgement:
        study = self.studies[test.study]
        if not study.done or not {test.first, test.second} <= set(study.networks):
            return Judgement(NOT_RUN, reason="the two networks were not measured")
        logarithms = np.log(study.ratios(test.first, test.second))
        found = mean_interval(logarithms)
        if found.low is None or found.high is None:
            text = f"{phrases.number(np.exp(found.value))} times"
            return Judgement(UNDECIDED, text, "more rounds needed", experiment=study.sources[test.first].key)
        verdict = verdicts.of_gain(found.low, found.high, float(np.log(test.least)))
        value, low, high = np.exp([found.value, found.low, found.high])
        text = f"{phrases.number(value)} times ({phrases.interval(low, high)})"
        needed = verdicts.needed(found.low, found.high, found.n, float(np.log(test.least)))
        more = f"{phrases.count(needed)} rounds needed" if verdict == UNDECIDED and needed else ""
        return Judgement(verdict, text, more, experiment=study.sources[test.first].key)

    def tally(self, scale: str) -> dict[str, int]:
        """How many claims have each verdict among those that this scale can test."""
        found = [getattr(judged, scale) for judged in self.judged]
        return {v: sum(j.verdict == v for j in found if j) for v in verdicts.VERDICTS}

    def sentence(self, scale: str) -> str:
        """The same in words: "two of nine are reproduced, six are undecided and one was not run"."""
        counts = {verdict: n for verdict, n in self.tally(scale).items() if n}
        verbs = {NOT_RUN: ("has not been run", "have not been run")}
        parts = [f"{phrases.words(n)} {verbs.get(v, (f'is {v}', f'are {v}'))[n != 1]}" for v, n in counts.items()]
        return f"of {phrases.plural(sum(counts.values()), 'claim')}, {phrases.listing(parts)}"

    def ran(self, scale: str) -> bool:
        return any(n for verdict, n in self.tally(scale).items() if verdict != NOT_RUN)

    def texts(self, scale: str, verdict: str) -> list[str]:
        """The claims with that verdict."""
        return [j.claim.text for j in self.judged if (found := getattr(j, scale)) and found.verdict == verdict]

    def table(self) -> Table:
        """Every claim with its figure and both judgements."""
        return Table(
            "claims",
            "Claims, and what this build says of them: on the networks that they are about (full size), and whether "
            "the same direction is seen on small networks trained here, which is no test of the published figure. "
            "Scores are judged by the tolerance in `claims.yaml`, differences by their paired 95 % intervals, each for "
            "itself. Undecided means that the interval leaves room for no gain and for the one in question; what "
            "would decide it with a power of 80 % then follows.",
            ["Claim", "Published", "Full size", "Small networks", "Evidence"],
            "lrlll",
            [self._row(judged) for judged in self.judged],
            wide=True,
        )

    def _row(self, judged: Judged) -> list[Cell]:
        cells = [measured(judged.claim.text), judged.claimed]
        cells += [self._cell(judgement, judged.claim) for judgement in (judged.full, judged.small)]
        evidence = measured(f"@sec:{judged.study}") if self.studies.get(judged.study) else ABSENT
        return [*cells, evidence]

    def _cell(self, judgement: Judgement | None, claim: Claim) -> Cell:
        if judgement is None:
            return not_run(claim.without)
        return judgement.cell


def _figure(figure: Figure) -> Quote:
    found = quote(figure.model, figure.metric, figure.source)
    if found is None:
        raise InputError(f"published.csv has no {figure.metric} of '{figure.model}' from source '{figure.source}'")
    return found


def _claimed(claim: Claim) -> Cell:
    """The published figure, or the difference of the two."""
    if isinstance(claim.full, Score):
        figure = _figure(claim.full.figure)
        return Cell(figure.text, source=figure.source)
    figures = claim.full.figures if isinstance(claim.full, Gain) else claim.figures
    if figures:
        return Cell(phrases.signed(_difference(figures)), source=claim.source)
    return Cell(claim.printed, source=claim.source)


def _expected(test: Gain) -> tuple[float, float]:
    """The gain in question, and the least one that bears the claim out."""
    if test.figures is None or test.tolerance is None:
        return float(test.least or 0), float(test.least or 0)
    difference = _difference(test.figures)
    return difference, difference - test.tolerance


def _difference(figures: Sequence[Figure]) -> float:
    first, second = (_figure(figure).value for figure in figures)
    return first - second


def _needed(comparison: Comparison, group: Group, metric: str, effect: float) -> str:
    """How many seeds or images would tell the gain in question from none."""
    assert comparison.low is not None
    assert comparison.high is not None
    n = len(group.done) if comparison.test == SEEDS else group.metrics(metric)[0].n or 0
    count = verdicts.needed(comparison.low, comparison.high, n, effect)
    return f"{phrases.count(count)} {'seeds' if comparison.test == SEEDS else 'images'} needed" if count else ""


def _title(study: str) -> str:
    return study.replace("_", " ")
