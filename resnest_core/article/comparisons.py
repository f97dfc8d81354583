"""Runs of one network, and tests of one network against another."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from resnest_core.article import findings, phrases
from resnest_core.article.published import AUTHORS, quote
from resnest_core.article.results import Experiment, Metric, Store
from resnest_core.article.tables import Cell, measured, not_run
from resnest_core.errors import InputError
from resnest_core.statistics import Seeds, holm, mcnemar, paired_seeds, seeds_summary

Key = TypeVar("Key", bound=Hashable)
MCNEMAR, SEEDS = "exact McNemar test", "paired t test over seeds"


class Group:
    """The runs of one network under one setting, which differ in their seed alone."""

    def __init__(self, store: Store, runs: Sequence[Experiment]) -> None:
        self.store, self.runs = store, list(runs)
        self.done = [run for run in runs if store.ran(run)]

    @property
    def seeds(self) -> dict[int, Experiment]:
        """The runs by seed, of which each must be there once."""
        seeds = {int(self.store.parameters(run).get("seed", 0)): run for run in self.done}
        if len(seeds) < len(self.done):
            raise InputError(f"the runs {', '.join(run.key for run in self.done)} do not have a seed each")
        return seeds

    def metrics(self, name: str) -> list[Metric]:
        return [self.store.metric(run, name) for run in self.done]

    def known(self, name: str) -> bool:
        """Whether there are runs, and a score of that name is defined for each."""
        return bool(self.done) and all(self.store.peek(run, name) is not None for run in self.done)

    def values(self, name: str) -> list[float]:
        return [metric.value for metric in self.metrics(name)]

    def summary(self, name: str) -> Seeds:
        return seeds_summary(self.values(name))

    def bounds(self, name: str) -> tuple[float, float | None, float | None]:
        """Value and interval: of the one run, or the mean over seeds with the lowest and highest."""
        metrics = self.metrics(name)
        if len(metrics) == 1:
            return metrics[0].value, metrics[0].low, metrics[0].high
        values = self.values(name)
        return self.summary(name).mean, min(values), max(values)

    def measured(self, text: str) -> Cell:
        """A table's cell that links to the first of the runs."""
        return measured(text, (self.done or self.runs)[0].key)

    @property
    def missing(self) -> Cell:
        """The cell of a network that has not run."""
        return not_run(self.store.reason(self.runs[0]))

    def cell(self, name: str, show: Callable[[float], str] = phrases.number) -> Cell:
        """A table's cell: the value, or the mean ± deviation over seeds where that shows, or why there is none."""
        if not self.done:
            return self.missing
        summary = self.summary(name)
        return self.measured(show(summary.mean) + (f" ± {show(summary.deviation)}" if summary.deviation else ""))

    def interval_cell(self, name: str) -> Cell:
        """An accuracy with its interval, of a network that was run once; over seeds as `cell`."""
        if len(self.done) != 1:
            return self.cell(name)
        metric = self.metrics(name)[0]
        limits = phrases.interval(metric.low, metric.high)
        return self.measured(phrases.number(metric.value) + (f" ({limits})" if limits else ""))


def grouped(store: Store, runs: Iterable[Experiment], key: Callable[[Experiment], Key]) -> dict[Key, Group]:
    """The runs by `key`, in order of appearance."""
    found: dict[Key, list[Experiment]] = {}
    for run in runs:
        found.setdefault(key(run), []).append(run)
    return {value: Group(store, members) for value, members in found.items()}


def multiply_adds(groups: Iterable[Group]) -> tuple[str, Callable[[float], str]]:
    """The unit for a table's multiply-adds, M where G would print zeros, and how to print them in it."""
    counts = [value for group in groups for value in group.values("multiply_adds")]
    return ("M", phrases.millions) if counts and max(counts) < 1e9 else ("G", phrases.giga)


@dataclass(frozen=True)
class Comparison:
    """Accuracy of `first` less that of `second`; `p` is corrected within the table that `corrected` was given.

    `runs` are the keys of the two experiments, or the first two if there were more.
    """

    first: str
    second: str
    test: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    only_first: int | None = None
    only_second: int | None = None
    runs: tuple[str | None, str | None] = (None, None)

    @property
    def verdict(self) -> str:
        return phrases.verdict(self.difference, self.p)

    @property
    def p_value(self) -> str:
        return "no test" if self.p is None else phrases.p_value(self.p)

    def measured(self, text: str) -> Cell:
        """A table's cell that links to the first of the two runs."""
        return measured(text, self.runs[0])

    @property
    def names(self) -> list[Cell]:
        """Cells: which networks were compared."""
        return [measured(self.first, self.runs[0]), measured(self.second, self.runs[1])]

    @property
    def outcome(self) -> list[Cell]:
        """Cells: the difference with its interval, and p."""
        difference = phrases.with_interval(self.difference, self.low, self.high)
        return [self.measured(difference), self.measured(phrases.p_cell(self.p))]

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        difference = phrases.points(self.difference, self.low, self.high)
        return findings.comparison(self.first, self.second, difference, self.p_value, self.verdict)


def compare(first: tuple[str, Group], second: tuple[str, Group]) -> Comparison | None:
    """Test two networks: image by image if they share one seed, over the seeds if more; None if they share none."""
    (name_a, a), (name_b, b) = first, second
    seeds = [seed for seed in a.seeds if seed in b.seeds]
    if not seeds:
        return None
    if len(seeds) == 1:
        return _by_image(a.store, name_a, a.seeds[seeds[0]], name_b, b.seeds[seeds[0]])
    values = [[a.store.metric(group.seeds[seed], "top1").value for seed in seeds] for group in (a, b)]
    test = paired_seeds(*values)
    runs = (a.seeds[seeds[0]].key, b.seeds[seeds[0]].key)
    return Comparison(name_a, name_b, SEEDS, test.difference, test.low, test.high, test.p, runs=runs)


def corrected(comparisons: Iterable[Comparison | None]) -> list[Comparison | None]:
    """The comparisons of one table, with Holm's correction for their number."""
    listed = list(comparisons)
    tested = [comparison.p for comparison in listed if comparison is not None and comparison.p is not None]
    adjusted = iter(holm(tested))
    return [c if c is None or c.p is None else replace(c, p=next(adjusted)) for c in listed]


def replication(networks: Mapping[str, tuple[str, Group]]) -> str:
    """The authors' figures against our intervals, by label: the published name, and the run of that network."""
    cases = []
    for label, (name, group) in networks.items():
        figure = quote(name, "top1", AUTHORS)
        if figure and group.done:
            value, low, high = group.bounds("top1")
            inside = low is not None and high is not None and low <= figure.value <= high
            cases.append((label, value - figure.value, inside))
    return findings.replication(cases) if cases else ""


def _by_image(store: Store, name_a: str, a: Experiment, name_b: str, b: Experiment) -> Comparison:
    left, right = (store.records(run, ["target", "correct"]) for run in (a, b))
    if not left.index.equals(right.index) or not left.target.equals(right.target):
        raise InputError(f"'{a.key}' and '{b.key}' were not evaluated on the same images; they cannot be compared")
    test = mcnemar(left.correct.to_numpy(), right.correct.to_numpy())
    numbers = (test.difference, test.low, test.high, test.p, test.only_a, test.only_b)
    return Comparison(name_a, name_b, MCNEMAR, *numbers, runs=(a.key, b.key))
