"""Figures of robustness: accuracy by severity, and corrupted images."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from resnest_core.analyses.corruption_scores import CLEAN
from resnest_core.analyses.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from resnest_core.plots import COLOURS, LINES, MARKERS, PAGE, styled


@styled
def by_severity(table: pd.DataFrame) -> Figure:
    """A panel a corruption: accuracy by severity, 0 for images as they are, a line a network with intervals shaded.

    Columns of the table: run, corruption, severity, top1, low, high (%).
    """
    figure, panels = plt.subplots(1, len(CORRUPTIONS), figsize=(PAGE, 1.75), sharey=True)
    for axes, (name, corruption) in zip(panels, CORRUPTIONS.items(), strict=True):
        shown = table[table["corruption"].isin([CLEAN, name])].sort_values("severity")
        for number, run in enumerate(dict.fromkeys(table["run"])):
            rows = shown[shown["run"] == run]
            look = {"color": COLOURS[number], "linestyle": LINES[number % 4], "marker": MARKERS[number % 8]}
            axes.plot(rows["severity"], rows["top1"], label=str(run), markersize=3, **look)
            axes.fill_between(rows["severity"], rows["low"], rows["high"], color=COLOURS[number], alpha=0.15, lw=0)
        axes.set(title=corruption.label, xlabel="severity", xticks=(0, *SEVERITIES))
    panels[0].set_ylabel("top-1 accuracy (%)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


@styled
def examples(image: Image.Image, key: str, seed: int = 0) -> Figure:
    """One image under every corruption (a row each) at every severity (a column each), as it is at the left."""
    rows, columns = len(CORRUPTIONS), len(SEVERITIES) + 1
    figure, grid = plt.subplots(rows, columns, figsize=(PAGE * 0.8, PAGE * 0.8 * rows / columns))
    for axes, (name, corruption) in zip(grid, CORRUPTIONS.items(), strict=True):
        axes[0].set_title(corruption.label, fontsize=8, loc="left")
        seen = [image, *(corrupted(image, name, severity, key=key, seed=seed) for severity in SEVERITIES)]
        for axis, picture in zip(axes, seen, strict=True):
            axis.imshow(picture)
            axis.axis("off")
    return figure
