"""Whether the probabilities of classifiers are true, from their stored logits, and what one temperature mends.

The expected calibration error (ECE) is the mean distance of confidence from accuracy over bins of the confidence, which
are equally wide (Naeini et al. 2015) or hold equally many images (adaptive: Nguyen and O'Connor 2015). Temperature
scaling is that of Guo et al. (2017, arXiv:1706.04599).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from scipy.special import log_softmax

from resnest_core.errors import InputError
from resnest_core.evaluation.average_precision import resamples
from resnest_core.evaluation.results import RECORDS, Metric, metric, write_result
from resnest_core.experiments.finished import Finished, described
from resnest_core.files import output_directory, replacing
from resnest_core.outputs import claims
from resnest_core.provenance import Stopwatch
from resnest_core.ranges import check
from resnest_core.statistics import CONFIDENCE

BINS, DRAWS, TRIALS = 15, 2000, 1000
LEAST_SHARE = 0.01  # of the images, in a bin that is shown
TEMPERATURES = (0.05, 20.0)
UNITS = {"ece": "%", "ece_adaptive": "%", "log_loss": "nats", "brier": "1", "overconfidence": "points"}
SCALED = {False: "", True: "scaled_"}  # what the names of metrics begin with

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def image_scores(logits: ArrayLike, targets: ArrayLike, temperature: ArrayLike = 1.0) -> pd.DataFrame:
    """One row for each of N images: correct, confidence, log_loss (nats) and brier (0 to 2).

    `logits` (N, classes), `targets` (N,) and `temperature`, one for all or (N,). Confidence is the probability of the
    predicted class, the Brier score the squared distance of the probabilities from the truth, summed over classes.
    """
    z, y = np.asarray(logits, np.float64), np.asarray(targets)
    log_p = log_softmax(z / np.reshape(temperature, (-1, 1)), axis=1)
    loss, p = -log_p[np.arange(len(y)), y], np.exp(log_p)
    brier = (p**2).sum(axis=1) - 2 * np.exp(-loss) + 1
    return pd.DataFrame(
        {"correct": z.argmax(axis=1) == y, "confidence": p.max(axis=1), "log_loss": loss, "brier": brier}
    )


def fit_temperature(logits: ArrayLike, targets: ArrayLike) -> float:
    """The temperature between 0.05 and 20 with which logits (N, classes) have the least log loss."""
    z, y = np.asarray(logits, np.float64), np.asarray(targets)

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(z / np.exp(log_temperature), axis=1)[np.arange(len(y)), y].mean())

    found = optimize.minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def held_out_temperatures(logits: ArrayLike, targets: ArrayLike, seed: int) -> Floats:
    """For each of N images the temperature that was fitted on that random half in which it is not.

    Raises InputError for fewer than two images.
    """
    z, y = np.asarray(logits), np.asarray(targets)
    if len(y) < 2:
        raise InputError(f"{len(y)} image; a temperature is fitted on one half of the images, so give 2 or more")
    first = np.random.default_rng(seed).permutation(len(y)) < len(y) // 2
    return np.where(first, fit_temperature(z[~first], y[~first]), fit_temperature(z[first], y[first]))


def equal_width(confidence: ArrayLike, bins: int = BINS) -> Ints:
    """The bin of each confidence (N,), from 0; a confidence on a border belongs to the lower bin."""
    return np.digitize(np.asarray(confidence), np.linspace(0, 1, bins + 1)[1:-1], right=True)


def equal_mass(confidence: ArrayLike, bins: int = BINS) -> Ints:
    """The same for bins that hold equally many images, to one; of equal confidences the first are in the lower bin."""
    values = np.asarray(confidence)
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * bins // len(values)


def measures(scores: pd.DataFrame, bins: int = BINS, weights: ArrayLike | None = None) -> pd.DataFrame:
    """The columns `UNITS` from `image_scores` of N images, a row for each of the `weights` (R, N), or one without them.

    Weights say how often each image counts. Bins of equal mass stay those of all images. `overconfidence` is the mean
    confidence less the accuracy.
    """
    confidence = scores["confidence"].to_numpy()
    gap = confidence - scores["correct"].to_numpy()
    wide, even = (np.eye(bins)[of(confidence, bins)] * gap[:, None] for of in (equal_width, equal_mass))
    columns = np.hstack([wide, even, scores[["log_loss", "brier"]].to_numpy(), gap[:, None]])
    counts = np.ones((1, len(gap))) if weights is None else np.asarray(weights)
    means = counts @ columns.astype(counts.dtype) / counts.sum(axis=1, keepdims=True)  # (R, 2 bins + 3)
    errors = [100 * np.abs(part).sum(axis=1) for part in (means[:, :bins], means[:, bins : 2 * bins])]
    rest = [means[:, -3], means[:, -2], 100 * means[:, -1]]
    return pd.DataFrame(dict(zip(UNITS, [*errors, *rest], strict=True)), dtype=np.float64)


def errors_by_chance(confidence: ArrayLike, bins: int = BINS, draws: int = TRIALS) -> Floats:
    """The ECE (%) of so many `draws` of outcomes that are right exactly as often as the `confidence` (N,) says.

    With them the ECE of N images is tested (consistency resampling: Bröcker and Smith 2007, Weather and Forecasting
    22:651), which is above zero even where every probability is true.
    """
    stated, rng = np.asarray(confidence), np.random.default_rng(0)
    of = equal_width(stated, bins)
    sums = [np.bincount(of, stated - (rng.random(len(stated)) < stated), minlength=bins) for _ in range(draws)]
    return 100 * np.abs(sums).sum(axis=1) / len(stated)


def reliability(scores: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Mean confidence, accuracy and number `n` of images in each bin of equal width; bins of under 1 % are left out."""
    groups = scores.groupby(equal_width(scores["confidence"], bins))
    table = groups.agg(confidence=("confidence", "mean"), accuracy=("correct", "mean"), n=("correct", "size"))
    return table[table["n"] >= LEAST_SHARE * len(scores)].reset_index(drop=True)


@dataclass(frozen=True)
class Measured:
    """The measures of one network, or differences of them: the values, and those of the draws, a row each."""

    values: pd.Series
    draws: pd.DataFrame

    @classmethod
    def of(cls, scores: pd.DataFrame, bins: int, weights: NDArray[np.float32]) -> "Measured":
        return cls(measures(scores, bins).iloc[0], measures(scores, bins, weights))

    def __sub__(self, other: "Measured") -> "Measured":
        return Measured(self.values - other.values, self.draws - other.draws)

    def metrics(self, prefix: str, n: int) -> dict[str, Metric]:
        """Each measure with its interval."""
        limits = {name: interval(self.values[name], self.draws[name]) for name in UNITS}
        return {
            prefix + name: metric(float(self.values[name]), unit, low=limits[name][0], high=limits[name][1], n=n)
            for name, unit in UNITS.items()
        }

    def tests(self, prefix: str) -> dict[str, Metric]:
        """For each difference the p of none."""
        return {f"{prefix}{name}_p": metric(p_value(self.values[name], self.draws[name]), "1") for name in UNITS}


def interval(value: float, draws: ArrayLike) -> tuple[float, float] | tuple[None, None]:
    """The basic bootstrap interval (Davison and Hinkley 1997, Bootstrap Methods, 5.2); none where draws do not vary.

    Draws of an ECE lie above its value, as that lies above the truth, since noise only adds to distances: percentiles
    would count this bias twice, where this takes it off. It may so exclude the value of an ECE that is small beside
    its noise, for which `errors_by_chance` is made. Where bins are off by one to four times their noise it covered the
    true ECE in 84 to 92 % of 300 simulations, percentiles in 50 to 96 %.
    """
    drawn = np.asarray(draws)
    if np.ptp(drawn) <= 1e-9:
        return None, None
    least, most = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return 2 * value - float(most), 2 * value - float(least)


def p_value(value: float, draws: ArrayLike) -> float:
    """Two-sided p of a difference that is none: the level at which its `interval` reaches zero; 1 without one."""
    shifted = np.asarray(draws) - value
    if np.ptp(shifted) <= 1e-9:
        return 1.0
    tail = min((shifted >= value).sum(), (shifted <= value).sum())
    return min(1.0, 2 * (1 + int(tail)) / (1 + shifted.size))


@claims("calibration analysis")
def calibrate(runs: Sequence[Finished], out: str | Path, *, bins: int = BINS, seed: int = 0) -> dict[str, Any]:
    """Score the probabilities of `runs`; write `records.parquet`, a row an image and state, and `result.json` to `out`.

    Metrics are RUN.MEASURE for the logits as they are and RUN.scaled_MEASURE after temperature scaling, with bootstrap
    intervals over images, in which the temperatures stay; RUN.change_MEASURE is the second less the first, and
    RUN.less_baseline_MEASURE what a ResNeSt has less the ResNet-D of equal depth on the same images, with its
    RUN.less_baseline_MEASURE_p. RUN.ece_by_chance is the mean of `errors_by_chance`, RUN.ece_p that test's p.
    `seed` halves the images.

    Raises InputError for a number of bins below 1, a run without logits, and fewer than two images.
    """
    watch = Stopwatch()
    check(bins=bins, seed=seed)
    scores = {(run.name, scaled): table for run in runs for scaled, table in _states(run, seed).items()}
    pairs = _baselines(runs)
    directory = output_directory(out)
    metrics = _metrics(scores, pairs, bins)
    with replacing(directory / RECORDS) as temporary:
        pd.concat(scores, names=["run", "scaled"]).droplevel(2).reset_index().to_parquet(temporary, index=False)
    parameters = described(runs, bins=bins, seed=seed, draws=DRAWS, baselines=pairs, label_smoothing=_smoothing(runs))
    provenance = watch.provenance(data_digest=runs[0].result["provenance"]["data_digest"])
    return write_result(directory, metrics, parameters, provenance)


def by_run(result: Mapping[str, Any]) -> pd.DataFrame:
    """The values of a result's metrics, a row a run."""
    values = pd.Series({tuple(name.rsplit(".", 1)): entry["value"] for name, entry in result["metrics"].items()})
    return values.unstack(sort=False)


def _states(run: Finished, seed: int) -> dict[bool, pd.DataFrame]:
    """`image_scores` of a run with index and temperature: as it is, and scaled."""
    records = run.records
    if "logits" not in records:
        raise InputError(f"run '{run.directory}' has no logits; evaluate it with the parameter keep_logits: true")
    logits, targets = np.stack(records["logits"].to_list()), records["target"].to_numpy()
    fitted = {False: np.ones(len(targets)), True: held_out_temperatures(logits, targets, seed)}
    return {
        scaled: image_scores(logits, targets, t).assign(index=records["index"], temperature=t)
        for scaled, t in fitted.items()
    }


def _baselines(runs: Sequence[Finished]) -> dict[str, str]:
    """The run of the ResNet-D of equal depth for each ResNeSt that has one."""
    names = {run.model_name: run.name for run in reversed(runs)}
    others = {run.name: run.model_name.replace("resnest", "resnetd") for run in runs if "resnest" in run.model_name}
    return {name: names[other] for name, other in others.items() if other in names}


def _metrics(scores: Mapping[tuple[str, bool], pd.DataFrame], pairs: Mapping[str, str], bins: int) -> dict[str, Metric]:
    n = len(next(iter(scores.values())))
    weights = np.stack([w.astype(np.float32) for w in resamples(n, DRAWS)])  # exact, and half the size
    found = {key: Measured.of(table, bins, weights) for key, table in scores.items()}
    metrics: dict[str, Metric] = {}
    for (run, scaled), table in scores.items():
        prefix = f"{run}.{SCALED[scaled]}"
        metrics |= found[run, scaled].metrics(prefix, n) | _consistency(prefix, table, bins)
        if run in pairs:
            difference = found[run, scaled] - found[pairs[run], scaled]
            metrics |= difference.metrics(f"{prefix}less_baseline_", n) | difference.tests(f"{prefix}less_baseline_")
        if scaled:
            change = found[run, True] - found[run, False]
            metrics |= change.metrics(f"{run}.change_", n) | change.tests(f"{run}.change_")
            metrics[f"{run}.temperature"] = metric(float(table["temperature"].mean()), "1", n=n)
    return metrics


def _consistency(prefix: str, scores: pd.DataFrame, bins: int) -> dict[str, Metric]:
    chance = errors_by_chance(scores["confidence"], bins)
    ece = float(measures(scores, bins)["ece"].iloc[0])
    p = (1 + int((chance >= ece).sum())) / (1 + chance.size)
    return {f"{prefix}ece_by_chance": metric(float(chance.mean()), "%"), f"{prefix}ece_p": metric(p, "1")}


def _smoothing(runs: Sequence[Finished]) -> dict[str, float]:
    """The label smoothing of those runs that were trained here."""
    given = {run.name: run.result["parameters"] for run in runs}
    return {name: float(one["recipe"]["label_smoothing"]) for name, one in given.items() if not one["weights"]}
