"""The figures of the panels that no study has."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from resnest_core.figures import detection
from resnest_core.figures.detection import Thing
from resnest_core.figures.errors import Picture
from resnest_core.plots import COLOURS, LINES, PAGE, STYLE, reduced, tallness

P = ParamSpec("P")
HEAT_SHARE = 0.5  # of the colours of a heat map over a picture
TRUE, OTHER = COLOURS[2], COLOURS[0]
LONGEST_NAME = 22
NAME = 0.06  # of the height of an image: room above it for the name of a thing
THUMBNAIL, ROW = 112, 1.65  # pixels of its longer side; height of a row of them over their width


def in_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function that lays its figure out itself in the style of all figures.

    `plots.styled`, which finds the layout, takes three times as long.
    """

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


@dataclass(frozen=True)
class Looked:
    """What a classifier makes of one image.

    `seen` (S, S, 3), 0 to 1, is what it was given, `heat` (S, S), 0 to 1, what of it spoke for the first of `top`,
    the names and probabilities of the best classes; `attention` (R, C) are the weights of the splits in `block`, None
    for a network without.
    """

    image: Image.Image
    seen: NDArray
    heat: NDArray
    top: Sequence[tuple[str, float]]
    true: str | None
    attention: NDArray | None
    block: str


@in_style
def looked(found: Looked) -> Figure:
    """Image, heat map over what the network saw of it, probabilities, and below them the attention of a block."""
    below = 0.0 if found.attention is None else 0.46  # part of the height
    figure = _sheet(PAGE, 2.1 / (1 - below))
    bottom, height = below + 0.02 * (1 - below), 0.86 * (1 - below)
    image, heat = (figure.add_axes((left, bottom, 0.29, height)) for left in (0.01, 0.31))
    _picture(image, np.asarray(found.image), "image")
    _picture(heat, found.seen, f"Grad-CAM: {_short(found.top[0][0])}")
    heat.imshow(found.heat, cmap="magma", alpha=HEAT_SHARE, vmin=0, vmax=1)
    _probabilities(figure.add_axes((0.77, bottom, 0.22, height)), found)
    if found.attention is not None:
        _attention(figure.add_axes((0.07, 0.13, 0.92, 0.27)), found.attention, found.block)
    return figure


@in_style
def thumbnails(rows: Mapping[str, Sequence[Picture]], columns: int) -> Figure:
    """Rows of at most `columns` small images, each below its caption of two lines, under a title a row."""
    figure = _sheet(PAGE, PAGE / columns * ROW * len(rows))
    axes = figure.add_axes((0, 0, 1, 1))  # one for all: an axis an image takes seconds
    axes.axis("off")
    for number, (title, found) in enumerate(rows.items()):
        top = ROW * number
        axes.text(0.04, top + 0.22, title, fontsize=8.5, fontweight="bold")
        for column, (image, caption) in enumerate(found):
            axes.text(column + 0.5, top + 0.62, caption, fontsize=7, ha="center")
            _thumbnail(axes, image, column + 0.5, top + 1.12)
    axes.set(xlim=(0, columns), ylim=(ROW * len(rows), 0))
    return figure


@in_style
def objects(image: Image.Image, panels: Mapping[str, Sequence[Thing]]) -> Figure:
    """The image once for each of `panels`, side by side, with the things in it and a legend of their names."""
    side, share = PAGE / 2, tallness(*image.size)
    picture, above, below = side * share * (1 + NAME), 0.22, 0.5  # inches
    height = picture + above + below
    figure = _sheet(side * len(panels), height)
    colours = detection.palette([thing.name for found in panels.values() for thing in found])
    for number, (title, found) in enumerate(panels.items()):
        left, width = (number + 0.01) / len(panels), 0.98 / len(panels)
        axes = figure.add_axes((left, below / height, width, picture / height))
        detection.draw(axes, image, found, colours, named=True)
        axes.set(title=title, ylim=(image.height, -NAME * image.height))
    detection.legend(figure, colours)
    return figure


def _sheet(width: float, height: float) -> Figure:
    """An empty figure, in inches, without a layout of its own."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    return figure


def _picture(axes: Axes, pixels: NDArray, title: str) -> None:
    axes.imshow(reduced(pixels))
    axes.set_title(title)
    axes.axis("off")


def _thumbnail(axes: Axes, image: Image.Image, x: float, y: float) -> None:
    """The image, its longer side a little less than 1, about (x, y)."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    width, height = (0.46 * side / max(small.size) for side in small.size)
    axes.imshow(np.asarray(small), extent=(x - width, x + width, y + height, y - height), aspect="auto")


def _probabilities(axes: Axes, found: Looked) -> None:
    names, values = zip(*found.top, strict=True)
    places = range(len(names))
    bars = axes.barh(places, values, color=[TRUE if name == found.true else OTHER for name in names])
    axes.bar_label(bars, [f"{100 * value:.1f} %" for value in values], padding=2, fontsize=7.5)
    axes.set(yticks=places, yticklabels=[_short(name) for name in names], xticks=[], xlim=(0, 1.35))
    axes.set_title("probability" if found.true is None else f"true: {_short(found.true)}")
    axes.invert_yaxis()
    axes.grid(visible=False)


def _attention(axes: Axes, attention: NDArray, block: str) -> None:
    order = np.argsort(attention[0], kind="stable")
    for number, weights in enumerate(attention):
        line = LINES[number % len(LINES)]
        axes.plot(weights[order], line, color=COLOURS[number], label=f"split {number + 1}")
    axes.set(xlabel="channel, by the weight of split 1", ylabel="weight", ylim=(-0.02, 1.02), xlim=(0, len(order) - 1))
    axes.set_title(f"split attention in {block}")
    axes.legend(ncols=len(attention), loc="upper center")


def _short(name: str) -> str:
    """The first of the names of a class, as far as there is room."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
