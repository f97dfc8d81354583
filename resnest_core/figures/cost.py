"""The figure of cost: accuracy against it, how near networks run to a machine's ceilings, and speeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnest_core.plots import COLOURS, LINES, MARKERS, PAGE, plain_ticks, styled


@dataclass(frozen=True)
class TradeOff:
    """A network's accuracy (%) and multiply-adds (G); `name` stands beside its point."""

    name: str
    family: str
    accuracy: float
    cost: float


@dataclass(frozen=True)
class Roof:
    """What a machine can do: operations a second by precision, and bytes a second."""

    name: str
    products: Mapping[str, float]
    copying: float


@dataclass(frozen=True)
class Point:
    """A network on a machine: operations a byte, operations a second, and in which way it was carried out."""

    way: str
    intensity: float
    rate: float


@dataclass(frozen=True)
class Speed:
    """Images a second of one network, measured here or published elsewhere."""

    name: str
    value: float
    published: bool


@styled
def cost(
    networks: Sequence[TradeOff],
    machines: Sequence[tuple[Roof, Sequence[Point]]],
    speeds: Sequence[Speed],
    reference: str,
) -> Figure:
    """Published accuracy against multiply-adds, a roofline for each machine, and the speeds of `reference`."""
    figure, (first, *roofs, last) = _panels(len(machines) + 2)
    _trade_off(first, networks)
    for axes, (roof, points) in zip(roofs, machines, strict=True):
        _roof(axes, roof, points)
    if roofs:
        roofs[0].set_ylabel("$10^9$ operations a second")
        roofs[0].legend(loc="upper left", fontsize=7, handletextpad=0.2, borderpad=0)
    _speeds(last, speeds)
    last.set_xlabel(f"{reference}, images/s")
    return figure


def _panels(number: int) -> tuple[Figure, list[Axes]]:
    """A figure of that many panels, four in a row at the most, one after another."""
    rows = ceil(number / 4)
    columns = ceil(number / rows)
    figure, grid = plt.subplots(rows, columns, figsize=(PAGE, 2.1 * rows), squeeze=False)
    panels = list(grid.flat)
    for empty in panels[number:]:
        empty.remove()
    return figure, panels[:number]


def _trade_off(axes: Axes, networks: Sequence[TradeOff]) -> None:
    for number, family in enumerate(dict.fromkeys(network.family for network in networks)):
        members = [network for network in networks if network.family == family]
        x, y = [network.cost for network in members], [network.accuracy for network in members]
        axes.plot(x, y, MARKERS[number], color=COLOURS[number], label=family, markersize=4, alpha=0.9)
        for network in members:
            place = (network.cost, network.accuracy)
            axes.annotate(network.name, place, xytext=(4, -3), textcoords="offset points", fontsize=7)
    axes.set(xlabel="multiply-adds at own crop (G)", ylabel="published top-1 (%)", xscale="log")
    axes.margins(x=0.15)
    plain_ticks(axes.xaxis)
    if networks:
        axes.legend(loc="lower right", fontsize=7, handletextpad=0, borderpad=0)


def _roof(axes: Axes, roof: Roof, points: Sequence[Point]) -> None:
    """The lines under which a machine's points lie if no cache helps: a slope of memory, a level for each precision."""
    least = min(point.intensity for point in points)
    most = max(*(point.intensity for point in points), *(rate / roof.copying for rate in roof.products.values()))
    x = np.geomspace(least / 2, 2 * most, 200)
    for number, way in enumerate(dict.fromkeys(point.way for point in points)):
        members = [point for point in points if point.way == way]
        own = [point.rate / 1e9 for point in members]
        intensities = [point.intensity for point in members]
        axes.plot(intensities, own, MARKERS[number], color=COLOURS[number], label=way, markersize=3.5, alpha=0.8)
    for (precision, rate), line in zip(roof.products.items(), LINES, strict=False):
        axes.plot(x, np.minimum(rate, roof.copying * x) / 1e9, line, color="0.4", linewidth=0.9)
        axes.annotate(precision, (x[-1], rate / 1e9), xytext=(0, 2), textcoords="offset points", ha="right", fontsize=7)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", title=roof.name)
    axes.set_ylim(top=3 * max(roof.products.values()) / 1e9)  # room for the legend
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)


def _speeds(axes: Axes, speeds: Sequence[Speed]) -> None:
    """A point for each, its name beside it, on the side that has room."""
    middle = sqrt(min(one.value for one in speeds) * max(one.value for one in speeds))
    for height, one in enumerate(reversed(speeds)):
        colour = "0.5" if one.published else COLOURS[0]
        axes.plot(one.value, height, "D" if one.published else "o", color=colour, markersize=3.5)
        x, side = (4, "left") if one.value < middle else (-4, "right")
        label = axes.annotate(one.name, (one.value, height), (x, 0), textcoords="offset points", fontsize=6.5)
        label.set(ha=side, va="center_baseline")
    axes.set(xscale="log", yticks=[])
