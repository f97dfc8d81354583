"""The figure of machines: how near to their ceilings the networks run, and one network's speed on all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnest_core.plots import COLOURS, LINES, MARKERS, PAGE, plain_ticks, styled


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
def machines(roofs: Sequence[tuple[Roof, Sequence[Point]]], speeds: Sequence[Speed], speed: str) -> Figure:
    """A roofline for each machine, and speeds side by side on a logarithmic axis named `speed`."""
    height = max(2.1, 0.17 * len(speeds) + 0.5)
    figure, panels = plt.subplots(1, len(roofs) + 1, figsize=(PAGE, height), squeeze=False)
    ways = list(dict.fromkeys(point.way for _, points in roofs for point in points))
    for axes, (roof, points) in zip(panels[0], roofs, strict=False):
        _roof(axes, roof, points)
        for number, way in enumerate(ways):
            members = [point for point in points if point.way == way]
            x, y = [point.intensity for point in members], [point.rate / 1e9 for point in members]
            axes.plot(x, y, MARKERS[number], color=COLOURS[number], label=way, markersize=3.5, alpha=0.8)
        axes.set(xlabel="operations a byte", title=roof.name)
    panels[0][0].set_ylabel("$10^9$ operations a second")
    panels[0][0].legend(loc="lower right")
    _speeds(panels[0][-1], speeds, speed)
    return figure


def _roof(axes: Axes, roof: Roof, points: Sequence[Point]) -> None:
    """The lines under which a machine's points lie if no cache helps: a slope of memory, a level for each precision."""
    least = min(point.intensity for point in points)
    most = max(*(point.intensity for point in points), *(rate / roof.copying for rate in roof.products.values()))
    x = np.geomspace(least / 2, 2 * most, 200)
    for (precision, rate), line in zip(roof.products.items(), LINES, strict=False):
        axes.plot(x, np.minimum(rate, roof.copying * x) / 1e9, line, color="0.4", linewidth=0.9)
        axes.annotate(precision, (x[-1], rate / 1e9), xytext=(0, 2), textcoords="offset points", ha="right", fontsize=7)
    axes.set(xscale="log", yscale="log")
    plain_ticks(axes)


def _speeds(axes: Axes, speeds: Sequence[Speed], label: str) -> None:
    for height, one in enumerate(reversed(speeds)):
        colour = "0.5" if one.published else COLOURS[0]
        axes.plot(one.value, height, "D" if one.published else "o", color=colour)
        axes.hlines(height, min(s.value for s in speeds) / 2, one.value, color=colour, linewidth=0.7)
    axes.set_yticks(range(len(speeds)), [one.name for one in reversed(speeds)])
    axes.set(xscale="log", xlabel=label)
    axes.grid(axis="y", visible=False)
