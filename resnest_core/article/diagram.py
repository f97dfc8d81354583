"""The drawing of the block: data flow of a bottleneck with split attention, in the radix-major layout of the code."""

import itertools
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from resnest_core.plots import COLOURS, PAGE, styled

Point = tuple[float, float]
SPLITS = (COLOURS[0], COLOURS[1])  # r = 1, 2
INK = "0.15"
CAPTION = """The block of ResNeSt as it is computed here. (a) The bottleneck; $\\mathcal{T}$ is the shortcut. (b) Its
split attention in the radix-major layout: the channels of the grouped convolution are ordered by split $r$ first and by
cardinal group $k$ second, so that one reshape separates the splits. Colours tell the splits apart; shapes stand beside
the arrows.""".replace("\n", " ")
SLAB = 0.36  # height of the channels of one cardinal group of one split


@styled
def block() -> Figure:
    """(a) the bottleneck, (b) its split attention with two splits of two cardinal groups, as `models` computes it."""
    figure, axes = plt.subplots(figsize=(PAGE, 2.7))
    axes.set(xlim=(0, 13.2), ylim=(0.0, 5.35), aspect="equal")
    axes.axis("off")
    _bottleneck(axes)
    _features(axes)
    _attention(axes)
    _output(axes)
    return figure


def _bottleneck(axes: Axes) -> None:
    axes.text(0.0, 5.15, "(a) bottleneck", weight="bold", va="center")
    x = 1.4
    steps = [(3.75, "1×1 conv, BN, ReLU"), (2.75, "split attention"), (1.75, "1×1 conv, BN")]
    for y, label in steps:
        _box(axes, (x, y), 2.15, 0.52, label, fill="#fbe9c6" if "split" in label else "white")
    _arrow(axes, (x, 4.75), (x, 4.03))
    axes.text(x + 0.1, 4.62, "$X_{\\mathrm{in}}$", va="center", ha="left")
    for (upper, _), (lower, _) in itertools.pairwise(steps):
        _arrow(axes, (x, upper - 0.28), (x, lower + 0.28))
    _operator(axes, (x, 0.95), "+")
    _arrow(axes, (x, 1.47), (x, 1.15))
    _arrow(axes, (x, 0.75), (x, 0.12))
    axes.text(x + 0.12, 0.38, "ReLU, $Y$", va="center", ha="left")
    axes.plot([x, 0.12, 0.12], [4.42, 4.42, 0.95], color=INK, linewidth=0.8, solid_joinstyle="miter")
    _arrow(axes, (0.12, 0.95), (x - 0.2, 0.95))
    axes.text(0.2, 1.16, "$\\mathcal{T}$", va="center", ha="left")
    axes.plot([2.85, 2.85], [0.1, 5.2], color="0.75", linewidth=0.6, linestyle=":")


def _features(axes: Axes) -> None:
    """Input, grouped convolution, and the stack of splits with its shapes."""
    axes.text(3.15, 5.15, "(b) split attention, drawn for $R=2$, $K=2$", weight="bold", va="center")
    _stack(axes, 3.54, 3.7, [("0.85", "")] * 4, 0.16)
    axes.text(3.72, 4.2, "$X$", ha="center", va="center")
    axes.text(3.72, 3.2, "$C{\\times}H{\\times}W$", ha="center", va="center")
    _box(axes, (5.05, 3.7), 1.35, 0.95, "3×3 conv in\n$KR$ groups,\nBN, ReLU")
    _arrow(axes, (3.9, 3.7), (4.35, 3.7))
    labels = [(SPLITS[r], f"$U_{{{r + 1},{k + 1}}}$") for r in range(2) for k in range(2)]
    _stack(axes, 6.35, 3.7, labels, SLAB, width=0.62)
    _arrow(axes, (5.75, 3.7), (6.3, 3.7))
    for r, y in ((1, 3.7 + SLAB), (2, 3.7 - SLAB)):
        axes.text(7.05, y, f"$r={r}$", va="center", ha="left", color=SPLITS[r - 1], fontsize=7.5)
    axes.text(6.66, 4.62, "$RC{\\times}H{\\times}W$", ha="center", va="center")


def _attention(axes: Axes) -> None:
    """The branch that computes the weights, from left to right below the features."""
    y = 1.05
    _operator(axes, (6.66, 2.2), "$\\Sigma_r$", radius=0.26)
    _arrow(axes, (6.66, 2.93), (6.66, 2.48))
    _box(axes, (6.66, y), 1.4, 0.74, "global\naverage pool")
    _arrow(axes, (6.66, 1.92), (6.66, 1.44))
    axes.text(6.76, 1.68, "$C{\\times}H{\\times}W$", ha="left", va="center", fontsize=7.5)
    _box(axes, (8.5, y), 1.4, 0.95, "1×1 conv in\n$K$ groups,\nBN, ReLU")
    _arrow(axes, (7.38, y), (7.8, y), "$s$: $C$")
    _box(axes, (10.37, y), 1.3, 0.74, "1×1 conv in\n$K$ groups")
    _arrow(axes, (9.22, y), (9.7, y), "$z$: $d$")
    _box(axes, (12.25, y), 1.5, 0.74, "r-softmax\n(over splits)")
    _arrow(axes, (11.0, y), (11.47, y), "$RC$")


def _output(axes: Axes) -> None:
    """The weighted sum of the splits."""
    weights = [(SPLITS[r], f"$a_{{{r + 1},{k + 1}}}$") for r in range(2) for k in range(2)]
    _arrow(axes, (12.25, 1.44), (12.25, 2.0))
    axes.text(12.36, 1.72, "$a$: $R{\\times}C$", ha="left", va="center", fontsize=7.5)
    _strip(axes, (12.25, 2.16), weights)
    _operator(axes, (9.3, 3.7), "$\\times$")
    _arrow(axes, (7.55, 3.7), (9.08, 3.7))
    axes.plot([12.25, 12.25, 9.3], [2.34, 2.75, 2.75], color=INK, linewidth=0.8)
    _arrow(axes, (9.3, 2.75), (9.3, 3.48))
    _operator(axes, (10.55, 3.7), "$\\Sigma_r$", radius=0.26)
    _arrow(axes, (9.5, 3.7), (10.27, 3.7))
    _stack(axes, 11.75, 3.7, [("#b9a9d6", "$V_1$"), ("#d6c9ec", "$V_2$")], SLAB, width=0.62)
    _arrow(axes, (10.83, 3.7), (11.7, 3.7))
    axes.text(12.06, 4.26, "$V$: $C{\\times}H{\\times}W$", ha="center", va="center")


def _stack(axes: Axes, x: float, y: float, slabs: list[tuple[Any, str]], height: float, width: float = 0.36) -> None:
    """Channels as slabs from the top, centred on height `y`, the left edge at `x`."""
    top = y + height * len(slabs) / 2
    for number, (colour, label) in enumerate(slabs):
        bottom = top - (number + 1) * height
        axes.add_patch(Rectangle((x, bottom), width, height, facecolor=colour, edgecolor="white", linewidth=0.9))
        axes.text(
            x + width / 2, bottom + height / 2, label, ha="center", va="center", color=INK if _light(colour) else "w"
        )


def _strip(axes: Axes, centre: Point, weights: list[tuple[Any, str]]) -> None:
    width, height = 0.44, 0.34
    left = centre[0] - width * len(weights) / 2
    for number, (colour, label) in enumerate(weights):
        corner = (left + number * width, centre[1] - height / 2)
        axes.add_patch(Rectangle(corner, width, height, facecolor=colour, edgecolor="white", linewidth=0.9))
        axes.text(corner[0] + width / 2, centre[1], label, ha="center", va="center", color="w", fontsize=7)


def _box(axes: Axes, centre: Point, width: float, height: float, label: str, fill: str = "white") -> None:
    corner = (centre[0] - width / 2, centre[1] - height / 2)
    patch = FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.08", linewidth=0.8)
    patch.set(facecolor=fill, edgecolor=INK)
    axes.add_patch(patch)
    axes.text(*centre, label, ha="center", va="center", linespacing=1.05, fontsize=8)


def _operator(axes: Axes, centre: Point, label: str, radius: float = 0.2) -> None:
    axes.add_patch(Circle(centre, radius, facecolor="white", edgecolor=INK, linewidth=0.8))
    axes.text(centre[0], centre[1] - 0.01, label, ha="center", va="center", fontsize=8.5)


def _arrow(axes: Axes, start: Point, end: Point, label: str = "") -> None:
    line: dict[str, Any] = {"linewidth": 0.8, "color": INK, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=6, **line))
    if label:
        axes.text((start[0] + end[0]) / 2, start[1] + 0.2, label, ha="center", va="center", fontsize=7.5)


def _light(colour: Any) -> bool:
    return isinstance(colour, str)
