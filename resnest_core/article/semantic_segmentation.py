"""The study of semantic segmentation: trunks of both families, ways to begin, and protocols."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnest_core import plots
from resnest_core.article import findings, phrases
from resnest_core.article.comparisons import Comparison, Group, corrected, grouped
from resnest_core.article.illustrations import Illustration
from resnest_core.article.networks import segmenter_label
from resnest_core.article.published import ENCODING, PAPER, REPLICATION, quote
from resnest_core.article.results import Experiment, Store
from resnest_core.article.tables import Cell, Table, measured, not_run, quoted
from resnest_core.article.transfer import PERMUTATION, PRETRAINED, PUBLISHED, RANDOM, TransferStudy
from resnest_core.errors import InputError
from resnest_core.evaluation.examples import EXAMPLES, Example, load_examples
from resnest_core.evaluation.iou import by_image, class_scores, mean_iou_all
from resnest_core.figures import segmentation as segmentation_figures
from resnest_core.statistics import bootstrap, permutation

STUDY = "semantic_segmentation"
DATASETS = {"scenes": "scenes", "ade20k": "ADE20K", "pcontext": "PASCAL Context", "cityscapes": "Cityscapes"}
VIEWS = {"single_scale": "single scale", "multi_scale": "multi-scale"}
SOURCES = {ENCODING: "authors", REPLICATION: "replication"}
SHOWN = 2  # examples, one above the other
NO_WEIGHTS = "no weights for Cityscapes were ever released by the authors; loader and evaluator are there"


@dataclass(frozen=True)
class Network:
    """A network of this study: its model, what its trunk began with, the protocol and the data set."""

    model: str
    start: str
    view: str
    dataset: str

    @property
    def label(self) -> str:
        """The network, with how it began where that is a question."""
        return segmenter_label(self.model) + ("" if self.start == PUBLISHED else f", {self.start}")


class SemanticSegmentation(TransferStudy[Network]):
    """What the article says about the networks of this study."""

    score = "mIoU"

    def __init__(self, store: Store) -> None:
        self.store = store
        self.groups: dict[Network, Group] = grouped(store, store.study(STUDY), self._network)

    def _network(self, run: Experiment) -> Network:
        parameters = self.store.parameters(run)
        view, dataset = (str(parameters.get(name, default)) for name, default in _DEFAULTS.items())
        return Network(str(parameters["model"]), self._start(run), view, dataset)

    def _start(self, run: Experiment) -> str:
        """How the training of a run's weights began, whether that was in this run or in one before."""
        parameters = self.store.parameters(run)
        weights = str(parameters.get("weights") or "")
        if weights == "published":
            return PUBLISHED
        if weights:
            return self._start(self.store.experiments["/".join(Path(weights).parts[-3:-1])])
        return PRETRAINED if parameters.get("backbone") else RANDOM

    @property
    def best(self) -> tuple[Network, float]:
        """The network with the highest mIoU, and that; of those that saw the most images."""
        images = {network: self.groups[network].metrics("mIoU")[0].n or 0 for network in self.done}
        most = [network for network in self.done if images[network] == max(images.values())]
        values = {network: self.groups[network].summary("mIoU").mean for network in most}
        network = max(values, key=lambda n: values[n])
        return network, values[network]

    @cached_property
    def tests(self) -> dict[str, list[Comparison]]:
        """ResNeSt against ResNet-D, pretrained against random, many scales against one; Holm's correction for all."""
        kinds: dict[str, Callable[[Network], Network]] = {
            "families": lambda n: replace(n, model=n.model.replace("resnest", "resnetd")),
            "starts": lambda n: replace(n, start=RANDOM) if n.start == PRETRAINED else n,
            "views": lambda n: replace(n, view="single_scale"),
        }
        pairs = [
            (kind, network, other(network))
            for kind, other in kinds.items()
            for network in self.done
            if other(network) != network and other(network) in self.done
        ]
        tests = corrected(self.compare(first, second, "mIoU") for _, first, second in pairs)
        return {kind: [t for (k, *_), t in zip(pairs, tests, strict=True) if k == kind and t] for kind in kinds}

    def _compare(self, first: Network, second: Network, metric: str) -> Comparison | None:
        """mIoU of two networks on the images that both saw, in the mean over their common seeds."""
        a, b = (self.groups[network].seeds for network in (first, second))
        pairs = [(a[seed], b[seed]) for seed in a if seed in b]
        counts = [_paired(self.store, *pair) for pair in pairs]
        if not counts:
            return None
        n = len(counts[0]) // 2

        def difference(chosen_a: NDArray[np.int64], chosen_b: NDArray[np.int64]) -> NDArray[np.float64]:
            scores = [_mean_iou(pair, chosen_a) - _mean_iou(pair, chosen_b) for pair in counts]
            return np.asarray(np.mean(scores, axis=0))

        interval = bootstrap(lambda chosen: difference(chosen, chosen + n), n)
        p = permutation(difference, n)
        names = [self._name(network, first, second) for network in (first, second)]
        numbers = (interval.value, interval.low, interval.high, p)
        runs = (pairs[0][0].key, pairs[0][1].key)
        return Comparison(names[0], names[1], PERMUTATION, *numbers, runs=runs)

    def _name(self, network: Network, first: Network, second: Network) -> str:
        """The label of a network in a comparison, with the protocol where that is what differs or is not the usual."""
        view = network.view if first.view != second.view or network.view != "single_scale" else ""
        return network.label + (f", {VIEWS[view]}" if view else "")

    @property
    def conclusions(self) -> list[str]:
        """A sentence for every comparison."""
        return [test.sentence for tests in self.tests.values() for test in tests]

    @property
    def summary(self) -> str:
        """How the comparisons of the families came out, for the abstract."""
        verdicts = [test.verdict for test in self.tests["families"]]
        return f"{phrases.tally(verdicts)} of {phrases.plural(len(verdicts), 'comparison')}" if verdicts else ""

    @property
    def transfer(self) -> str:
        """Whether beginning with a classifier's weights helped."""
        return findings.sentence(findings.starts([(t.first, t.verdict) for t in self.tests["starts"]]))

    @property
    def claim(self) -> str:
        """The paper's claim for this task, and what this build can say of it."""
        network = Network("deeplab_resnest50_ade", PUBLISHED, "multi_scale", "ade20k")
        group = self.groups.get(network)
        baseline = quote("deeplab_resnet50_ade", "mIoU", PAPER)
        if group is None or not group.known("mIoU") or baseline is None:
            return ""
        value, low, high = group.bounds("mIoU")
        return findings.transfer_claim(value, low, high, baseline.value)

    def tables(self) -> list[Table]:
        return [self.scores_table(), *([self.comparison_table()] if any(self.tests.values()) else [])]

    def figures(self) -> list[Illustration]:
        """What the networks make of images, and the classes."""
        return [self.pictures(), self.class_figure()] if self.done else []

    def scores_table(self) -> Table:
        """Every network with its protocol and scores, and what was published of it."""
        sources = [s for s in SOURCES if any(quote(n.model, "mIoU", s) for n in self.groups)]
        header = ["Network", "Data", "Protocol", "Images", "Params (M)", "pixAcc (%)", "mIoU (%)", "present (%)"]
        header += [SOURCES[source] for source in sources]
        rows = [self._row(network, group, sources) for network, group in self.groups.items()]
        if not self.small:
            absent = not_run(NO_WEIGHTS)
            rows.append([measured("ResNeSt-50"), measured("Cityscapes"), *[absent] * (len(header) - 2)])
        spread = "with 95 % bootstrap intervals over images" if self.seeds < 2 else "mean ± deviation over seeds"
        caption = (
            f"Segmentation scores, {spread}: pixel accuracy; mIoU in the authors' way, over all classes; and over "
        )
        caption += "the classes that are present" + ("; to the right, published mIoU." if sources else ".")
        return Table("segmentation", caption, header, "lll" + "r" * (len(header) - 3), rows, wide=True)

    def _row(self, network: Network, group: Group, sources: Sequence[str]) -> list[Cell]:
        names = [network.label, DATASETS[network.dataset], VIEWS[network.view]]
        undefined = group.measured(phrases.UNDEFINED)
        scores = [group.interval_cell(metric) for metric in ("pixAcc", "mIoU", "mIoU_present") if group.known(metric)]
        if not scores:
            scores = [undefined if group.done else group.missing] * 3
        return [
            *map(group.measured, names),
            group.measured(phrases.count(group.metrics("mIoU")[0].n or 0)) if group.known("mIoU") else scores[0],
            group.cell("parameters", phrases.millions),
            *scores,
            *[quoted(quote(network.model, "mIoU", s) if network.view == "multi_scale" else None) for s in sources],
        ]

    def comparison_table(self) -> Table:
        tests = [test for tests in self.tests.values() for test in tests]
        rows = [[*test.names, *test.outcome] for test in tests]
        over = f", in the mean over {phrases.plural(self.seeds, 'seed')} where there are so many,"
        over = over if self.seeds > 1 else ""
        caption = "The first network against the second on the same images: difference of mIoU in points"
        caption += f"{over} with its 95 % bootstrap interval over images, and $p$ of the {PERMUTATION} after Holm's "
        caption += "correction."
        return Table("segmentation-pairs", caption, ["First", "Second", "Difference", "$p$"], "llrr", rows, wide=True)

    @property
    def _shown(self) -> list[Network]:
        """The best network, and another that ran under the same conditions if there is one."""
        best = self.best[0]
        alike = [n for n in self.done if (n.start, n.view, n.dataset) == (best.start, best.view, best.dataset)]
        return [best, *(network for network in alike if network != best)][:2]

    def pictures(self) -> Illustration:
        """What two networks make of the same images."""
        shown = self._shown
        what = f"Images of {DATASETS[shown[0].dataset]} with their true and predicted classes ({VIEWS[shown[0].view]}"
        what += f"; {shown[0].start}" if self.small else ""
        what += "). Of the errors, wrong pixels are coloured; pixels that do not count are grey."
        rows = {segmenter_label(n.model): self._examples(n)[:SHOWN] for n in shown}
        alt = "Rows of pictures: image, truth, predictions and errors"
        drawn = segmentation_figures.side_by_side(rows, self._classes(shown[0]))
        return Illustration("segmentations", what, alt, drawn, wide=True)

    def class_figure(self) -> Illustration:
        """The classes, those first that the best network knows best."""
        shown = self._shown
        series = {segmenter_label(n.model): self._class_scores(n) for n in shown}
        first = next(iter(series))
        series[first] = sorted(series[first], key=lambda score: -score[1])
        what = f"Intersection over union of the classes of {DATASETS[shown[0].dataset]}, with 95 % bootstrap intervals"
        what += " over images" + (", of the first seed." if self.seeds > 1 else ".")
        drawn = plots.bars(series, "intersection over union (%)")
        return Illustration("segmentation-classes", what, "Bars of scores by class and network", drawn)

    def _class_scores(self, network: Network) -> list[tuple[str, float, float | None, float | None]]:
        metrics = self.store.result(self.groups[network].done[0]).metrics
        return class_scores({name: metric.model_dump() for name, metric in metrics.items()})

    def _classes(self, network: Network) -> list[str]:
        return [str(name) for name in self.store.parameters(self.groups[network].done[0])["classes"]]

    def _examples(self, network: Network) -> list[Example]:
        return load_examples(self.store.file(self.groups[network].done[0], EXAMPLES))


_DEFAULTS = {"view": "single_scale", "dataset": "scenes"}
Pair = NDArray[np.int64]  # of two networks: intersections and unions (2 n, 2, classes), the second's after the first's


def _paired(store: Store, a: Experiment, b: Experiment) -> Pair:
    """The counts of two runs on the images that both have, which must be the same ones."""
    frames = [store.records(run, ["image", "intersections", "unions", "pixels"]) for run in (a, b)]
    common = frames[0].index.intersection(frames[1].index)
    left, right = (frame.loc[common] for frame in frames)
    counts = [by_image(frame) for frame in (left, right)]
    if not left.image.equals(right.image) or not np.array_equal(counts[0]["pixels"], counts[1]["pixels"]):
        raise InputError(f"'{a.key}' and '{b.key}' were not evaluated on the same images; they cannot be compared")
    stacked = [np.stack([c["intersections"], c["unions"]], axis=1) for c in counts]
    return np.concatenate(stacked)


def _mean_iou(pair: Pair, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """mIoU (...) of the rows `chosen` (..., n)."""
    sums = pair[chosen].sum(axis=-3)  # (..., 2, classes)
    return mean_iou_all(sums[..., 0, :], sums[..., 1, :])
