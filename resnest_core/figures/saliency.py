"""Pictures of where networks look: heat over images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resnest_core.plots import COLOURS, PAGE, styled

SIDE = 0.54  # inches
OPACITY = 0.75  # of the greatest heat
LONGEST = 14  # letters of a name


@dataclass(frozen=True)
class Look:
    """What a run takes an image for, and its heat (H, W), 0 to 1; that of the true class too where that is another."""

    run: str
    predicted: str
    heat: NDArray[np.float64]
    true_heat: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Case:
    """An image (H, W, 3) uint8 of a class, and how runs look at it."""

    image: NDArray[np.uint8]
    truth: str
    looks: Sequence[Look]


@styled
def cases(found: Sequence[Case], labels: Mapping[str, str] | None = None) -> Figure:
    """A column an image: below its true class the image, and for each run its heat above the class it predicts.

    A wrong class is coloured, and a line surrounds where the heat of the true one is above half of its greatest.
    `labels` are names of runs to show.
    """
    runs = [look.run for look in found[0].looks] if found else []
    rows, columns = 1 + len(runs), max(len(found), 1)
    figure, axes = plt.subplots(rows, columns, figsize=(PAGE, (SIDE + 0.18) * rows + 0.1), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for column, case in zip(axes.T, found, strict=False):
        column[0].imshow(case.image)
        column[0].set_title(_short(case.truth), fontsize=7, pad=2)
        for axis, look in zip(column[1:], case.looks, strict=True):
            _draw(axis, case, look)
    for axis, name in zip(axes[:, 0], ["image", *runs], strict=True):
        axis.set_ylabel((labels or {}).get(name, name), fontsize=7)
    return figure


def _draw(axes: Axes, case: Case, look: Look) -> None:
    axes.imshow(case.image)
    axes.imshow(look.heat, cmap="autumn", vmin=0, vmax=1, alpha=OPACITY * look.heat)
    if look.true_heat is not None and look.true_heat.any():
        axes.contour(look.true_heat, levels=[0.5], colors=[COLOURS[9]], linewidths=1.1)
    colour = "black" if look.true_heat is None else COLOURS[3]
    axes.set_xlabel(_short(look.predicted), fontsize=7, labelpad=1.5, color=colour)


def _short(name: str) -> str:
    """The first of a class's names, or its beginning."""
    first = name.split(",")[0]
    return first if len(first) <= LONGEST else f"{first[: LONGEST - 1]}…"
