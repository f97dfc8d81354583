"""Figures: what they show, and that they leave the caller's matplotlib alone."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from resnest_core import plots
from resnest_core.errors import InputError
from resnest_core.evaluation.results import metric, metrics_table


class Squares:
    """Ten grey images, each as bright as its number."""

    classes = ("cat", "dog")

    def load(self, index: int) -> Image.Image:
        return Image.new("RGB", (4, 4), (index, index, index))


HISTORY = pd.DataFrame(
    {"epoch": [0.5, 1.0], "train_loss": [2.0, 1.0], "test_loss": [1.9, 0.9], "test_top1": [40.0, 70.0]}
)
RECORDS = pd.DataFrame(
    {
        "index": range(10),
        "target": [0, 1] * 5,
        "predicted": [0, 0] * 5,
        "correct": [True, False] * 5,
        "loss": np.linspace(0.1, 1.0, 10),
    }
)


def lines(figure: Figure) -> list[list[float]]:
    return [list(line.get_ydata()) for axes in figure.axes for line in axes.lines]


def test_curves_show_losses_and_accuracy() -> None:
    assert lines(plots.curves(HISTORY)) == [[2.0, 1.0], [1.9, 0.9], [40.0, 70.0]]


def test_curves_of_detectors_show_the_parts_of_the_loss() -> None:
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [3.0, 2.0], "loss_mask": [1.0, 0.5], "loss_box": [2.0, 1.5]})
    figure = plots.curves(history)
    assert lines(figure) == [[3.0, 2.0], [1.0, 0.5], [2.0, 1.5]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mask", "box"]


def test_bars_have_their_values_and_limits() -> None:
    scores = {"a": [("cat", 10.0, 8.0, 13.0), ("dog", 5.0, None, None)], "b": [("dog", 7.0, 7.0, 9.0)]}
    (axes,) = plots.bars(scores, "AP").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert [[bar.get_width() for bar in group] for group in axes.containers if hasattr(group, "patches")] == [
        [10.0, 5.0],
        [7.0],
    ]
    assert axes.get_legend() is not None
    assert plots.bars({"a": scores["a"]}, "AP").axes[0].get_legend() is None


def test_tables_of_metrics_are_for_reading() -> None:
    result = {"metrics": {"AP": metric(12.3456789, "%", low=None, high=13.0), "parameters": metric(446116, "1")}}
    table = metrics_table(result)
    assert table.loc["AP"].tolist() == ["12.3457", "", "13", "", "%"]
    assert table.loc["parameters", "value"] == "446,116"


def test_mistakes_are_the_worst_first() -> None:
    figure = plots.mistakes(Squares(), RECORDS, count=3)
    shown = [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes if axes.images]
    assert shown == [9, 7, 5]
    assert figure.axes[0].get_title() == "dog,\nnot cat"


def test_no_mistake_is_said() -> None:
    figure = plots.mistakes(Squares(), RECORDS[RECORDS.correct])
    assert [text.get_text() for text in figure.axes[0].texts] == ["no image was misclassified"]


def test_a_count_of_none_is_refused() -> None:
    with pytest.raises(InputError, match="count is 0; it must be 1 or more"):
        plots.mistakes(Squares(), RECORDS, count=0)


def test_intervals_stand_at_their_positions() -> None:
    series = {"A": [("11", 80.0, 79.0, 82.0), ("14", 81.0, None, None)], "B": [("14", 70.0, 69.0, 71.0)]}
    (axes,) = plots.intervals(series, xlabel="x", ylabel="y").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["11", "14"]
    bars = [container.lines[2][0].get_segments() for container in axes.containers]
    assert [[list(segment[:, 1]) for segment in group] for group in bars] == [
        [[79.0, 82.0], [81.0, 81.0]],
        [[69.0, 71.0]],
    ]


def test_drawing_changes_no_setting_and_leaves_no_figure_open() -> None:
    before = dict(matplotlib.rcParams)
    plots.curves(HISTORY)
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        plots.save(plots.curves(HISTORY), tmp_path / f"{name}.svg")
    first, second = ((tmp_path / f"{name}.svg").read_bytes() for name in ("a", "b"))
    assert first == second
    assert b"<dc:date>" not in first
