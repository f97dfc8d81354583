"""The figure of accuracy against cost."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from resnest_core.models.variants import CLASSIFIERS
from resnest_core.plots import COLOURS, MARKERS, PAGE, distances, plain_ticks, styled

AXES = {
    "parameters": ("parameters (M)", 1e-6),
    "multiply_adds": ("multiply-adds (M)", 1e-6),
    "seconds": ("time of an image (ms)", 1e3),
    "memory": ("memory of a batch (MiB)", 2.0**-20),
}

WIDE = 4  # the ratio of costs from which a logarithmic axis shows more


@styled
def frontier(table: pd.DataFrame) -> Figure:
    """Accuracy with its interval against four costs, from a table as `measure_frontier` stores it, coloured by radix.

    Open points are beaten by a network that costs no more.
    """
    figure, panels = plt.subplots(1, 4, figsize=(PAGE, 2.2), sharey=True)
    radices = table["model"].map(lambda model: CLASSIFIERS[model].radix)
    names = {radix: f"radix {radix}" if radix else "radix 0 (ResNet-D)" for radix in sorted(set(radices))}
    for axes, (cost, (label, scale)) in zip(panels, AXES.items(), strict=True):
        for number, radix in enumerate(names):
            _points(axes, table[radices == radix], cost, scale, number)
        costs = table[cost].to_numpy(np.float64) * scale
        _staircase(axes, costs, table["top1"].to_numpy(np.float64))
        axes.set(xlabel=label)
        if costs.max() > WIDE * costs.min():
            axes.set_xscale("log")
            plain_ticks(axes.xaxis)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
    panels[0].set_ylabel("top-1 accuracy (%)")
    handles = [
        Line2D([], [], color=COLOURS[i], marker=MARKERS[i], linestyle="", label=name)
        for i, name in enumerate(names.values())
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(names))
    return figure


def _points(axes: Axes, members: pd.DataFrame, cost: str, scale: float, number: int) -> None:
    for row in members.to_dict("records"):
        axes.errorbar(
            row[cost] * scale,
            row["top1"],
            yerr=distances(row["top1"], row["low"], row["high"]),
            fmt=MARKERS[number],
            color=COLOURS[number],
            mfc="white" if row[f"beaten_{cost}"] else COLOURS[number],
            linewidth=0.7,
            markersize=4,
        )


def _staircase(axes: Axes, costs: np.ndarray, accuracies: np.ndarray) -> None:
    """The highest accuracy observed at each cost."""
    order = np.lexsort((-accuracies, costs))
    best = np.maximum.accumulate(accuracies[order])
    axes.step(costs[order], best, where="post", color="0.6", linewidth=0.8, linestyle=":", zorder=0)
