"""Figures of the analysis of attention: what the weights of the splits are like, and what depends on them."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnest_core.plots import COLOURS, MARKERS, PAGE, distances, styled

Score = tuple[float, float | None, float | None]  # value and limits
PARTS = {"constant": COLOURS[7], "class": COLOURS[9], "image": COLOURS[4]}
INTERVENTIONS = {"mean": "mean", "shuffled": "other image's", "uniform": "equal", "rolled": "rolled"}
ABOVE: Any = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.98), "handlelength": 1, "columnspacing": 0.9}
ABOVE |= {"borderaxespad": 0, "handletextpad": 0.4, "fontsize": 7.5}


def scores_of(result: Mapping[str, Any], run: str) -> dict[str, Score]:
    """The scores of one run in a result of `analyse_attention`, by STAGE.NAME."""
    own = {name.removeprefix(f"{run}."): entry for name, entry in result["metrics"].items()}
    return {name: (entry["value"], entry["low"], entry["high"]) for name, entry in own.items()}


@styled
def overview(scores: Mapping[str, Score], stages: Sequence[str]) -> Figure:
    """Three panels: quantiles of the weights by stage, shares of their variation, points of accuracy that changes cost.

    `scores` has STAGE.NAME for each of the `stages`, and for "all": p5 to p95 and entropy; constant, class and image;
    and the loss of each intervention.
    """
    widths = {"width_ratios": [1, 1, 1.9]}
    figure, (weights, variation, losses) = plt.subplots(1, 3, figsize=(PAGE, 2.2), gridspec_kw=widths)
    _draw_weights(weights, scores, stages)
    _draw_variation(variation, scores, ["all", *stages])
    _draw_losses(losses, scores, ["all", *stages])
    return figure


def _draw_weights(axes: Axes, scores: Mapping[str, Score], stages: Sequence[str]) -> None:
    names = {"whislo": "p5", "q1": "p25", "med": "p50", "q3": "p75", "whishi": "p95"}
    boxes = [{key: scores[f"{stage}.{name}"][0] for key, name in names.items()} for stage in stages]
    lines: Any = {f"{part}props": {"linewidth": 0.9} for part in ("box", "whisker", "cap")}
    lines["medianprops"] = {"color": COLOURS[3], "linewidth": 1.2}
    axes.bxp(boxes, positions=range(len(stages)), showfliers=False, widths=0.5, **lines)
    labels = [f"{_short(stage)}\n{scores[f'{stage}.entropy'][0]:.2f}" for stage in stages]
    axes.set(xticks=range(len(stages)), xticklabels=labels, xlabel="stage and entropy", ylabel="weight", ylim=(0, 1))


def _draw_variation(axes: Axes, scores: Mapping[str, Score], places: Sequence[str]) -> None:
    below = np.zeros(len(places))
    for part, colour in PARTS.items():
        heights = np.array([scores[f"{place}.{part}"][0] for place in places])
        axes.bar(range(len(places)), heights, 0.7, bottom=below, color=colour, label=part)
        below += heights
    _places(axes, places)
    axes.set(ylabel="of the variation (%)")
    axes.legend(ncols=3, **ABOVE)


def _draw_losses(axes: Axes, scores: Mapping[str, Score], places: Sequence[str]) -> None:
    shown = {name: label for name, label in INTERVENTIONS.items() if f"all.{name}.loss" in scores}
    for number, (name, label) in enumerate(shown.items()):
        values = np.array([scores[f"{place}.{name}.loss"] for place in places], float)
        x = np.arange(len(places)) + 0.17 * (number - (len(shown) - 1) / 2)
        look: Any = {"fmt": MARKERS[number], "color": COLOURS[number], "capsize": 2, "linewidth": 0.9}
        axes.errorbar(x, values[:, 0], yerr=distances(*values.T), label=label, **look)
    axes.axhline(0, color="0.4", linewidth=0.7)
    _places(axes, places)
    axes.set(ylabel="accuracy lost (points)")
    axes.legend(ncols=4, **ABOVE)


def _places(axes: Axes, places: Sequence[str]) -> None:
    axes.set(xticks=range(len(places)), xticklabels=[_short(place) for place in places], xlabel="stage")
    axes.grid(axis="x", visible=False)


def _short(place: str) -> str:
    return place.removeprefix("stage")
