"""The ablation: radix, cardinality and width, over seeds."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from scipy.stats import kendalltau

from resnest_core import plots
from resnest_core.article import findings, phrases
from resnest_core.article.comparisons import Comparison, Group, compare, corrected, grouped, multiply_adds, replication
from resnest_core.article.illustrations import Illustration
from resnest_core.article.networks import Setting, ablation_name, built_as
from resnest_core.article.published import AUTHORS, PAPER, TIMM, Quote, quote
from resnest_core.article.results import Experiment, Store
from resnest_core.article.tables import ABSENT, Cell, Table, not_run, quoted
from resnest_core.errors import InputError

STUDY = "ablation"
REFERENCE = Setting(2, 1, 64)
LEAST_RANKED = 4  # settings without which a rank correlation cannot reach the level of the tests


@dataclass(frozen=True)
class Order:
    """Kendall's rank correlation of our accuracies and the published ones over `n` settings, with its exact p."""

    n: int
    tau: float
    p: float


class Ablation:
    """What the article says about radix, cardinality and width."""

    def __init__(self, store: Store) -> None:
        self.store = store
        groups = grouped(store, store.study(STUDY), self._setting)
        self.groups: dict[Setting, Group] = {
            s: groups[s] for s in sorted(groups, key=lambda s: (s.cardinality, -s.width, s.radix))
        }

    def _setting(self, run: Experiment) -> Setting:
        model = self._model(run)
        if (found := built_as(model)) is None:
            raise InputError(f"experiment '{run.key}' is of '{model}', whose name tells no setting such as 2s1x64d")
        return found

    def _model(self, run: Experiment) -> str:
        return str(self.store.parameters(run)["model"])

    @property
    def done(self) -> list[Setting]:
        return [s for s, group in self.groups.items() if group.done]

    @property
    def seeds(self) -> int:
        """The most seeds that any setting ran with."""
        return max((len(group.done) for group in self.groups.values()), default=0)

    @property
    def reference(self) -> Setting | None:
        """The setting that the others are compared with: 2s1x64d, if it ran."""
        return REFERENCE if REFERENCE in self.done else None

    @cached_property
    def tests(self) -> dict[Setting, Comparison]:
        """Each setting against the reference, with Holm's correction."""
        if self.reference is None:
            return {}
        others = [s for s in self.groups if s != self.reference]
        pair = (self.reference.label, self.groups[self.reference])
        found = corrected(compare((s.label, self.groups[s]), pair) for s in others)
        return {s: test for s, test in zip(others, found, strict=True) if test is not None}

    def compare(self, first: Setting, second: Setting, metric: str) -> Comparison | None:
        """Top-1 accuracy of two settings, without correction for other comparisons."""
        return compare(*[(s.label, self.groups[s]) for s in (first, second)])

    @property
    def verdicts(self) -> list[str]:
        return [test.verdict for test in self.tests.values()]

    @property
    def test_names(self) -> str:
        return phrases.listing(list(dict.fromkeys(test.test for test in self.tests.values())))

    @property
    def conclusion(self) -> str:
        verdicts = {s.label: test.verdict for s, test in self.tests.items()}
        return findings.sentence(findings.conclusion(verdicts, REFERENCE.label))

    @property
    def summary(self) -> str:
        return findings.counted(self.verdicts, "setting", REFERENCE.label)

    @property
    def replication(self) -> str:
        """Whether the authors' figures are within our intervals; nothing for networks that were not published."""
        own = {s: group for s, group in self.groups.items() if self._model(group.runs[0]) == ablation_name(s)}
        return replication({s.label: (ablation_name(s), group) for s, group in own.items()})

    @property
    def extremes(self) -> tuple[tuple[str, float], tuple[str, float]]:
        """The settings with the highest and the lowest mean accuracy."""
        means = {s.label: self.groups[s].summary("top1").mean for s in self.done}
        high, low = max(means, key=lambda k: means[k]), min(means, key=lambda k: means[k])
        return (high, means[high]), (low, means[low])

    @property
    def spread(self) -> float | None:
        """The greatest deviation over seeds of any setting, in points; None without repeated seeds."""
        deviations = [self.groups[s].summary("top1").deviation for s in self.done]
        return max((deviation for deviation in deviations if deviation is not None), default=None)

    @cached_property
    def order(self) -> Order | None:
        """Whether the published accuracies of the same settings on ImageNet rank them as ours do."""
        pairs = [(self.groups[s].summary("top1").mean, figure.value) for s in self.done if (figure := _published(s))]
        if len(pairs) < LEAST_RANKED:
            return None
        found = kendalltau(*zip(*pairs, strict=True))
        if math.isnan(found.statistic):  # one of the two lists is constant
            return None
        return Order(len(pairs), float(found.statistic), float(found.pvalue))

    @property
    def order_sentence(self) -> str:
        return "" if self.order is None else findings.order(self.order.tau, self.order.p, self.order.n)

    def tables(self) -> list[Table]:
        return [self.table()]

    def figures(self) -> list[Illustration]:
        return [self.seeds_figure()] if self.done else []

    def table(self) -> Table:
        """All settings, beside the published accuracies of the full-size networks."""
        sources = {
            source: name
            for source, name in ((PAPER, "paper"), (AUTHORS, "authors"), (TIMM, "timm"))
            if any(quote(ablation_name(s), "top1", source) for s in self.groups)
        }
        unit, scale = multiply_adds(self.groups.values())
        header = ["Setting", "Runs", "Params (M)", f"MAdds ({unit})", "Top-1 (%)"]
        header += [f"Less {REFERENCE.label}", "$p$", *sources.values()]
        return Table(
            "ablation",
            "Radix, cardinality and width (*R*s*K*x*W*d; radix 0 is ResNet-D's plain convolution): top-1 accuracy"
            f"{', mean ± deviation over seeds' if self.seeds > 1 else ''}; its difference from {REFERENCE.label} in "
            f"points with a 95 % interval; $p$ after Holm's correction ({self.test_names or 'no test was possible'}); "
            "and, to the right, published top-1 accuracies (%) on ImageNet of the 50-layer network with that setting.",
            header,
            "l" + "r" * (len(header) - 1),
            [self._row(s, scale, list(sources)) for s in self.groups],
            wide=True,
        )

    def _row(self, s: Setting, scale: Callable[[float], str], sources: list[str]) -> list[Cell]:
        group = self.groups[s]
        return [
            group.measured(s.label),
            group.measured(str(len(group.done))),
            group.cell("parameters", phrases.millions),
            group.cell("multiply_adds", scale),
            group.cell("top1"),
            *self._tested(s, group),
            *[quoted(quote(ablation_name(s), "top1", source)) for source in sources],
        ]

    def _tested(self, s: Setting, group: Group) -> list[Cell]:
        if not group.done:
            return [group.missing] * 2
        if s == self.reference:
            return [group.measured("reference"), ABSENT]
        if s not in self.tests:
            return [not_run(f"{REFERENCE.label} has no run to compare with")] * 2
        return self.tests[s].outcome

    def seeds_figure(self) -> Illustration:
        rows = [(s.label, self.groups[s].values("top1")) for s in self.done]
        mean = self.groups[self.reference].summary("top1").mean if self.reference else None
        caption = "Top-1 accuracy of every run of the ablation (circles)"
        caption += ", and the mean of each setting (bars)" if self.seeds > 1 else ""
        caption += f"; the dotted line is {REFERENCE.label}." if self.reference else "."
        figure = plots.seed_spread(rows, reference=mean, xlabel="top-1 accuracy (%)")
        return Illustration("seeds", caption, "Accuracy of each run by setting", figure)


def _published(s: Setting) -> Quote | None:
    """The authors' figure for PyTorch, or the paper's for what they do not list."""
    return quote(ablation_name(s), "top1", AUTHORS) or quote(ablation_name(s), "top1", PAPER)
