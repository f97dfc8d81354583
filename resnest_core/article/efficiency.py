"""The study of efficiency: what the full-size networks cost, counted and measured, beside the published figures."""

from dataclasses import dataclass
from functools import cached_property, partial
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnest_core.article import findings, machines, phrases, tables
from resnest_core.article.illustrations import Illustration
from resnest_core.article.machines import Machine
from resnest_core.article.networks import depth, published_name, setting
from resnest_core.article.phrases import plural, words
from resnest_core.article.published import AUTHORS, PAPER, Quote, quote
from resnest_core.article.results import Experiment, Metric, Store
from resnest_core.article.tables import Cell, Table, quoted
from resnest_core.errors import InputError
from resnest_core.figures.cost import TradeOff, cost

STUDY = "efficiency"
REFERENCE, BASELINE = "resnest50", "resnetd50"


@dataclass(frozen=True)
class Drift:
    """A count that is not the published one when rounded as that is."""

    network: str
    counted: float
    published: Quote


@dataclass(frozen=True)
class Ratio:
    """Multiply-adds and speed of one network as multiples of another's."""

    operations: float
    speed: float


class Efficiency:
    """What the article says about cost. Each experiment of the study measured some networks; none is in two."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.runs = store.study(STUDY)
        self.done = [run for run in self.runs if store.ran(run)]
        self.sources: dict[str, Experiment] = {
            name.partition(".")[0]: run for run in self.done for name in store.result(run).metrics if "." in name
        }

    @property
    def networks(self) -> list[str]:
        return list(self.sources)

    def metric(self, network: str, name: str) -> Metric:
        return self.store.metric(self.sources[network], f"{network}.{name}")

    def value(self, network: str, name: str) -> float:
        return self.metric(network, name).value

    @property
    def reference(self) -> str:
        """The network that speeds are relative to: resnest50, or the first that was measured."""
        return REFERENCE if REFERENCE in self.sources else self.networks[0]

    def relative(self, network: str, name: str, reference: str | None = None) -> float:
        """A cost as a multiple of that of the reference; of one run both, so that the machine cancels out."""
        return self.value(network, name) / self.value(reference or self.reference, name)

    def ratios(self, first: str, second: str) -> NDArray[np.float64]:
        """Speed of one network as a multiple of another's in batches, round by round of one measurement."""
        if self.sources[first] != self.sources[second]:
            raise InputError(f"'{first}' and '{second}' were not measured in the same rounds; measure them together")
        passes = pd.read_parquet(self.store.file(self.sources[first], "records.parquet"))
        largest = passes[passes["batch_size"] == passes["batch_size"].max()]
        seconds = largest.pivot(index="round", columns="network", values="seconds")
        return (seconds[second] / seconds[first]).to_numpy(np.float64)

    @property
    def settings(self) -> dict[str, object]:
        """How speed was measured: parameters of the first experiment."""
        return self.store.parameters(self.done[0])

    @cached_property
    def drifts(self) -> list[Drift]:
        """Networks whose number of parameters is not what the authors print."""
        found = []
        for network in self.networks:
            figure = quote(network, "parameters", AUTHORS)
            counted = self.value(network, "parameters")
            if figure and f"{counted / 1e6:.1f}" != figure.text:
                found.append(Drift(network, counted, figure))
        return found

    @cached_property
    def agreeing(self) -> int:
        """How many numbers of parameters are the published ones when rounded."""
        return sum(quote(network, "parameters", AUTHORS) is not None for network in self.networks) - len(self.drifts)

    @cached_property
    def extra_operations(self) -> list[float]:
        """How far the authors' counts of multiply-adds lie above ours, in G."""
        pairs = [(quote(n, "flops", AUTHORS), self.value(n, "multiply_adds_224")) for n in self.networks]
        return [figure.value - counted / 1e9 for figure, counted in pairs if figure]

    def extreme(self, name: str, *, highest: bool) -> str:
        """The network with the highest or lowest value of a metric."""
        return (max if highest else min)(self.networks, key=lambda network: self.value(network, name))

    @property
    def baseline(self) -> Ratio | None:
        """ResNeSt with 50 layers against ResNet-D with as many; None if either was not measured."""
        if not {REFERENCE, BASELINE} <= self.sources.keys():
            return None
        return Ratio(
            self.relative(REFERENCE, "multiply_adds_224", BASELINE),
            self.relative(REFERENCE, "images_per_second", BASELINE),
        )

    @property
    def price(self) -> str:
        return findings.price(self.baseline.operations, 1 / self.baseline.speed) if self.baseline else ""

    @property
    def counts_sentence(self) -> str:
        """Our counts against the authors'."""
        text = [
            f"Of {plural(self.agreeing + len(self.drifts), 'number')} of parameters that the authors print, "
            f"{words(self.agreeing)} are ours when rounded."
        ]
        text += [
            f"For `{drift.network}` they print {drift.published.text} M, where {phrases.count(drift.counted)} are "
            f"counted, {phrases.millions(drift.counted)} M."
            for drift in self.drifts
        ]
        if self.extra_operations:
            text.append(
                f"Their multiply-adds at 224 pixels {findings.excess(self.extra_operations)}, which leave out "
                "normalisation, activations and pooling."
            )
        return " ".join(text)

    @property
    def speed_sentence(self) -> str:
        """The fastest and the slowest network, relative to the reference."""
        ends = [self.extreme("images_per_second", highest=highest) for highest in (True, False)]
        fast, slow = (f"`{n}` at {phrases.number(self.relative(n, 'images_per_second'))} times" for n in ends)
        return f"The fastest network is {fast} the speed of `{self.reference}`, the slowest {slow}. {self.price}"

    @property
    def published_speed_sentence(self) -> str:
        """Relative speeds of the ablation's settings, the paper's and ours."""
        if not self.shared_settings:
            return ""
        cases = [
            f"{_short(network)} runs at {phrases.number(ours)} (paper: {phrases.number(theirs)})"
            for network, ours, theirs in self.shared_settings
        ]
        by_ours, by_theirs = (sorted(self.shared_settings, key=itemgetter(column)) for column in (1, 2))
        order = "the same" if by_ours == by_theirs else "not the same"
        return f"Relative to 2s1x64d, {phrases.listing(cases)} times the speed; the order is {order} as on their GPU."

    @property
    def provenance(self) -> dict[str, Any]:
        return self.store.provenance(self.done[0])

    @property
    def shared_settings(self) -> list[tuple[str, float, float]]:
        """Settings whose speed the paper prints too: (network, our speed, its speed), both relative to 2s1x64d."""
        base = "resnest50_fast_2s1x64d"
        printed = quote(base, "throughput", PAPER)
        if base not in self.networks or printed is None:
            return []
        return [
            (network, self.relative(network, "images_per_second", base), figure.value / printed.value)
            for network in self.networks
            if network != base
            and (figure := quote(published_name(network), "throughput", PAPER))
            and self.value(network, "crop_size") == self.value(base, "crop_size")
        ]

    @cached_property
    def machines(self) -> list[Machine]:
        return machines.measured()

    @property
    def machines_sentence(self) -> str:
        return machines.sentence(self.machines)

    def tables(self) -> list[Table]:
        return [self.table()] if self.done else []

    def figures(self) -> list[Illustration]:
        return [self.figure()] if self.done else []

    def table(self) -> Table:
        header = ["Network", "Crop", "Params", "authors", "MAdds", "at 224", "authors"]
        header += ["Speed", "relative", "Latency", "Memory", "V100", "Top-1"]
        batch, crop = self.settings["batch_size"], self.settings["crop_size"]
        return Table(
            "efficiency",
            "Cost of the full-size networks with random weights. Counted: parameters (M) and multiply-adds (G), at "
            f"each network's own crop and at 224. Measured at {crop} pixels: speed (images a second) in batches of "
            f"{batch}, the same relative to {self.reference}, latency (ms) of one image. Memory (MiB): weights and, at "
            "the peak of a batch's pass, maps. Published: parameters, multiply-adds, speed on a V100, top-1 on "
            "ImageNet (%).",
            header,
            "l" + "r" * (len(header) - 1),
            [self._row(network) for network in self.networks],
            wide=True,
        )

    def _row(self, network: str) -> list[Cell]:
        measured = partial(tables.measured, experiment=self.sources[network].key)
        return [
            measured(network.replace("resnest50_fast_", "fast ")),
            measured(phrases.count(self.value(network, "crop_size"))),
            measured(phrases.millions(self.value(network, "parameters"))),
            quoted(quote(network, "parameters", AUTHORS)),
            measured(phrases.giga(self.value(network, "multiply_adds"))),
            measured(phrases.giga(self.value(network, "multiply_adds_224"))),
            quoted(quote(network, "flops", AUTHORS)),
            measured(phrases.significant(self.value(network, "images_per_second"))),
            measured(phrases.number(self.relative(network, "images_per_second"))),
            measured(phrases.significant(1000 * self.value(network, "latency"))),
            measured(phrases.count(self.value(network, "memory") / 2**20)),
            quoted(quote(published_name(network), "throughput", PAPER)),
            quoted(accuracy(network)),
        ]

    def figure(self) -> Illustration:
        """Published accuracy against counted cost, and measured cost against what machines can do."""
        networks = [
            TradeOff(
                name="" if (found := depth(network)) is None else str(found.layers),
                family=_family(network),
                accuracy=figure.value,
                cost=self.value(network, "multiply_adds") / 1e9,
            )
            for network in self.networks
            if (figure := accuracy(network))
        ]
        roofs, speeds = [machine.roof for machine in self.machines], machines.speeds(self.machines)
        return Illustration(
            "cost",
            "First: published top-1 accuracy on ImageNet against multiply-adds; numbers are layers. "
            f"{machines.caption(self.machines)}",
            "Accuracy against multiply-adds, and speeds of one network",
            cost(networks, roofs, speeds, machines.REFERENCE),
            wide=True,
        )


def accuracy(network: str) -> Quote | None:
    """The published top-1 accuracy: of the authors' PyTorch weights or, where they list none, of the paper."""
    name = published_name(network)
    return quote(name, "top1", AUTHORS) or quote(name, "top1", PAPER)


def _short(network: str) -> str:
    """The setting's name, or the network's."""
    found = setting(published_name(network))
    return found.label if found else network


def _family(network: str) -> str:
    found = depth(network)
    return "ResNeSt-50-fast" if found is None else {"resnest": "ResNeSt", "resnetd": "ResNet-D"}[found.family]
