"""The studies of object detection and of instance segmentation: trunks of both families, one stage and cascades."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from resnest_core.article import phrases
from resnest_core.article.comparisons import Comparison, Group, corrected, grouped
from resnest_core.article.illustrations import Illustration
from resnest_core.article.networks import detector_label
from resnest_core.article.published import DETECTRON, REPLICATION, quote
from resnest_core.article.results import Experiment, Store
from resnest_core.article.tables import ABSENT, Cell, Table, quoted
from resnest_core.article.transfer import PERMUTATION, PRETRAINED, PUBLISHED, RANDOM, TransferStudy
from resnest_core.errors import InputError
from resnest_core.evaluation.average_precision import DRAWS, paired_difference
from resnest_core.evaluation.examples import EXAMPLES, load_images
from resnest_core.evaluation.found import Found
from resnest_core.figures import detection as detection_figures

DATASETS = {"scenes": "scenes", "coco": "COCO", "coco_panoptic": "COCO", "coco_format": "own images"}
SOURCES = {DETECTRON: "authors", REPLICATION: "replication"}
SHOWN = 8  # images beside one another
MOST_COMPARED = 4  # networks in a figure


@dataclass(frozen=True)
class Network:
    """A network of these studies: its model, what its trunk began with, and the data set."""

    model: str
    start: str
    dataset: str

    @property
    def label(self) -> str:
        return detector_label(self.model) + (", random start" if self.start == RANDOM else "")


class Detectors(TransferStudy[Network]):
    """What the article says about the networks of one of the two studies."""

    study: str
    kinds: tuple[str, ...]  # of AP, that which the study is about first
    claims: tuple[tuple[str, str], ...]  # pairs of published networks that differ in their trunk

    def __init__(self, store: Store) -> None:
        self.store = store
        self.groups: dict[Network, Group] = grouped(store, store.study(self.study), self._network)

    def _network(self, run: Experiment) -> Network:
        parameters = self.store.parameters(run)
        start = PRETRAINED if parameters.get("backbone") else RANDOM
        start = PUBLISHED if parameters.get("weights") else start
        return Network(str(parameters["model"]), start, str(parameters.get("dataset", "scenes")))

    @property
    def kind(self) -> str:
        return self.kinds[0]

    @property
    def score(self) -> str:  # type: ignore[override]
        return f"{self.kind}_AP"

    @property
    def draws(self) -> int:
        """Of the bootstrap, and of the permutation test."""
        return DRAWS

    @property
    def best(self) -> tuple[Network, float, float]:
        """The network with the highest AP, that, and its AP50."""
        values = {network: self.groups[network].summary(f"{self.kind}_AP").mean for network in self.done}
        network = max(values, key=lambda n: values[n])
        return network, values[network], self.groups[network].summary(f"{self.kind}_AP50").mean

    @cached_property
    def tests(self) -> dict[str, list[tuple[str, Comparison]]]:
        """ResNeSt against its baseline, cascades against one stage, by kind of AP; Holm's correction for all."""
        ways: dict[str, Callable[[Network], Network]] = {
            "families": lambda n: replace(n, model=_baseline(n.model)),
            "cascades": lambda n: replace(n, model=_single_stage(n.model)),
        }
        pairs = [
            (way, kind, network, other(network))
            for way, other in ways.items()
            for kind in self.kinds
            for network in self.done
            if other(network) != network and other(network) in self.done
        ]
        tests = corrected(self.compare(first, second, f"{kind}_AP") for _, kind, first, second in pairs)
        named = [(way, kind, test) for (way, kind, *_), test in zip(pairs, tests, strict=True) if test]
        return {way: [(kind, test) for w, kind, test in named if w == way] for way in ways}

    def _compare(self, first: Network, second: Network, metric: str) -> Comparison | None:
        """AP of two networks on the same images, in the mean over their common seeds."""
        a, b = (self.groups[network].seeds for network in (first, second))
        common = [seed for seed in a if seed in b]
        if not common:
            return None
        kind = metric.removesuffix("_AP")
        left, right = ([self._found(group[seed]).matches(kind) for seed in common] for group in (a, b))
        try:
            found = paired_difference(left, right)
        except InputError as error:
            raise InputError(f"{first.model} and {second.model}: {error}") from None
        numbers = (found.value, found.low, found.high, found.p)
        runs = (a[common[0]].key, b[common[0]].key)
        return Comparison(first.label, second.label, PERMUTATION, *numbers, runs=runs)

    @property
    def conclusions(self) -> list[str]:
        """A sentence for every comparison by the study's own kind of AP."""
        return [test.sentence for tests in self.tests.values() for kind, test in tests if kind == self.kind]

    def summary(self, way: str) -> str:
        """How the comparisons of the "families" or the "cascades" came out."""
        verdicts = [test.verdict for kind, test in self.tests[way] if kind == self.kind]
        if len(verdicts) == 1:
            return f"{verdicts[0]} in the one comparison"
        return f"{phrases.tally(verdicts)} of {phrases.plural(len(verdicts), 'comparison')}" if verdicts else ""

    @property
    def claim(self) -> str:
        """The authors' tables: what each network gains when its trunk is replaced."""
        gains = [
            (name, quote(first, f"{self.kind}_AP", DETECTRON), quote(second, f"{self.kind}_AP", DETECTRON))
            for name, first, second in ((_plain(f), f, s) for f, s in self.claims)
        ]
        told = [
            f"from {old.text} to {new.text} % ({phrases.signed(new.value - old.value)} points) for {name}"
            for name, new, old in gains
            if new and old
        ]
        return phrases.listing(told)

    @property
    def answer(self) -> str:
        """What this build says of that claim by its own tests; empty if it has not the networks."""
        wanted = {tuple(detector_label(name) for name in pair) for pair in self.claims}
        tested = [t for kind, t in self.tests["families"] if kind == self.kind and (t.first, t.second) in wanted]
        return " ".join(test.sentence for test in tested)

    def tables(self) -> list[Table]:
        return [self.scores_table(), *([self.comparison_table()] if any(self.tests.values()) else [])]

    def figures(self) -> list[Illustration]:
        """What is found, and where scores come from."""
        if not self.done:
            return []
        return [self.pictures(), self.details()]

    def scores_table(self) -> Table:
        """Every network with its scores, and what was published of it."""
        scores = [
            f"{kind}_{name}"
            for kind in self.kinds
            for name in ("AP", "AP50", "AP75")[: 2 if len(self.kinds) > 1 else 3]
        ]
        scores += [name for name in ("PQ",) if any(self.store.peek(run, name) for run in self._runs)]
        sources = [s for s in SOURCES if any(quote(n.model, f"{self.kind}_AP", s) for n in self.groups)]
        header = ["Network", "Images", "Params (M)", *[name.replace("_", " ") for name in scores]]
        header += [SOURCES[source] for source in sources]
        rows = [self._row(network, group, scores, sources) for network, group in self.groups.items()]
        spread = "of AP with 95 % bootstrap intervals over images" if self.seeds < 2 else "mean ± deviation over seeds"
        data = phrases.listing(list(dict.fromkeys(DATASETS[network.dataset] for network in self.groups)))
        caption = f"Scores on {data} in percent, {spread}: AP is the mean over overlaps from 0.5 to 0.95, AP50 and "
        caption += "AP75 that at one" + (f"; to the right, published {self.kind} AP." if sources else ".")
        align = "l" + "r" * (len(header) - 1)
        return Table(self._slug, caption, header, align, rows, wide=True)

    def _row(self, network: Network, group: Group, scores: list[str], sources: list[str]) -> list[Cell]:
        published = [quoted(quote(network.model, f"{self.kind}_AP", source)) for source in sources]
        if not group.done:
            return [group.measured(network.label), *[group.missing] * (2 + len(scores)), *published]
        images = len(self._found(group.done[0]).images)
        return [
            group.measured(network.label),
            group.measured(phrases.count(images)),
            group.cell("parameters", phrases.millions),
            *[self._score(group, name) for name in scores],
            *published,
        ]

    def _score(self, group: Group, name: str) -> Cell:
        """AP with its interval, others without; a dash where the network has no such score."""
        if self.store.peek(group.done[0], name) is None:
            return ABSENT
        return group.interval_cell(name) if name.endswith("_AP") else group.cell(name)

    def comparison_table(self) -> Table:
        rows = [
            [*test.names, test.measured(kind), *test.outcome] for tests in self.tests.values() for kind, test in tests
        ]
        over = f", in the mean over {phrases.plural(self.seeds, 'seed')}," if self.seeds > 1 else ""
        caption = f"The first network against the second on the same images: difference of AP in points{over} with its "
        caption += f"95 % bootstrap interval over images, and $p$ of the {PERMUTATION} after Holm's correction "
        caption += f"({phrases.count(self.draws)} draws each)."
        header = ["First", "Second", "AP of", "Difference", "$p$"]
        return Table(f"{self._slug}-pairs", caption, header, "lllrr", rows, wide=True)

    @property
    def _runs(self) -> list[Experiment]:
        return [run for group in self.groups.values() for run in group.done]

    @property
    def _slug(self) -> str:
        return self.study.replace("_", "-")

    @cached_property
    def _tables(self) -> dict[str, Found]:
        return {run.key: Found.read(self.store.file(run, "detections.parquet").parent) for run in self._runs}

    def _found(self, run: Experiment) -> Found:
        return self._tables[run.key]

    def _first(self, network: Network) -> Found:
        return self._found(self.groups[network].done[0])

    @property
    def _compared(self) -> list[Network]:
        """The best network, and those that differ from it by trunk or cascade, or else any others of its data set."""
        best = self.best[0]
        related = [best.model, _baseline(best.model), _family(best.model)]
        related += [_single_stage(model) for model in related]
        alike = [network for network in self.done if network.dataset == best.dataset]
        order = {model: rank for rank, model in reversed(list(enumerate(related)))}
        return sorted(alike, key=lambda n: order.get(n.model, len(related)))[:MOST_COMPARED]

    def pictures(self) -> Illustration:
        """What two networks find in the same images."""
        shown = self._compared[:2]
        images = load_images(self.store.file(self.groups[shown[0]].done[0], EXAMPLES))[:SHOWN]
        first = self._first(shown[0])
        rows = {"truth": first.true_things(len(images))}
        rows |= {n.label: self._first(n).things(len(images)) for n in shown}
        what = f"Images of {DATASETS[shown[0].dataset]} with their objects, and what two networks find there with a "
        what += "score of 0.3 or more."
        alt = "Rows of pictures with coloured boxes: truth and detections"
        drawn = detection_figures.side_by_side(images, rows, list(first.names.values()))
        return Illustration(f"{self._slug}-pictures", what, alt, drawn, wide=True)

    def details(self) -> Illustration:
        """Where scores come from."""
        found = {network.label: self._first(network) for network in self._compared}
        classes = {label: f.class_scores(self.kind) for label, f in found.items()}
        best = next(iter(classes))
        classes[best] = sorted(classes[best], key=lambda score: -score[1])
        noun = {"box": "boxes", "mask": "masks"}[self.kind]
        what = f"Precision over recall of {noun} that overlap an object by one half, in the mean over classes; AP by "
        what += "the size of objects (small: fewer than 32² pixels, large: more than 96²); kinds of detections with a "
        what += "score of 0.3 or more, by their boxes, and objects missed; AP by class, those first that the best "
        what += "network knows best. Lines on bars are 95 % bootstrap intervals over images"
        drawn = detection_figures.details(
            {label: f.curve(self.kind) for label, f in found.items()},
            {label: f.sizes(self.kind) for label, f in found.items()},
            classes,
            {label: f.errors for label, f in found.items()},
        )
        what += ", of the first seed." if self.seeds > 1 else "."
        alt = "Four panels: curves of precision over recall, and bars by size, class and kind of error"
        return Illustration(f"{self._slug}-details", what, alt, drawn, wide=True)


class ObjectDetection(Detectors):
    """Faster and Cascade R-CNN."""

    study, kinds = "object_detection", ("box",)
    claims = (
        ("faster_rcnn_resnest50_fpn", "faster_rcnn_resnet50_fpn"),
        ("cascade_rcnn_resnest50_fpn", "cascade_rcnn_resnet50_fpn"),
    )


class InstanceSegmentation(Detectors):
    """Mask and Cascade Mask R-CNN, and the panoptic network."""

    study, kinds = "instance_segmentation", ("mask", "box")
    claims = (
        ("mask_rcnn_resnest50_fpn", "mask_rcnn_resnet50_fpn"),
        ("cascade_mask_rcnn_resnest50_fpn", "cascade_mask_rcnn_resnet50_fpn"),
    )


def _baseline(model: str) -> str:
    """The network with the trunk of the baseline: the published ones have ResNet, ours ResNet-D."""
    return model.replace("resnest", "resnetd" if model.startswith("mini_") else "resnet")


def _family(model: str) -> str:
    """The network with ResNeSt in place of the baseline."""
    return re.sub(r"resnetd?(?=\d)", "resnest", model)


def _single_stage(model: str) -> str:
    """The network without its cascade."""
    return model.replace("cascade_mask_rcnn", "mask_rcnn").replace("cascade_rcnn", "faster_rcnn")


def _plain(model: str) -> str:
    """A network's label without its trunk."""
    return detector_label(model).split(" on ")[0]
