"""The figure of ways of carrying out a network: what each gains in time, and how far its logits are from exact's."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnest_core.plots import COLOURS, MARKERS, PAGE, distances, styled

LEAST = 1e-8  # of a deviation, below the rounding of float32: what differs by less, or not at all, is drawn there


@styled
def price(table: pd.DataFrame, records: pd.DataFrame) -> Figure:
    """Speed and differences of logits of all ways but exact, a colour a run.

    `table` is a `summary`; `records`, as `measure_modes` stores them, have the columns run, way, largest.
    """
    others = table.dropna()
    runs, ways = list(dict.fromkeys(others["run"])), list(dict.fromkeys(others["way"]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 0.9 + 0.3 * len(ways)), sharey=True)
    for number, run in enumerate(runs):
        heights = np.arange(len(ways)) + 0.4 * ((number + 0.5) / len(runs) - 0.5)
        speeds = others[others["run"] == run].set_index("way").loc[ways, ["slower", "speed", "faster"]]
        _bars(left, speeds, heights, number, run)
        largest = records[records["run"] == run].groupby("way", observed=True)["largest"]
        _bars(right, largest.quantile([0.05, 0.5, 1.0]).unstack().loc[ways].clip(LEAST), heights, number, run)
    left.axvline(1, color="0.4", linestyle=":", linewidth=0.9)
    titles = [way.replace("-", ", ").replace("_", " ") for way in ways]
    left.set(xlabel="speed (exact = 1)", yticks=np.arange(len(ways)), yticklabels=titles)
    right.set(xlabel="largest difference of an image's logits (deviations)", xscale="log")
    left.invert_yaxis()
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=len(runs))
    return figure


def _bars(axes: Axes, spread: pd.DataFrame, heights: np.ndarray, number: int, label: str) -> None:
    """Points with bars; columns of `spread`: lower end, point, upper end."""
    low, middle, high = spread.to_numpy(np.float64).T
    look = {"color": COLOURS[number], "label": label, "linewidth": 0.9}
    axes.errorbar(middle, heights, xerr=distances(middle, low, high), fmt=MARKERS[number], **look)
