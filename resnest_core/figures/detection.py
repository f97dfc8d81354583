"""Pictures of detections: boxes, masks and names over their image; and their precision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as run_lengths

from resnest_core.plots import COLOURS, COLUMN, LINES, PAGE, Scores, draw_bars, reduced, styled, tallness

MASK_SHARE = 0.45  # of the colour in a pixel of an object
MOST_NAMES = 24  # in a legend


@dataclass(frozen=True)
class Thing:
    """An object of an image: its box (x, y, width, height), name, score if it was found, and mask, if it has one, as
    pycocotools' compressed run lengths.
    """

    box: tuple[float, float, float, float]
    name: str
    score: float | None = None
    encoded: dict[str, Any] | None = None

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """(H, W)."""
        return None if self.encoded is None else run_lengths.decode(self.encoded).astype(bool)


def things(found: dict[str, Any], names: Sequence[str], least_score: float) -> list[Thing]:
    """What a detector's `Predictor` found with `least_score` or more."""
    kept = [i for i, score in enumerate(found["scores"].tolist()) if score >= least_score]
    boxes = found["boxes"].tolist()
    return [
        Thing(
            (boxes[i][0], boxes[i][1], boxes[i][2] - boxes[i][0], boxes[i][3] - boxes[i][1]),
            names[int(found["labels"][i])],
            float(found["scores"][i]),
            found["masks"][i] if "masks" in found else None,
        )
        for i in kept
    ]


def things_of(table: pd.DataFrame, image: pd.Series, names: dict[int, str], *, least_score: float = 0.0) -> list[Thing]:
    """The rows of a table of truths or detections that belong to an image, a row of the records."""
    rows = table[table["index"] == image["index"]]
    if "score" in rows:
        rows = rows[rows["score"] >= least_score]
    size = [int(image["height"]), int(image["width"])]
    return [
        Thing(
            (row["x"], row["y"], row["width"], row["height"]),
            names[row["category"]],
            row.get("score"),
            {"size": size, "counts": row["mask"]} if isinstance(row["mask"], str) else None,
        )
        for row in rows.to_dict("records")
    ]


@styled
def demonstration(image: Image.Image, found: Sequence[Thing]) -> Figure:
    """An image with the things in it, and a legend of their names."""
    height = PAGE * tallness(*image.size)
    figure, axes = plt.subplots(figsize=(PAGE, height + 0.5))
    colours = palette([thing.name for thing in found])
    draw(axes, image, found, colours, named=True)
    legend(figure, colours)
    return figure


@styled
def side_by_side(
    images: Sequence[Image.Image], rows: Mapping[str, Sequence[Sequence[Thing]]], names: Sequence[str]
) -> Figure:
    """A column an image; a row for the truth and for each network, as `rows` has them."""
    count, height = len(images), max(tallness(*image.size) for image in images)
    side = PAGE / count
    figure, grid = plt.subplots(
        len(rows), count, figsize=(PAGE, len(rows) * (side * height + 0.2) + 0.5), squeeze=False
    )
    colours = palette(names)
    for axes, (title, found) in zip(grid, rows.items(), strict=True):
        axes[0].set_title(title, fontsize=8, loc="left")
        for axis, image, things in zip(axes, images, found, strict=True):
            draw(axis, image, things, colours, named=False)
    shown = {thing.name for found in rows.values() for things in found for thing in things}
    legend(figure, {name: colour for name, colour in colours.items() if name in shown})
    return figure


@styled
def precision_recall(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Precision over recall, a line a network: columns `recall` and `precision`, 0 to 1."""
    figure, axes = plt.subplots(figsize=(COLUMN, 2.4))
    _draw_curves(axes, curves)
    axes.legend()
    return figure


@styled
def details(
    curves: Mapping[str, pd.DataFrame],
    sizes: Mapping[str, Scores],
    classes: Mapping[str, Scores],
    errors: Mapping[str, Scores],
) -> Figure:
    """The same networks in four panels, a colour each: precision over recall; AP by size, by class; kinds of error."""
    panels: list[Any] = [["precision", "errors", "classes"], ["sizes", "errors", "classes"]]
    figure, axes = plt.subplot_mosaic(panels, figsize=(PAGE, 2.45), height_ratios=[1.4, 1])
    _draw_curves(axes["precision"], curves)
    draw_bars(axes["sizes"], sizes, "average precision (%)")
    draw_bars(axes["classes"], classes, "average precision (%)")
    draw_bars(axes["errors"], errors, "of a hundred objects")
    colours = [Patch(color=COLOURS[number % 10], label=label) for number, label in enumerate(curves)]
    columns = 2 if len(colours) > 3 else len(colours)
    figure.legend(handles=colours, loc="outside lower center", ncols=columns, handlelength=1, fontsize=7.5)
    return figure


def _draw_curves(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    for number, (label, curve) in enumerate(curves.items()):
        axes.plot(curve["recall"], curve["precision"], LINES[number % 4], color=COLOURS[number % 10], label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))


def palette(names: Sequence[str]) -> dict[str, Any]:
    """A colour for each name."""
    distinct = list(dict.fromkeys(names))
    return dict(zip(distinct, sns.husl_palette(max(len(distinct), 1), s=0.9, l=0.6), strict=False))


def draw(axes: Axes, image: Image.Image, found: Sequence[Thing], colours: dict[str, Any], *, named: bool) -> None:
    """The image with masks and boxes, and with names and scores if `named`."""
    pixels = reduced(np.asarray(image)) / 255
    for thing in found:
        if (mask := thing.mask) is not None:
            shown = reduced(mask)
            pixels[shown] = (1 - MASK_SHARE) * pixels[shown] + MASK_SHARE * np.array(colours[thing.name])
    axes.imshow(pixels, extent=(-0.5, image.width - 0.5, image.height - 0.5, -0.5))
    axes.axis("off")
    for thing in found:
        x, y, width, height = thing.box
        axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colours[thing.name], linewidth=1))
        if named:
            text = thing.name if thing.score is None else f"{thing.name} {thing.score:.2f}"
            box = {"facecolor": colours[thing.name], "edgecolor": "none", "pad": 1}
            axes.text(x, y, text, fontsize=6.5, color="white", verticalalignment="bottom", bbox=box, clip_on=True)


def legend(figure: Figure, colours: dict[str, Any]) -> None:
    """The names below the figure, the first few if they are many."""
    handles = [Patch(color=colour, label=name) for name, colour in list(colours.items())[:MOST_NAMES]]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=7.5, handlelength=1)
