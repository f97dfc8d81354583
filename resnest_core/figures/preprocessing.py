"""Figures of preprocessing: accuracy by size, and what networks are given."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from resnest_core.analyses.conditions import RESOLUTION, Condition
from resnest_core.data import Dataset
from resnest_core.data.transforms import Preprocessing
from resnest_core.plots import COLOURS, COLUMN, LINES, MARKERS, PAGE, styled


@styled
def resolution(table: pd.DataFrame, own: Sequence[int]) -> Figure:
    """Accuracy by size, a line a network with its intervals shaded; the networks' `own` sizes are dotted.

    Columns of the table: run, size (pixels), top1, low, high (%).
    """
    figure, axes = plt.subplots(figsize=(COLUMN, 2.1))
    for number, run in enumerate(dict.fromkeys(table["run"])):
        rows = table[table["run"] == run].sort_values("size")
        look = {"color": COLOURS[number], "linestyle": LINES[number % 4], "marker": MARKERS[number % 8]}
        axes.plot(rows["size"], rows["top1"], label=str(run), **look)
        axes.fill_between(rows["size"], rows["low"], rows["high"], color=COLOURS[number], alpha=0.2, linewidth=0)
    for size in set(own):
        axes.axvline(size, color="0.4", linestyle=":", linewidth=0.9)
    axes.set(xlabel="size of the input (pixels)", ylabel="top-1 accuracy (%)", xscale="log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(table["size"]))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@styled
def views(data: Dataset, plan: Sequence[Condition], count: int = 4) -> Figure:
    """The first `count` images, a row each, as a network is given them by every rule and filter."""
    shown = [condition for condition in plan if condition.part != RESOLUTION]
    ways: Mapping[str, Preprocessing] = {_title(condition): condition.preprocessing for condition in shown}
    figure, grid = plt.subplots(count, len(ways), figsize=(PAGE, PAGE / len(ways) * count + 0.4), squeeze=False)
    for row, axes in enumerate(grid):
        for axis, (title, preprocessing) in zip(axes, ways.items(), strict=True):
            pixels = preprocessing(data.load(row)).permute(1, 2, 0).numpy() * preprocessing.std + preprocessing.mean
            axis.imshow(np.clip(pixels, 0, 1))
            axis.axis("off")
            if row == 0:
                axis.set_title(title, fontsize=7.5)
    return figure


def _title(condition: Condition) -> str:
    preprocessing = condition.preprocessing
    return f"{condition.rule.replace('_', ' ')}\n{preprocessing.interpolation}\n{preprocessing.crop_size} pixels"
