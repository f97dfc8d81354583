"""Measures of robustness to corruptions: those of ImageNet-C (Hendrycks and Dietterich 2019, arXiv 1903.12261)."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from resnest_core.analyses.corruptions import CORRUPTIONS
from resnest_core.analyses.predictions import share
from resnest_core.errors import InputError
from resnest_core.evaluation.average_precision import limits, resamples
from resnest_core.evaluation.results import Metric, metric
from resnest_core.models.variants import CLASSIFIERS
from resnest_core.statistics import PERMUTATIONS, holm

CLEAN = "none"  # in place of a corruption, at severity 0
DRAWS = 1000  # of images with replacement
SWAPS = 500  # permutations at once
UNITS = {"loss": "points"}  # the other measures are in %
Floats = NDArray[np.float64]


def counterparts(models: Mapping[str, str]) -> dict[str, str]:
    """For each run with split attention the first one without it that has as many layers, where there is one.

    `models` tells the network of each run.
    """
    rows = {run: CLASSIFIERS[model] for run, model in models.items()}
    plain = [(run, row.layers) for run, row in rows.items() if not row.radix]
    pairs = {run: [other for other, layers in plain if layers == row.layers] for run, row in rows.items() if row.radix}
    return {run: others[0] for run, others in pairs.items() if others}


def metrics(records: pd.DataFrame, baseline: str, pairs: Mapping[str, str]) -> dict[str, Metric]:
    """Accuracy (%) of each run, corruption and severity, and the measures of `scores` with bootstrap intervals.

    The intervals are bias-corrected percentiles over images, the same ones drawn for all runs. For the runs in `pairs`
    differences from their counterparts follow, with p of a permutation test and Holm's correction for the pairs.

    Raises InputError for no records, and a baseline without an error under some corruption.
    """
    if records.empty:
        raise InputError("there is no record of a corrupted image; evaluate one or more")
    found: dict[str, Metric] = {}
    groups = records.groupby(["run", "corruption", "severity"], observed=True)["correct"]
    for (run, corruption, severity), right in groups:
        place = "clean" if corruption == CLEAN else f"{corruption}-{severity}"
        found[f"{run}.{place}.top1"] = share(right.to_numpy())
    names, errors = image_errors(records)
    number, n = names.index(baseline), len(errors)
    if not errors[:, number, 1:].any(axis=0).all():
        raise InputError(f"baseline '{baseline}' makes no error under some corruption; give another, or more images")
    values = scores(errors.mean(axis=0), number)
    means = np.stack([np.tensordot(weights, errors, 1) / n for weights in resamples(n, DRAWS)])
    drawn = scores(means, number)
    for name, (i, run) in product(values, enumerate(names)):
        if np.isfinite(values[name][i]):
            found[f"{run}.{name}"] = _drawn_metric(values[name][i], drawn[name][:, i], UNITS.get(name, "%"), n)
    for name, contributions in image_scores(errors, number).items():
        columns = {run: (names.index(run), names.index(other)) for run, other in pairs.items()}
        p_values = holm([_swapped_p(contributions[:, a] - contributions[:, b]) for a, b in columns.values()])
        for (run, (a, b)), p in zip(columns.items(), p_values, strict=True):
            value, draws = values[name][a] - values[name][b], drawn[name][:, a] - drawn[name][:, b]
            found[f"{run}.{name}_difference"] = _drawn_metric(value, draws, "points", n)
            found[f"{run}.{name}_p"] = metric(p, "1")
    return found


def image_errors(records: pd.DataFrame) -> tuple[list[str], Floats]:
    """The runs, and their errors on each image (n, runs, 1 + corruptions): clean, then means over severities."""
    wrong = (~records["correct"]).astype(np.float64)
    means = wrong.groupby([records[name] for name in ("index", "run", "corruption")], observed=True).mean()
    table = means.unstack(["run", "corruption"])
    names = list(dict.fromkeys(map(str, records["run"])))
    order = pd.MultiIndex.from_product([names, [CLEAN, *CORRUPTIONS]])
    return names, table[order].to_numpy().reshape(len(table), len(names), -1)


def scores(means: Floats, baseline: int) -> dict[str, Floats]:
    """Measures (..., runs) from errors (..., runs, 1 + corruptions), the first of which is clean; see `image_errors`.

    `CORRUPTION.ce` is the corruption error (%), that of the run over that of the `baseline`; `mce` the mean over
    corruptions; `relative_mce` the same of how much the error rises above the clean one, NaN where that of the baseline
    does not rise under every corruption; `loss` the accuracy (points) that a run loses in the mean.
    """
    clean, bad = means[..., :1], means[..., 1:]
    rise = bad - clean
    ours, theirs = rise, rise[..., [baseline], :]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = 100 * bad / bad[..., [baseline], :]
        relative = np.where((theirs > 0).all(axis=-1), (100 * ours / theirs).mean(axis=-1), np.nan)
    by_corruption = {f"{name}.ce": error[..., i] for i, name in enumerate(CORRUPTIONS)}
    return {**by_corruption, "mce": error.mean(axis=-1), "relative_mce": relative, "loss": 100 * rise.mean(axis=-1)}


def image_scores(errors: Floats, baseline: int) -> dict[str, Floats]:
    """What each image contributes (n, runs) to `mce` and to `loss`, which are the means of these over the images."""
    weights = 1 / errors[:, baseline, 1:].mean(axis=0)
    rise = errors[..., 1:] - errors[..., :1]
    return {"mce": 100 * (errors[..., 1:] * weights).mean(axis=-1), "loss": 100 * rise.mean(axis=-1)}


def _drawn_metric(value: float, drawn: Floats, unit: str, n: int) -> Metric:
    """With an interval where the measure is defined in all draws."""
    low, high = limits(value, drawn) if np.isfinite(drawn).all() else (None, None)
    return metric(float(value), unit, low=low, high=high, n=n)


def _swapped_p(differences: Floats) -> float:
    """Two-sided p of no mean difference of two networks on n images (n,), which they swap at random."""
    if len(differences) < 2:  # one image can only change places with itself
        return 1.0
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",  # of one sample: random signs
        n_resamples=PERMUTATIONS,
        batch=SWAPS,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)
