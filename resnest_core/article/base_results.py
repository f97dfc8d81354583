"""The study of base results: every depth of ResNeSt, against ResNet-D of the same depth."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from resnest_core import plots
from resnest_core.article import findings, phrases
from resnest_core.article.comparisons import Comparison, Group, compare, corrected, grouped, multiply_adds, replication
from resnest_core.article.illustrations import Illustration
from resnest_core.article.networks import FAMILIES, Depth, depth, published_name
from resnest_core.article.published import AUTHORS, PAPER, REPLICATION, TIMM, quote
from resnest_core.article.results import Experiment, Store
from resnest_core.article.tables import ABSENT, Cell, Table, quoted
from resnest_core.errors import InputError

STUDY = "base_results"
PUBLISHED = {PAPER: "paper", AUTHORS: "authors", REPLICATION: "replication", TIMM: "timm"}
OTHER_IMAGES = ("imagenet_v2",)  # what the section on robustness speaks of
TIMMS_RULE = "resize_then_crop"  # the only published figures for that preprocessing are timm's


class BaseResults:
    """What the article says about the networks of this study."""

    def __init__(self, store: Store) -> None:
        self.store = store
        runs = [run for run in store.study(STUDY) if store.parameters(run).get("dataset") not in OTHER_IMAGES]
        groups = grouped(store, runs, self._network)
        families = list(FAMILIES)
        order = sorted(groups, key=lambda n: (families.index(n.family), n.layers, n.preprocessing))
        self.groups: dict[Depth, Group] = {network: groups[network] for network in order}

    def _network(self, run: Experiment) -> Depth:
        parameters = self.store.parameters(run)
        if (network := depth(str(parameters["model"]))) is None:
            raise InputError(f"experiment '{run.key}' is of '{parameters['model']}', not of a resnestN or resnetdN")
        return replace(network, preprocessing=str(parameters.get("preprocessing", "")))

    @property
    def done(self) -> list[Depth]:
        return [network for network, group in self.groups.items() if group.done]

    @property
    def layers(self) -> list[int]:
        return sorted({network.layers for network in self.groups})

    @property
    def small(self) -> bool:
        """Whether any of the networks is of the small family."""
        return any(network.small for network in self.groups)

    @property
    def single(self) -> bool:
        """Whether each network ran once, so that images, not seeds, carry the uncertainty."""
        return all(len(group.done) < 2 for group in self.groups.values())

    @property
    def trained(self) -> list[Depth]:
        """Networks that were trained here, and so have curves."""
        return [n for n in self.done if self.store.peek(self.groups[n].done[0], "training_seconds") is not None]

    @property
    def sizes(self) -> str:
        """The range of the numbers of parameters, in millions."""
        counts = [value for group in self.groups.values() for value in group.values("parameters")]
        return " to ".join(dict.fromkeys([phrases.millions(min(counts)), phrases.millions(max(counts))]))

    @property
    def best(self) -> tuple[str, float]:
        """The network with the highest top-1 accuracy, and that."""
        values = {network.label: self.groups[network].summary("top1").mean for network in self.done}
        name = max(values, key=lambda label: values[label])
        return name, values[name]

    @cached_property
    def _tests(self) -> dict[tuple[Depth, Depth], Comparison]:
        """ResNeSt against ResNet-D, and another preprocessing against the network's own, with Holm's correction."""
        pairs = []
        for network in self.groups:
            other = replace(network, preprocessing="") if network.preprocessing else replace(network, family="resnetd")
            if other in self.groups and other != network:
                pairs.append((network, other))
        tests = corrected(compare(*[(n.label, self.groups[n]) for n in pair]) for pair in pairs)
        return {pair: test for pair, test in zip(pairs, tests, strict=True) if test is not None}

    def compare(self, first: Depth, second: Depth, metric: str) -> Comparison | None:
        """Top-1 accuracy of two networks, without correction for other comparisons."""
        return compare(*[(n.label, self.groups[n]) for n in (first, second)])

    @property
    def families(self) -> list[tuple[int, Comparison]]:
        """The tests of ResNeSt against ResNet-D, with their number of layers."""
        return [(first.layers, test) for (first, _), test in self._tests.items() if not first.preprocessing]

    @property
    def rules(self) -> list[Comparison]:
        """The tests of another preprocessing against the network's own."""
        return [test for (first, _), test in self._tests.items() if first.preprocessing]

    @property
    def verdicts(self) -> list[str]:
        return [test.verdict for _, test in self.families]

    @property
    def conclusion(self) -> str:
        return findings.depths([(layers, test.verdict) for layers, test in self.families])

    @property
    def replication(self) -> str:
        """Whether the authors' figures are within our intervals; nothing for networks that were not published."""
        own = {n: group for n, group in self.groups.items() if not n.small and not n.preprocessing}
        return replication({n.label: (f"{n.family}{n.layers}", group) for n, group in own.items()})

    @property
    def widest(self) -> float | None:
        """The width in points of the widest interval of a difference between the families, if any has one."""
        widths = [t.high - t.low for _, t in self.families if t.high is not None and t.low is not None]
        return max(widths, default=None)

    def tables(self) -> list[Table]:
        return [self.accuracy_table(), *([self.comparison_table()] if self._tests else [])]

    def figures(self) -> list[Illustration]:
        """Accuracy by depth, and the curves of what was trained here."""
        return ([self.depth_figure()] if self.done else []) + ([self.curves_figure()] if self.trained else [])

    def accuracy_table(self) -> Table:
        """Sizes and accuracies of all networks, with what was published of them."""
        names = [published_name(f"{network.family}{network.layers}") for network in self.groups if not network.small]
        sources = [source for source in PUBLISHED if any(quote(name, "top1", source) for name in names)]
        unit, scale = multiply_adds(self.groups.values())
        header = ["Network", "Params (M)", f"MAdds ({unit})", "Top-1 (%)", "Top-5 (%)"]
        header += [PUBLISHED[source] for source in sources] + (["Training"] if self.trained else [])
        caption = "Size (parameters, multiply-adds) and accuracy of each network, "
        caption += "with 95 % Wilson intervals" if self.single else "mean ± deviation over seeds"
        caption += "; training: the time that it took" if self.trained else ""
        caption += "; to the right, published top-1 accuracies (%)." if sources else "."
        rows = [self._row(network, scale, sources) for network in self.groups]
        return Table("base", caption, header, "l" + "r" * (len(header) - 1), rows, wide=True)

    def _row(self, network: Depth, scale: Callable[[float], str], sources: list[str]) -> list[Cell]:
        group = self.groups[network]
        row = [
            group.measured(network.label),
            group.cell("parameters", phrases.millions),
            group.cell("multiply_adds", scale),
            group.interval_cell("top1"),
            group.interval_cell("top5"),
            *[_published(network, source) for source in sources],
        ]
        return [*row, group.cell("training_seconds", phrases.duration)] if self.trained else row

    def comparison_table(self) -> Table:
        """Every comparison of this study."""
        rows = [
            [
                *test.names,
                ABSENT if test.only_first is None else test.measured(phrases.count(test.only_first)),
                ABSENT if test.only_second is None else test.measured(phrases.count(test.only_second)),
                *test.outcome,
            ]
            for test in self._tests.values()
        ]
        name = next(iter(self._tests.values())).test
        return Table(
            "base-pairs",
            "The first network against the second: images that only one of the two gets right, difference of top-1 "
            f"accuracy in points with its 95 % interval, and $p$ of the {name} after Holm's correction.",
            ["First", "Second", "Only first", "Only second", "Difference", "$p$"],
            "llrrrr",
            rows,
            wide=True,
        )

    def depth_figure(self) -> Illustration:
        series = {
            name: [
                (str(n.layers), *self.groups[n].bounds("top1"))
                for n in self.done
                if n.family == family and not n.preprocessing
            ]
            for family, name in FAMILIES.items()
        }
        present = {name: points for name, points in series.items() if points}
        return Illustration(
            "depth",
            f"Top-1 accuracy by depth, with {'95 % Wilson intervals' if self.single else 'the range over seeds'}.",
            "Accuracy against depth for each family",
            plots.intervals(present, xlabel="layers", ylabel="top-1 accuracy (%)"),
        )

    def curves_figure(self) -> Illustration:
        """The first run of each network: colour for depth, dashes for family."""
        families = list(FAMILIES)
        histories = {n.label: self.store.curves(self.groups[n].done[0]) for n in self.trained}
        styles = {n.label: (self.layers.index(n.layers), families.index(n.family)) for n in self.trained}
        return Illustration(
            "curves",
            "Training: accuracy on test images, by which nothing is chosen, and training loss, label smoothing "
            "included. Colours and markers tell the depths apart; solid lines are ResNeSt, dashed ResNet-D.",
            "Accuracy and loss by epoch for each network",
            plots.training(histories, styles),
            wide=True,
        )


def _published(network: Depth, source: str) -> Cell:
    if network.small or (network.preprocessing == TIMMS_RULE and source != TIMM):
        return ABSENT
    return quoted(quote(published_name(f"{network.family}{network.layers}"), "top1", source))
