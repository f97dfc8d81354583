"""Figures in one style: colour-blind safe, legible at the width of a column, the same bytes for the same numbers.

Every function returns a matplotlib Figure, which a notebook shows and `save` writes.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, Protocol

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from resnest_core.errors import InputError
from resnest_core.files import replacing

P = ParamSpec("P")
COLUMN, PAGE = 3.35, 6.85  # inches: a column and the text width of the article
COLOURS: list[Any] = list(sns.color_palette("colorblind"))
MARKERS = "osD^vPX*"
SCORES = {"test_top1": "top-1 accuracy", "test_pixel_accuracy": "pixel accuracy", "test_mean_iou": "mean IoU"}
MOST_BARS = 24
MOST_TALL = 4  # height of a picture over its width
LARGEST_DRAWN = 2048  # pixels of a picture's long side; a page has fewer
Scores = Sequence[tuple[str, float, float | None, float | None]]  # what is scored, value, limits
LINES = ("-", "--", "-.", ":")
STYLE: Any = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.3,
    "grid.color": "0.85",
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "legend.frameon": False,
    "figure.dpi": 140,
    "figure.constrained_layout.use": True,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.02,
    "svg.hashsalt": "resnest_core",
}


class Images(Protocol):
    """What `mistakes` needs of a data set."""

    classes: Sequence[str]

    def load(self, index: int) -> Image.Image: ...


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function under STYLE, and leave the caller's settings and list of open figures alone."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()  # settles the layout while the style holds
        plt.close(figure)
        return figure

    return wrapper


def tallness(width: int, height: int) -> float:
    """Height over width of the room for a picture; a strip is drawn narrower than that."""
    return min(height / width, MOST_TALL)


def reduced(picture: NDArray[Any]) -> NDArray[Any]:
    """A picture, mask or map (H, W, ...) as it is drawn: of a large one every n-th pixel each way."""
    step = -(-max(picture.shape[:2]) // LARGEST_DRAWN)
    return picture[::step, ::step]


def save(figure: Figure, path: str | Path) -> None:
    """Write `figure` as SVG; equal figures give equal bytes."""
    with matplotlib.rc_context(STYLE), replacing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


@styled
def curves(history: pd.DataFrame) -> Figure:
    """Loss by epoch, and scores or else the parts of the loss, from a table as training stores it (`curves.csv`)."""
    figure, (losses, scores) = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    losses.plot(history.epoch, history.train_loss, marker="o", label="training")
    if "test_loss" in history:
        losses.plot(history.epoch, history.test_loss, LINES[1], marker="s", label="test")
    losses.set(xlabel="epoch", ylabel="loss (nats)")
    losses.legend()
    shown = {name: label for name, label in SCORES.items() if name in history}
    parts = {
        name: name.removeprefix("loss_").replace("_", " ") for name in map(str, history) if name.startswith("loss_")
    }
    for number, (name, label) in enumerate((shown or parts).items(), start=1):
        marker, colour = MARKERS[number % len(MARKERS)], COLOURS[number % len(COLOURS)]
        scores.plot(history.epoch, history[name], marker=marker, color=colour, label=label)
    scores.set(xlabel="epoch", ylabel="on test images (%)" if shown else "parts of the loss")
    if shown:
        scores.legend()
    else:
        figure.legend(*scores.get_legend_handles_labels(), loc="outside right center", fontsize=7)
    return figure


@styled
def mistakes(dataset: Images, records: pd.DataFrame, count: int = 12) -> Figure:
    """The `count` images that the network got wrong with the greatest loss, worst first."""
    if count < 1:
        raise InputError(f"count is {count}; it must be 1 or more")
    wrong = records[~records.correct].nlargest(count, "loss")
    rows = max(1, -(-len(wrong) // 6))
    figure, axes = plt.subplots(rows, 6, figsize=(PAGE, 1.5 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    numbers = wrong[["index", "target", "predicted"]].to_numpy()
    for axis, (index, target, predicted) in zip(axes.flat, numbers, strict=False):
        axis.imshow(reduced(np.asarray(dataset.load(int(index)))))
        axis.set_title(f"{dataset.classes[target]},\nnot {dataset.classes[predicted]}", fontsize=7.5)
    if wrong.empty:
        axes[0, 0].text(0, 0.5, "no image was misclassified")
    return figure


@styled
def intervals(
    series: Mapping[str, Sequence[tuple[str, float, float | None, float | None]]], *, xlabel: str, ylabel: str
) -> Figure:
    """Values with their intervals over named positions: series -> (position, value, low, high), in order."""
    figure, axes = plt.subplots(figsize=(COLUMN, 2.2))
    positions = list(dict.fromkeys(name for points in series.values() for name, *_ in points))
    for number, (label, points) in enumerate(series.items()):
        shift = 0.16 * (number - (len(series) - 1) / 2)
        x = [positions.index(name) + shift for name, *_ in points]
        _errorbars(axes, x, points, number, label)
    axes.set(xticks=range(len(positions)), xticklabels=positions, xlabel=xlabel, ylabel=ylabel)
    axes.margins(x=0.12)
    if len(series) > 1:
        axes.legend()
    return figure


@styled
def training(histories: Mapping[str, pd.DataFrame], styles: Mapping[str, tuple[int, int]]) -> Figure:
    """Test accuracy and training loss by epoch, a line a network; `styles` gives each its colour and its dashes."""
    figure, (accuracy, losses) = plt.subplots(1, 2, figsize=(PAGE, 1.8))
    for label, history in histories.items():
        colour, dash = styles[label]
        look: dict[str, Any] = {"color": COLOURS[colour], "linestyle": LINES[dash], "marker": MARKERS[colour]}
        look["markevery"] = max(1, len(history) // 10)
        accuracy.plot(history.epoch, history.test_top1, label=label, **look)
        losses.plot(history.epoch, history.train_loss, **look)
    accuracy.set(xlabel="epoch", ylabel="top-1 on test images (%)")
    losses.set(xlabel="epoch", ylabel="training loss (nats)")
    for axis in (accuracy, losses):
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside right center")
    return figure


@styled
def seed_spread(rows: Sequence[tuple[str, Sequence[float]]], *, reference: float | None, xlabel: str) -> Figure:
    """One line a configuration, from the top: each run as an open circle, their mean as a bar; `reference` dotted."""
    figure, axes = plt.subplots(figsize=(COLUMN, 0.24 * len(rows) + 0.7))
    for height, (_, values) in enumerate(rows):
        axes.plot(values, [height] * len(values), "o", mfc="none", color=COLOURS[0])
        if len(values) > 1:
            axes.plot([np.mean(values)] * 2, [height - 0.28, height + 0.28], color=COLOURS[3], linewidth=1.8)
    if reference is not None:
        axes.axvline(reference, color="0.4", linestyle=":", linewidth=0.9)
    axes.set(yticks=range(len(rows)), yticklabels=[name for name, _ in rows], xlabel=xlabel)
    axes.invert_yaxis()
    return figure


def distances(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> NDArray[np.float64]:
    """How far limits lie from their values (2, n): 0 where rounding or a corrected bias puts one on the other side."""
    middle, lower, upper = (np.atleast_1d(np.asarray(numbers, np.float64)) for numbers in (values, low, high))
    return np.clip([middle - lower, upper - middle], 0, None)


def plain_ticks(axis: Axis) -> None:
    """1, 2, 5, 10 ... as plain numbers on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _errorbars(
    axes: Axes,
    x: Sequence[float],
    points: Sequence[tuple[str, float, float | None, float | None]],
    number: int,
    label: str,
) -> None:
    values = np.array([value for _, value, _, _ in points])
    low = [value if limit is None else limit for _, value, limit, _ in points]
    high = [value if limit is None else limit for _, value, _, limit in points]
    axes.errorbar(
        x,
        values,
        yerr=distances(values, low, high),
        fmt=MARKERS[number],
        color=COLOURS[number],
        capsize=2,
        linewidth=0.9,
        label=label,
    )


@styled
def bars(series: Mapping[str, Scores], xlabel: str) -> Figure:
    """Bars with intervals for each thing that is scored, a colour a network; the 24 that come first at most."""
    count = len({name for scores in series.values() for name, *_ in scores})
    figure, axes = plt.subplots(figsize=(COLUMN, 0.075 * min(count, MOST_BARS) * (len(series) + 0.6) + 0.6))
    draw_bars(axes, series, xlabel)
    if len(series) > 1:
        axes.legend(loc="lower right")
    return figure


def draw_bars(axes: Axes, series: Mapping[str, Scores], xlabel: str) -> None:
    """`bars` on axes of a figure, without a legend."""
    names = list(dict.fromkeys(name for scores in series.values() for name, *_ in scores))[:MOST_BARS]
    for number, (label, scores) in enumerate(series.items()):
        _bars(axes, [score for score in scores if score[0] in names], names, number, len(series), label)
    axes.set(yticks=range(len(names)), yticklabels=names, xlabel=xlabel)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def _bars(axes: Axes, scores: Scores, names: Sequence[str], number: int, count: int, label: str) -> None:
    width = 0.8 / count
    places = [names.index(name) + (number - (count - 1) / 2) * width for name, *_ in scores]
    values = np.array([value for _, value, _, _ in scores])
    low = [value if limit is None else limit for _, value, limit, _ in scores]
    high = [value if limit is None else limit for _, value, _, limit in scores]
    errors = distances(values, low, high)
    axes.barh(places, values, width, xerr=errors, color=COLOURS[number], label=label, error_kw={"linewidth": 0.7})
