"""What two classifiers get wrong: which classes they confuse, which mistakes they share, and where they differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.cluster.hierarchy import leaves_list, optimal_leaf_ordering
from scipy.cluster.hierarchy import linkage as link
from scipy.spatial.distance import squareform

from resnest_core.errors import InputError
from resnest_core.evaluation.average_precision import limits
from resnest_core.evaluation.examples import EXAMPLES, save_images
from resnest_core.evaluation.results import RECORDS, Metric, metric, write_result
from resnest_core.experiments.finished import Finished, described
from resnest_core.files import output_directory, replacing
from resnest_core.outputs import claims
from resnest_core.provenance import Stopwatch
from resnest_core.ranges import check
from resnest_core.statistics import holm, mcnemar, wilson

CLASSES = "classes.parquet"  # beside the records: a row a class
MOST_CLASSES, DRAWS = 20, 2000
THUMBNAIL = 160  # pixels of a longer side
FIRST, SECOND, HARDEST, CONFIDENT = "only_first_right", "only_second_right", "hardest", "most_confident"
KINDS = (FIRST, SECOND, HARDEST, CONFIDENT)

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion(targets: ArrayLike, predicted: ArrayLike, classes: int) -> Counts:
    """How many of N images of each class (row) were taken for each (column): (classes, classes)."""
    cells = np.asarray(targets) * classes + np.asarray(predicted)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def similarity(table: ArrayLike) -> Floats:
    """How often two classes are taken for one another: the mean of both shares of a confusion table; 0 with itself."""
    counts = np.asarray(table, np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    alike = (shares + shares.T) / 2
    np.fill_diagonal(alike, 0)
    return alike


def similar_order(table: ArrayLike, most: int = MOST_CLASSES) -> list[int]:
    """The classes of a confusion table so that those that are confused stand together.

    These are the leaves of a tree by average linkage in their best order (Bar-Joseph et al. 2001, Bioinformatics 17
    S22). Of more than `most` classes those of the most confused pairs are taken.
    """
    alike = similarity(table)
    chosen = _most_confused(alike, most)
    if len(chosen) < 3:
        return chosen.tolist()
    distance = squareform(1 - alike[np.ix_(chosen, chosen)], checks=False)
    return chosen[leaves_list(optimal_leaf_ordering(link(distance, "average"), distance))].tolist()


def confused_pairs(table: ArrayLike, count: int) -> list[tuple[int, int]]:
    """The `count` pairs of classes that are taken for one another most often, by `similarity`."""
    return [(int(a), int(b)) for a, b in _ranked_pairs(similarity(table))[:count]]


def paired_records(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The records of two classifiers on the same images side by side: both have predicted, confidence, loss, correct.

    These columns end in _first and _second; index, image and target are common to both.
    """
    common = ["index", "image", "target"]
    if not first[common].equals(second[common]):
        raise InputError("the records of the two runs are not of the same images and targets; give runs on the same")
    own = [_own(records).add_suffix(suffix) for records, suffix in ((first, "_first"), (second, "_second"))]
    return pd.concat([first[common], *own], axis=1)


def shared_mistakes(both_right: int, only_first: int, only_second: int, both_wrong: int) -> dict[str, Metric]:
    """How far two classifiers make the same mistakes, from counts of images; intervals are bootstrap ones over these.

    kappa is Cohen's (1960), of being wrong; common_ratio the number of common mistakes over that which two
    classifiers with as many mistakes, each made without regard to the other's, would have in the mean. What is
    undefined, since one makes no mistake, is left out. Raises InputError if there is no image.
    """
    counts = np.array([both_right, only_first, only_second, both_wrong])
    n = int(counts.sum())
    if not n:
        raise InputError("there are no images whose mistakes could be compared; give one or more")
    drawn = _agreement(np.random.default_rng(0).multinomial(n, counts / n, size=DRAWS))
    found = {}
    for name, value in _agreement(counts).items():
        if np.isfinite(value):
            low, high = limits(float(value), drawn[name])
            found[name] = metric(float(value), "1", low=low, high=high, n=n)
    return found


def by_class(records: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """For each class with images: their number `n`, how many only one network gets right, and what that makes.

    `difference` (points, first less second, with `low` and `high`) and `p`, after Holm's correction for all classes,
    are those of `mcnemar` on the images of the class; `contribution` is what the class adds to the difference of
    the two accuracies on all images. The least p comes first, and of equal ones the greatest contribution.
    """
    present = np.unique(records["target"]).tolist()
    groups = [records[records["target"] == target] for target in present]
    tests = [mcnemar(rows["correct_first"].to_numpy(), rows["correct_second"].to_numpy()) for rows in groups]
    table = pd.DataFrame([vars(test) for test in tests]).rename(
        columns={"only_a": "only_first", "only_b": "only_second"}
    )
    table.insert(0, "class", [classes[target] for target in present])
    table["p"] = holm(table["p"].tolist())
    table["contribution"] = 100 * (table["only_first"] - table["only_second"]) / len(records)
    order = table["contribution"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].sort_values("p", kind="stable", ignore_index=True)


def choose_examples(records: pd.DataFrame, per_kind: int) -> pd.DataFrame:
    """At most `per_kind` images of each of `KINDS`, none twice: the records with a column `kind`.

    What only one network gets right comes by how much the losses differ, the hardest mistakes of the first network by
    its loss, its most confident ones by its confidence.
    """
    first, second = records["correct_first"], records["correct_second"]
    gap = records["loss_first"] - records["loss_second"]
    ways = {
        FIRST: -gap[first & ~second],
        SECOND: gap[second & ~first],
        HARDEST: records["loss_first"][~first],
        CONFIDENT: records["confidence_first"][~first],
    }
    taken: dict[int, str] = {}
    for kind, scores in ways.items():
        free = scores.drop(index=[row for row in taken if row in scores.index])
        taken |= dict.fromkeys(free.nlargest(per_kind).index.tolist(), kind)
    return records.loc[list(taken)].assign(kind=list(taken.values()))


@claims("analysis of errors")
def compare_errors(runs: Sequence[Finished], out: str | Path, *, per_kind: int = 6) -> dict[str, Any]:
    """Compare the mistakes of two `runs`; write records, classes, examples and result into `out`.

    `records.parquet` holds `paired_records`, with the number of the image in `examples.npz` and its kind where it is
    one of the `per_kind` examples of each kind, else -1 and nothing; `classes.parquet` holds `by_class`. Metrics
    are of one run (RUN.mistakes, RUN.only_right) or, called by the first, of both.

    Raises InputError for other than two runs, a `per_kind` below 1, and a run that gets all images right or none.
    """
    watch = Stopwatch()
    if len(runs) != 2:
        raise InputError(f"{len(runs)} runs are given; mistakes are compared of two")
    check(per_kind=per_kind)
    dataset = runs[0].test_set
    records = paired_records(runs[0].records, runs[1].records)
    metrics = _metrics(records, runs[0].name, runs[1].name)
    table = by_class(records, dataset.classes)
    examples = choose_examples(records, per_kind)
    directory = output_directory(out)
    save_images(directory / EXAMPLES, [_thumbnail(dataset.load(int(index))) for index in examples["index"]])
    numbers = pd.Series(range(len(examples)), examples.index)
    marked = records.assign(example=numbers.reindex(records.index, fill_value=-1), kind=examples["kind"])
    for name, rows in ((RECORDS, marked), (CLASSES, table)):
        with replacing(directory / name) as temporary:
            rows.to_parquet(temporary, index=False)
    parameters = described(runs, per_kind=per_kind, draws=DRAWS, classes=list(dataset.classes))
    return write_result(directory, metrics, parameters, watch.provenance(data_digest=dataset.digest))


def _most_confused(alike: Floats, most: int) -> Counts:
    if len(alike) <= most:
        return np.arange(len(alike))
    listed = _ranked_pairs(alike).ravel()
    places = np.sort(np.unique(listed, return_index=True)[1])[:most]
    return np.sort(listed[places])


def _ranked_pairs(alike: Floats) -> Counts:
    """All pairs of classes (P, 2), the most alike first."""
    pairs = np.stack(np.triu_indices(len(alike), 1), axis=1)
    return pairs[np.argsort(-alike[pairs[:, 0], pairs[:, 1]], kind="stable")]


def _own(records: pd.DataFrame) -> pd.DataFrame:
    confidence = [float(probabilities[0]) for probabilities in records["top5_probability"]]
    return records[["predicted", "loss", "correct"]].assign(confidence=confidence)


def _agreement(counts: Counts) -> dict[str, Floats]:
    """kappa and common_ratio of counts (..., 4) of images: both right, only the first, only the second, both wrong."""
    n = counts.sum(axis=-1)
    both_right, only_first, only_second, both_wrong = np.moveaxis(counts, -1, 0)
    wrong_first, wrong_second = only_second + both_wrong, only_first + both_wrong
    chance = wrong_first * wrong_second / n  # common mistakes
    alike = chance + (n - wrong_first) * (n - wrong_second) / n
    with np.errstate(invalid="ignore", divide="ignore"):  # draws without a mistake have neither
        return {"kappa": (both_right + both_wrong - alike) / (n - alike), "common_ratio": both_wrong / chance}


def _metrics(records: pd.DataFrame, first: str, second: str) -> dict[str, Metric]:
    right, other = (records[f"correct_{which}"].to_numpy() for which in ("first", "second"))
    n, both = len(records), int((~right & ~other).sum())
    for name, correct in ((first, right), (second, other)):
        if correct.all() or not correct.any():
            raise InputError(
                f"run '{name}' gets {correct.sum()} of {n} images right; give runs that get some right and some wrong"
            )
    test = mcnemar(right, other)
    metrics = {
        f"{first}.mistakes": _share(int((~right).sum()), n),
        f"{second}.mistakes": _share(int((~other).sum()), n),
        f"{first}.only_right": _share(test.only_a, n),
        f"{second}.only_right": _share(test.only_b, n),
        f"{first}.difference": metric(test.difference, "points", low=test.low, high=test.high, n=n),
        f"{first}.difference_p": metric(test.p, "1"),
        f"{first}.common_mistakes": _share(both, n),
        f"{first}.common_by_chance": metric(100 * float((~right).mean() * (~other).mean()), "%"),
    }
    if both:
        same = (records["predicted_first"] == records["predicted_second"]).to_numpy() & ~right & ~other
        metrics[f"{first}.same_answer"] = _share(int(same.sum()), both)
    shared = shared_mistakes(n - both - test.only_a - test.only_b, test.only_a, test.only_b, both)
    return metrics | {f"{first}.{name}": entry for name, entry in shared.items()}


def _share(successes: int, n: int) -> Metric:
    share = wilson(successes, n)
    return metric(share.value, "%", low=share.low, high=share.high, n=n)


def _thumbnail(image: Image.Image) -> Image.Image:
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return small
