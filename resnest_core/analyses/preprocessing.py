"""What a score owes to preprocessing: the same weights behind other crop rules, filters, decoders and sizes."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from resnest_core.analyses.conditions import (
    REFERENCE,
    RESOLUTION,
    STORED,
    Condition,
    Sweep,
    conditions,
    contrasts,
    needed_side,
    reference,
)
from resnest_core.analyses.predictions import chosen_images, predict, share
from resnest_core.data import Dataset
from resnest_core.data.decoders import decode, encode
from resnest_core.data.fashion_mnist import FashionMNIST
from resnest_core.data.transforms import Preprocessing
from resnest_core.devices import choose_device, place
from resnest_core.errors import InputError
from resnest_core.evaluation.results import RECORDS, Metric, metric, write_result
from resnest_core.experiments.finished import Finished, described, open_runs, precisions
from resnest_core.files import output_directory, replacing
from resnest_core.outputs import claims
from resnest_core.provenance import Stopwatch
from resnest_core.ranges import check
from resnest_core.statistics import holm, mcnemar, mean_interval

Plans = Mapping[str, Sequence[Condition]]  # of each run
Digests = tuple[int, ...]  # of the pixels of some images
Tables = Mapping[tuple[str, str], pd.DataFrame]  # the rows of each run and condition, by image


@claims("analysis of preprocessing")
def measure_preprocessing(
    runs: Sequence[str], out: str | Path, sweep: Sweep, *, limit: int = 0, device: str = "auto"
) -> dict[str, Any]:
    """Evaluate the networks of `runs` under every condition of `sweep`, on `limit` images (0: all), classes in turn.

    Writes `records.parquet`, one row per image, run and condition: index, run, condition, pixels (64 bits that tell
    decoded images apart), predicted, correct; and `result.json` with the metrics `RUN.CONDITION.METRIC`. Raises
    InputError where the reference does not repeat the predictions that the run recorded.
    """
    check(limit=limit)
    watch, directory, where = Stopwatch(), output_directory(out), choose_device(device)
    finished = open_runs(runs)
    plans = {run.name: conditions(reference(run), sweep) for run in finished}
    chosen = chosen_images(finished[0].test_set.targets, limit)
    records = evaluate(finished, plans, chosen, sweep.quality, where)
    with replacing(directory / RECORDS) as temporary:
        records.to_parquet(temporary, index=False)
    listed = {name: [condition.description for condition in plan] for name, plan in plans.items()}
    encoded = isinstance(finished[0].test_set, FashionMNIST)
    parameters = described(finished, **asdict(sweep), limit=limit, conditions=listed, encoded=encoded)
    provenance = watch.provenance(
        device=str(where),
        precision=precisions(finished, where),
        data_digest=finished[0].result["provenance"]["data_digest"],
    )
    return write_result(directory, metrics(records, plans), parameters, provenance)


def evaluate(
    runs: Sequence[Finished], plans: Plans, chosen: NDArray[np.int64], quality: int, device: torch.device
) -> pd.DataFrame:
    """The records of the images `chosen` (n,), in batches as large as in the first run."""
    for run in runs:
        place(run.network, device)
    data, size = runs[0].test_set, runs[0].settings.protocol.batch_size
    batches = [chosen[i : i + size] for i in range(0, len(chosen), size)]
    rows = [
        pd.concat(_evaluate(runs, plans, _Batch(data, batch, quality)))
        for batch in tqdm(batches, "preprocessing", unit="batch", delay=2)
    ]
    records = pd.concat(rows, ignore_index=True)
    return records.astype(dict.fromkeys(records.select_dtypes(["object", "str"]).columns, "category"))


class _Batch:
    """Some images of a data set, decoded in many ways, each once. Those without a file are encoded here."""

    def __init__(self, data: Dataset, indices: NDArray[np.int64], quality: int) -> None:
        self.data, self.indices, self.quality = data, indices, quality
        self._digests: dict[tuple[str, int], Digests] = {}
        self._images: dict[Digests, list[Image.Image]] = {}

    def pixels(self, decoder: str, preprocessing: Preprocessing) -> Digests:
        """Decode the images, for a preprocessing that says how large they have to be."""
        short = needed_side(preprocessing) if decoder == "draft" else 0
        if (decoder, short) not in self._digests:
            images = [self._decoded(int(i), decoder, short) for i in self.indices]
            digests = tuple(_digest(image) for image in images)
            self._digests[decoder, short], self._images[digests] = digests, images
        return self._digests[decoder, short]

    def inputs(self, digests: Digests, preprocessing: Preprocessing) -> Tensor:
        """What a network is given (N, 3, S, S) of images with these pixels."""
        return torch.stack([preprocessing(image) for image in self._images[digests]])

    def _decoded(self, index: int, decoder: str, short: int) -> Image.Image:
        if decoder == STORED:
            return self.data.load(index)
        name, upright = self.data.paths[index], self.data.upright
        return decode(decoder, self._content(index), short=short, name=name, upright=upright)

    def _content(self, index: int) -> bytes:
        if isinstance(self.data, FashionMNIST):
            return encode(self.data.load(index), self.quality)
        return self.data.content(index)


def _evaluate(runs: Sequence[Finished], plans: Plans, batch: _Batch) -> Iterator[pd.DataFrame]:
    """The rows of a batch for each run and condition; what is equal to the bit is computed once."""
    users: dict[tuple[str, Preprocessing], list[tuple[Finished, Condition]]] = defaultdict(list)
    for run in runs:
        for condition in plans[run.name]:
            users[condition.decoder, condition.preprocessing].append((run, condition))
    known: dict[tuple[Digests, Preprocessing], dict[str, NDArray[np.int64]]] = defaultdict(dict)
    for (decoder, preprocessing), pairs in users.items():
        pixels = batch.pixels(decoder, preprocessing)
        said = known[pixels, preprocessing]
        if waiting := {run.name: run for run, _ in pairs if run.name not in said}:
            inputs = batch.inputs(pixels, preprocessing)
            said |= {name: predict(run, inputs) for name, run in waiting.items()}
        for run, condition in pairs:
            if condition.part == REFERENCE:
                _check_reference(run, batch, said[run.name])
            yield _rows(run, condition, batch, pixels, said[run.name])


def _rows(
    run: Finished, condition: Condition, batch: _Batch, pixels: Digests, predicted: NDArray[np.int64]
) -> pd.DataFrame:
    correct = predicted == batch.data.targets[batch.indices]
    rows = pd.DataFrame({"index": batch.indices, "pixels": pixels, "predicted": predicted, "correct": correct})
    return rows.assign(run=run.name, condition=condition.name, **condition.factors)


def _digest(image: Image.Image) -> int:
    data = blake2b(image.tobytes(), digest_size=8, person=repr(image.size).encode())
    return int.from_bytes(data.digest(), "big", signed=True)


def _check_reference(run: Finished, batch: _Batch, predicted: NDArray[np.int64]) -> None:
    recorded = run.records["predicted"].to_numpy()[batch.indices]
    if (wrong := np.flatnonzero(recorded != predicted)).size:
        image, first = batch.data.paths[batch.indices[wrong[0]]], wrong[0]
        raise InputError(
            f"'{run.directory}' recorded class {recorded[first]} for image '{image}', and now it is {predicted[first]} "
            f"({wrong.size} of {len(predicted)} images differ); evaluate it again with this device and these versions"
        )


def metrics(records: pd.DataFrame, plans: Plans) -> dict[str, Metric]:
    """Accuracies, paired comparisons with Holm's correction for all of them, and summaries of the curves.

    Of a condition and of a contrast ("A_less_B"): top1 (%); changed, the share of predictions (%) that are not those of
    the reference or of B; identical, that of images with the same pixels (%), where only the decoder differs;
    difference of accuracy (points) and its p. Of `curve`: the mean change of accuracy over all sizes (points), and its
    excess over that of the first run.
    """
    groups = records.sort_values("index", kind="stable").groupby(["run", "condition"], observed=True)
    tables = {(str(run), str(condition)): rows for (run, condition), rows in groups}
    found: dict[str, Metric] = {}
    for (run, condition), rows in tables.items():
        found[f"{run}.{condition}.top1"] = share(rows["correct"].to_numpy())
    found |= _comparisons(tables, plans)
    changes = {run: _changes(tables, run, plan) for run, plan in plans.items()}
    first = next(iter(changes.values()))
    for run, change in changes.items():
        if change is not None:
            found[f"{run}.curve.change"] = _mean(change)
        if change is not None and first is not None and change is not first:
            found[f"{run}.curve.excess"] = _mean(change - first)
    return found


def _comparisons(tables: Tables, plans: Plans) -> dict[str, Metric]:
    pairs = {f"{run}.{name}": (run, a, b) for run, plan in plans.items() for name, a, b in _pairs(plan)}
    sides = {name: (tables[run, a.name], tables[run, b.name]) for name, (run, a, b) in pairs.items()}
    tests = {name: mcnemar(a["correct"].to_numpy(), b["correct"].to_numpy()) for name, (a, b) in sides.items()}
    found: dict[str, Metric] = {}
    for (name, test), p in zip(tests.items(), holm([test.p for test in tests.values()]), strict=True):
        first, second = sides[name]
        found[f"{name}.changed"] = share(first["predicted"].to_numpy() != second["predicted"].to_numpy())
        if pairs[name][1].differences(pairs[name][2]) == ["decoder"]:
            found[f"{name}.identical"] = share(first["pixels"].to_numpy() == second["pixels"].to_numpy())
        found[f"{name}.difference"] = metric(test.difference, "points", low=test.low, high=test.high, n=test.n)
        found[f"{name}.p"] = metric(p, "1")
    return found


def _pairs(plan: Sequence[Condition]) -> list[tuple[str, Condition, Condition]]:
    """What is compared: every condition with the reference, and the contrasts, each under its name."""
    others = [(condition.name, condition, plan[0]) for condition in plan[1:] if condition.differences(plan[0])]
    return [*others, *((f"{a.name}_less_{b.name}", a, b) for a, b in contrasts(plan))]


def _changes(tables: Tables, run: str, plan: Sequence[Condition]) -> NDArray[np.float64] | None:
    """For each image the mean change of its correctness (points) over the sizes; None without any."""
    own = tables[run, REFERENCE]["correct"].to_numpy(np.float64)
    sizes = [condition.name for condition in plan if condition.part == RESOLUTION]
    return 100 * np.mean([tables[run, name]["correct"].to_numpy() - own for name in sizes], axis=0) if sizes else None


def _mean(values: NDArray[np.float64]) -> Metric:
    mean = mean_interval(values)
    return metric(mean.value, "points", low=mean.low, high=mean.high, n=mean.n)
