"""Figures of calibration: how far accuracy is from confidence, before and after temperature scaling."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnest_core.analyses import calibration
from resnest_core.analyses.calibration import SCALED
from resnest_core.plots import COLOURS, PAGE, distances, styled

Value = tuple[float, float | None, float | None]  # with its limits
TITLES = ("as they are", "after temperature scaling")


@styled
def reliability(
    curves: Mapping[str, Sequence[pd.DataFrame]], errors: Mapping[str, Sequence[Value]], *, xlabel: str
) -> Figure:
    """A reliability diagram, accuracy less confidence, of both states, a colour a network, and the error in both.

    `curves` have columns `confidence` and `accuracy`, 0 to 1; the networks' names are those of the panel of errors.
    """
    height = max(2.1, 0.17 * len(errors) + 0.5)
    figure, panels = plt.subplots(1, 3, figsize=(PAGE, height), width_ratios=[1, 1, 1.1])
    panels[1].sharey(panels[0])
    panels[1].tick_params(labelleft=False)
    for state, (axes, title) in enumerate(zip(panels[:2], TITLES, strict=True)):
        axes.axhline(0, color="0.4", linestyle=":", linewidth=0.9)
        for number, tables in enumerate(curves.values()):
            _curve(axes, tables[state], number)
        axes.set(title=title, xlabel="confidence (%)", xlim=(0, 100), xticks=range(0, 101, 25))
    panels[0].set_ylabel("accuracy less confidence (points)")
    for number, values in enumerate(errors.values()):
        _errors(panels[2], values, number)
    panels[2].set(yticks=range(len(errors)), yticklabels=list(errors), xlabel=xlabel)
    panels[2].set_xlim(left=0)
    panels[2].invert_yaxis()
    return figure


def of_result(result: Mapping[str, Any], records: pd.DataFrame) -> Figure:
    """The same for what `calibrate` returned and stored, with runs by their names."""
    bins, metrics = int(result["parameters"]["bins"]), result["metrics"]
    states = {
        name: [rows[rows["scaled"] == state] for state in SCALED] for name, rows in records.groupby("run", sort=False)
    }
    curves = {str(name): [calibration.reliability(table, bins) for table in tables] for name, tables in states.items()}
    errors = {name: [_value(metrics[f"{name}.{state}ece"]) for state in SCALED.values()] for name in curves}
    return reliability(curves, errors, xlabel="ECE (%)")


def _value(entry: Mapping[str, Any]) -> Value:
    return entry["value"], entry["low"], entry["high"]


def _curve(axes: Axes, table: pd.DataFrame, number: int) -> None:
    colour, gap = COLOURS[number % len(COLOURS)], table["accuracy"] - table["confidence"]
    axes.plot(100 * table["confidence"], 100 * gap, "o-", color=colour, markersize=2, linewidth=0.8)


def _errors(axes: Axes, values: Sequence[Value], number: int) -> None:
    """Filled as it is, open after scaling."""
    for (value, low, high), face in zip(values, (None, "white"), strict=True):
        spread = distances(value, value if low is None else low, value if high is None else high)
        look = {"color": COLOURS[number % len(COLOURS)], "markerfacecolor": face, "markersize": 3.5, "capsize": 2}
        axes.errorbar([value], [number], xerr=spread, fmt="o", linewidth=0.9, **look)
