"""Scores of heat maps, from one row an image and run, as `saliency` records them."""

import pandas as pd
from scipy import stats

from resnest_core.errors import InputError
from resnest_core.evaluation.results import Metric, metric
from resnest_core.statistics import CONFIDENCE, mean_interval

UNITS = {
    "fall_marked": "points",
    "fall_random": "points",
    "excess_fall": "points",
    "hot_area": "%",
    "on_object": "%",
    "object_area": "%",
    "object_excess": "points",
}
COMPARED = ("excess_fall", "object_excess", "hot_area")


def saliency_metrics(records: pd.DataFrame) -> dict[str, Metric]:
    """Means over images with t intervals: RUN.SCORE, and of the first run FIRST.SCORE_RUN against each other one.

    `excess_fall` is how much more probability the predicted class loses by the marked pixels than by others,
    `object_excess` the heat on the object beyond the object's share of the area. SCORE_less_RUN are paired
    differences, and `_p_` the p of their t test, without correction; `agreement_` are rank correlations of two runs'
    maps. What has no observation is left out. Raises InputError if there is no record at all.
    """
    if records.empty:
        raise InputError("there is no record of a heat map; look at one image or more")
    tables = {str(name): rows.set_index("index") for name, rows in records.groupby("run", sort=False)}
    found: dict[str, Metric | None] = {}
    for name, rows in tables.items():
        found |= {f"{name}.{score}": value for score, value in _own(rows).items()}
    (first, rows), *others = tables.items()
    for name, other in others:
        found |= {f"{first}.{score}_{name}": value for score, value in _against(rows, other).items()}
    return {name: value for name, value in found.items() if value is not None}


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """What is averaged over images, a column each, in percent or points of percentage."""
    columns = {
        "fall_marked": rows["before"] - rows["after_marked"],
        "fall_random": rows["before"] - rows["after_random"],
        "excess_fall": rows["after_random"] - rows["after_marked"],
        "hot_area": rows["hot"],
        "on_object": rows["on_object"],
        "object_area": rows["object"],
        "object_excess": rows["on_object"] - rows["object"],
    }
    return 100 * pd.DataFrame(columns)


def _own(rows: pd.DataFrame) -> dict[str, Metric | None]:
    """Scores of one run, and how many of its maps are empty."""
    found = {str(name): _mean(values, UNITS[str(name)]) for name, values in scores(rows).items()}
    empty = metric(int((rows["hot"] == 0).sum()), "1", n=len(rows))
    return {**found, "true_class_agreement": _mean(rows["correlation_true"], "1"), "empty_maps": empty}


def _against(rows: pd.DataFrame, other: pd.DataFrame) -> dict[str, Metric | None]:
    """Paired differences with the p of t, and how heat goes together: where both are right, and where one errs.

    What is common to all images, such as things in their middle, is seen in `agreement_other`, of different images.
    """
    less = scores(rows) - scores(other)
    both, found = rows["correct"] & other["correct"], other["correlation"]
    return {
        **{f"{name}_less": _mean(less[name], "points") for name in COMPARED},
        **{f"{name}_less_p": _p(less[name]) for name in COMPARED},
        "agreement_right": _mean(found[both], "1"),
        "agreement_wrong": _mean(found[~both], "1"),
        "agreement_gap": _gap(found[both], found[~both]),
        "agreement_other": _mean(other["correlation_other"], "1"),
        "agreement_excess": _mean(found - other["correlation_other"], "1"),
    }


def _mean(values: pd.Series, unit: str) -> Metric | None:
    """The mean of those that are known, with its t interval; None if none is."""
    known = values.dropna()
    if known.empty:
        return None
    found = mean_interval(known.to_numpy())
    return metric(found.value, unit, low=found.low, high=found.high, n=found.n)


def _gap(a: pd.Series, b: pd.Series) -> Metric | None:
    """Mean of a less that of b, of other images, with Welch's t interval; None if one has fewer than two."""
    a, b = a.dropna(), b.dropna()
    if min(len(a), len(b)) < 2:
        return None
    limits = stats.ttest_ind(a, b, equal_var=False).confidence_interval(CONFIDENCE)
    return metric(float(a.mean() - b.mean()), "1", low=float(limits.low), high=float(limits.high), n=len(a) + len(b))


def _p(differences: pd.Series) -> Metric | None:
    """Two-sided p of a t test of paired differences; None where it is undefined."""
    known = differences.dropna()
    if len(known) < 2 or known.nunique() < 2:
        return None
    return metric(float(stats.ttest_1samp(known, 0.0).pvalue), "1", n=len(known))
