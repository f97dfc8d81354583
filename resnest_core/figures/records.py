"""Figures of one experiment's records, for its notebook; the article's figures, of many experiments, are in `plots`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from resnest_core.plots import COLOURS, COLUMN, PAGE, distances, styled
from resnest_core.statistics import wilson

MOST_CLASSES = 20


@styled
def confusion(records: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Images of each class (row) by the class they were taken for: the 20 classes with the most mistakes at most."""
    mistakes = records.loc[~records["correct"], "target"].value_counts()
    shown = sorted(mistakes.index[:MOST_CLASSES])
    table = pd.crosstab(records["target"], records["predicted"]).reindex(index=shown, columns=shown, fill_value=0)
    names = [classes[i] for i in shown]
    figure, axes = plt.subplots(figsize=(PAGE * 0.8, 0.33 * len(shown) + 1))
    if shown:
        sns.heatmap(table, annot=True, fmt="d", cmap="Blues", cbar=False, ax=axes, xticklabels=names, yticklabels=names)
    axes.set(xlabel="predicted", ylabel="true", title="Images by true and predicted class")
    axes.tick_params(axis="x", rotation=40)
    axes.tick_params(axis="y", rotation=0)
    return figure


@styled
def class_accuracy(records: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Top-1 accuracy of each class with its 95 % Wilson interval, lowest first, 20 classes at most."""
    right = np.bincount(records["target"], records["correct"], minlength=len(classes)).astype(int)
    total = np.bincount(records["target"], minlength=len(classes))
    scores = [(classes[i], wilson(int(right[i]), int(total[i]))) for i in np.flatnonzero(total).tolist()]
    scores = sorted(scores, key=lambda score: score[1].value)[:MOST_CLASSES]
    values = np.array([[score.value, score.low, score.high] for _, score in scores])
    figure, axes = plt.subplots(figsize=(COLUMN, 0.22 * len(scores) + 0.7))
    axes.errorbar(values[:, 0], range(len(scores)), xerr=distances(*values.T), fmt="o", color=COLOURS[0], capsize=2)
    axes.set(yticks=range(len(scores)), yticklabels=[name for name, _ in scores], xlabel="top-1 accuracy (%)")
    axes.invert_yaxis()
    return figure


@styled
def margins(records: pd.DataFrame) -> Figure:
    """How many predictions have a margin, the difference of their two best logits, below each value."""
    logits = np.sort(np.stack(records["logits"].to_list()), axis=1)
    margin = np.sort(logits[:, -1] - logits[:, -2])
    figure, axes = plt.subplots(figsize=(COLUMN, 2.2))
    axes.step(margin, np.arange(1, len(margin) + 1), where="post")
    axes.set(xscale="log", yscale="log", xlabel="margin between the two best logits", ylabel="predictions below it")
    return figure


@styled
def relative_speed(passes: pd.DataFrame) -> Figure:
    """Time of each pass of `measure_speed` over that of the first network in the same round, by batch size."""
    first = passes["network"].iloc[0]
    reference = passes[passes["network"] == first].set_index(["batch_size", "round"])["seconds"]
    keys = pd.MultiIndex.from_frame(passes[["batch_size", "round"]])
    table = passes.assign(relative=passes["seconds"] / reference.reindex(keys).to_numpy())
    networks = list(dict.fromkeys(passes["network"]))
    figure, axes = plt.subplots(figsize=(PAGE * 0.7, 0.24 * len(networks) + 0.9))
    for number, (size, rows) in enumerate(table.groupby("batch_size")):
        heights = [networks.index(name) + 0.25 * number for name in rows["network"]]
        axes.plot(rows["relative"], heights, "o", mfc="none", color=COLOURS[number], label=f"batch {size}")
    axes.set(yticks=range(len(networks)), yticklabels=networks, xlabel=f"time of a pass relative to {first}")
    axes.invert_yaxis()
    axes.legend()
    return figure
