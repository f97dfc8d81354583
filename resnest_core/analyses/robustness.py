"""How classifiers bear images that are worse than those they were trained with, and labels that are better."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from resnest_core.analyses.corruption_scores import CLEAN, counterparts, metrics
from resnest_core.analyses.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from resnest_core.analyses.predictions import chosen_images, predict
from resnest_core.analyses.real_labels import real_accuracy
from resnest_core.data.transforms import Preprocessing
from resnest_core.devices import choose_device, place
from resnest_core.errors import unknown
from resnest_core.evaluation.results import RECORDS, write_result
from resnest_core.experiments.finished import Finished, described, open_runs, precisions
from resnest_core.files import output_directory, replacing
from resnest_core.models.variants import CLASSIFIERS
from resnest_core.outputs import claims
from resnest_core.provenance import Stopwatch
from resnest_core.ranges import check
from resnest_core.texts import printable


@claims("robustness analysis")
def measure_robustness(
    runs: Sequence[str],
    out: str | Path,
    *,
    baseline: str = "",
    limit: int = 0,
    seed: int = 0,
    real_labels: str = "",
    device: str = "auto",
) -> dict[str, Any]:
    """Evaluate the networks of `runs` on `limit` images (0: all), classes in turn, under every corruption and severity.

    `baseline` names the run that errors are relative to; empty stands for the first ResNet-D, or the first run where
    there is none. `real_labels` is ReaL's file, if any. Writes `records.parquet`, one row per image, run, corruption
    and severity: index, run, corruption, severity, predicted, correct, with the runs' own records as severity 0; and
    `result.json` with what `corruption_scores.metrics` computes from these, and `RUN.real`, the accuracy (%) on ReaL's
    labels.
    """
    check(limit=limit, seed=seed)
    watch, directory, where = Stopwatch(), output_directory(out), choose_device(device)
    finished = open_runs(runs)
    base = _baseline(finished, baseline)
    real = {run.name: real_accuracy(run, real_labels) for run in finished} if real_labels else {}
    chosen = chosen_images(finished[0].test_set.targets, limit)
    records = evaluate(finished, chosen, seed, where)
    with replacing(directory / RECORDS) as temporary:
        records.to_parquet(temporary, index=False)
    pairs = counterparts({run.name: run.model_name for run in finished})
    own = {"baseline": base, "limit": limit, "seed": seed, "real_labels": real_labels, "counterparts": pairs}
    levels = {name: list(corruption.levels) for name, corruption in CORRUPTIONS.items()}
    provenance = watch.provenance(
        device=str(where),
        precision=precisions(finished, where),
        data_digest=finished[0].result["provenance"]["data_digest"],
    )
    found = metrics(records, base, pairs) | {f"{name}.real": accuracy for name, accuracy in real.items()}
    return write_result(directory, found, described(finished, **own, levels=levels), provenance)


def evaluate(runs: Sequence[Finished], chosen: NDArray[np.int64], seed: int, device: torch.device) -> pd.DataFrame:
    """The records of the images `chosen` (n,), in batches as large as in the first run; each is corrupted once."""
    size = runs[0].settings.protocol.batch_size
    batches = [chosen[i : i + size] for i in range(0, len(chosen), size)]
    for run in runs:
        place(run.network, device)
    rows = [_clean(run, chosen) for run in runs]
    for batch in tqdm(batches, "corruptions", unit="batch", delay=2):
        rows += _corrupted(runs, batch, seed)
    return pd.concat(rows, ignore_index=True).astype({"run": "category", "corruption": "category"})


def _clean(run: Finished, chosen: NDArray[np.int64]) -> pd.DataFrame:
    return _rows(run, chosen, CLEAN, 0, run.records["predicted"].to_numpy()[chosen])


def _corrupted(runs: Sequence[Finished], batch: NDArray[np.int64], seed: int) -> Iterator[pd.DataFrame]:
    data = runs[0].test_set
    images = [(data.load(int(i)), printable(data.paths[i])) for i in batch]
    for corruption, severity in product(CORRUPTIONS, SEVERITIES):
        seen = [corrupted(image, corruption, severity, key=path, seed=seed) for image, path in images]
        inputs: dict[Preprocessing, Tensor] = {}
        for run in runs:
            rule = run.settings.rule
            if rule not in inputs:
                inputs[rule] = torch.stack([run.input(image) for image in seen])
            yield _rows(run, batch, corruption, severity, predict(run, inputs[rule]))


def _rows(
    run: Finished, indices: NDArray[np.int64], corruption: str, severity: int, predicted: NDArray[np.int64]
) -> pd.DataFrame:
    where = {"index": indices, "run": run.name, "corruption": corruption, "severity": severity}
    return pd.DataFrame({**where, "predicted": predicted, "correct": predicted == run.test_set.targets[indices]})


def _baseline(runs: Sequence[Finished], name: str) -> str:
    names = [run.name for run in runs]
    if name and name not in names:
        raise unknown("baseline", name, names)
    plain = [run.name for run in runs if not CLASSIFIERS[run.model_name].radix]
    return name or next(iter(plain), names[0])
