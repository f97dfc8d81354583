"""Pictures of segmentations: classes in colours over or beside their image."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from resnest_core.evaluation.examples import Example
from resnest_core.plots import PAGE, reduced, styled, tallness

IGNORED_COLOUR = (0.35, 0.35, 0.35)
WRONG = (0.84, 0.37, 0.0)
MOST_NAMES = 24  # in a legend
Classes = NDArray[np.int16]


def palette(classes: int) -> NDArray[np.float64]:
    """A colour (red, green, blue) for each class, and last that of pixels that do not count: (classes + 1, 3)."""
    few = [(0.12, 0.12, 0.18), *sns.color_palette("tab10"), *sns.color_palette("Set3")]
    # Neighbouring classes turn the hue by the golden angle, so that they look different however many there are.
    many = [tuple(sns.husl_palette(1, h=(0.618034 * i) % 1, s=0.85, l=0.45 + 0.1 * (i % 4))[0]) for i in range(classes)]
    return np.array([*(few if classes <= len(few) else many)[:classes], IGNORED_COLOUR])


def painted(classes: Classes, count: int) -> NDArray[np.float64]:
    """Classes (H, W), -1 for pixels that do not count, in the colours of `palette`: (H, W, 3)."""
    return palette(count)[classes]


@styled
def side_by_side(rows: Mapping[str, Sequence[Example]], names: Sequence[str]) -> Figure:
    """For each example a row: the image, its true classes, then for each network its classes and what is wrong."""
    networks, count = list(rows), len(next(iter(rows.values())))
    columns = 2 + 2 * len(networks)
    figure, axes = plt.subplots(count, columns, figsize=(PAGE, count * PAGE / columns + 0.6), squeeze=False)
    titles = ["image", "truth"] + [text for name in networks for text in (name, "its errors")]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    for number in range(count):
        first = rows[networks[0]][number]
        pictures = [reduced(first.image), painted(reduced(first.truth), len(names))]
        for name in networks:
            example = rows[name][number]
            pictures += [painted(reduced(example.predicted), len(names)), _errors(example)]
        for axis, picture in zip(axes[number], pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.axis("off")
    maps = [classes for examples in rows.values() for e in examples for classes in (e.truth, e.predicted)]
    _legend(figure, maps, names)
    return figure


@styled
def demonstration(image: NDArray[np.uint8], classes: Classes, names: Sequence[str]) -> Figure:
    """An image (H, W, 3), and its predicted classes (H, W) over it, with a legend of those that occur."""
    height, width, _ = image.shape
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, PAGE / 2 * tallness(width, height) + 0.5))
    seen = reduced(image)
    left.imshow(seen)
    right.imshow(0.35 * seen / 255 + 0.65 * painted(reduced(classes), len(names)), interpolation="nearest")
    for axis in (left, right):
        axis.axis("off")
    _legend(figure, [classes], names)
    return figure


def _errors(example: Example) -> NDArray[np.float64]:
    """Wrong pixels coloured, right ones pale, those that do not count grey: (H, W, 3)."""
    truth, predicted = reduced(example.truth), reduced(example.predicted)
    picture = np.ones((*truth.shape, 3)) * 0.93
    picture[predicted != truth] = WRONG
    picture[truth < 0] = IGNORED_COLOUR
    return picture


def _legend(figure: Figure, maps: Sequence[Classes], names: Sequence[str]) -> None:
    """The classes that occur, the most frequent if they are many."""
    counts = sum((np.bincount(m[m >= 0], minlength=len(names)) for m in maps), np.zeros(len(names), np.int64))
    shown = sorted(np.argsort(-counts, kind="stable")[: min(MOST_NAMES, int((counts > 0).sum()))])
    colours = palette(len(names))
    handles = [Patch(color=tuple(colours[i]), label=names[i]) for i in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=7.5, handlelength=1)
