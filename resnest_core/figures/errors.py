"""Figures of what classifiers get wrong: confused classes, and images."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from resnest_core.analyses import errors
from resnest_core.analyses.errors import CONFIDENT, FIRST, HARDEST, KINDS, SECOND
from resnest_core.plots import COLUMN, PAGE, styled

Picture = tuple[Image.Image, str]  # an image with what stands above it
MOST_NUMBERS = 12  # classes with which numbers still fit into the cells
LONGEST = 14  # name of a class


def pictures(
    records: pd.DataFrame, images: Sequence[Image.Image], classes: Sequence[str], names: Sequence[str]
) -> dict[str, list[Picture]]:
    """The examples of `compare_errors` by what they show of the networks called `names`, with their true class.

    Below it stands the wrong answer, of the first network unless that is right, and its probability.
    """
    headings = {FIRST: f"only {names[0]} right", SECOND: f"only {names[1]} right"}
    headings |= {HARDEST: "greatest loss", CONFIDENT: "most confident"}
    found: dict[str, list[Picture]] = {headings[kind]: [] for kind in KINDS}
    for row in records[records["example"] >= 0].sort_values("example").to_dict("records"):
        wrong = "second" if row["kind"] == FIRST else "first"
        answer = f"{shorten(classes[row[f'predicted_{wrong}']])} ({100 * row[f'confidence_{wrong}']:.0f} %)"
        text = f"{shorten(classes[row['target']])},\nnot {answer}"
        found[headings[row["kind"]]].append((images[row["example"]], text))
    return found


@styled
def overview(
    table: ArrayLike, names: Sequence[str], pictures: Mapping[str, Sequence[Picture]], *, each: int = 2
) -> Figure:
    """The confusion table of `names`, true classes in rows, and beside it `each` pictures of each kind, a column."""
    figure = plt.figure(figsize=(PAGE, 2.3))
    halves: Any = figure.subfigures(1, 2, width_ratios=[1, 1.45])
    left, right = halves
    _confusion(left.subplots(), table, names, size=6 if len(names) <= MOST_NUMBERS else 4.5)
    grid = right.subplots(each, len(pictures), squeeze=False)
    for axes, (kind, found) in zip(grid.T, pictures.items(), strict=True):
        axes[0].annotate(kind, (0.5, 1), (0, 22), "axes fraction", "offset points", ha="center", fontsize=7)
        _pictures(axes, found, size=6)
    return figure


@styled
def confusion(records: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Images of each class (row) by what the first network took them for; what is right is left without a colour."""
    table = errors.confusion(records["target"], records["predicted_first"], len(classes))
    order = errors.similar_order(table)
    figure, axes = plt.subplots(figsize=(COLUMN + 1, 0.2 * len(order) + 1.4))
    _confusion(axes, table[np.ix_(order, order)], [classes[i] for i in order], size=7)
    return figure


@styled
def gallery(pictures: Mapping[str, Sequence[Picture]]) -> Figure:
    """Pictures of each kind, a row."""
    count = max(1, *(len(found) for found in pictures.values()))
    figure = plt.figure(figsize=(PAGE, 1.6 * len(pictures)))
    rows: Any = figure.subfigures(len(pictures), 1, squeeze=False)
    for row, (kind, found) in zip(rows[:, 0], pictures.items(), strict=True):
        row.suptitle(kind, fontsize=8.5, x=0.01, ha="left")
        _pictures(row.subplots(1, count, squeeze=False)[0], found, size=7)
    return figure


def _confusion(axes: Axes, table: ArrayLike, names: Sequence[str], *, size: float) -> None:
    counts = np.asarray(table)
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    axes.imshow(mistakes, cmap="Blues", vmin=0, vmax=max(1, 1.3 * mistakes.max()), aspect="auto")
    if len(counts) <= MOST_NUMBERS:
        for row, column in np.argwhere(counts):
            grey: Any = "0.6" if row == column else "0"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=size - 1, color=grey)
    shown = [shorten(name) for name in names]
    axes.set_xlabel("predicted", fontsize=size + 1)
    axes.set_ylabel("true", fontsize=size + 1)
    axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=size)
    axes.set_yticks(range(len(shown)), shown, fontsize=size)
    axes.grid(visible=False)
    axes.tick_params(length=1.5)


def _pictures(axes: Sequence[Axes], pictures: Sequence[Picture], *, size: float) -> None:
    for axis in axes:
        axis.axis("off")
    for axis, (image, text) in zip(axes, pictures, strict=False):
        axis.imshow(np.asarray(image))
        axis.set_title(text, fontsize=size, pad=2)


def shorten(name: str) -> str:
    """A name of a class that fits beside a table or above a picture."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
