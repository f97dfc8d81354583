"""Accuracy against cost: which networks are worth their parameters, multiply-adds, time or memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from resnest_core.devices import choose_device, place
from resnest_core.evaluation.results import RECORDS, Metric, metric, write_result
from resnest_core.experiments.finished import Finished, described, open_runs
from resnest_core.files import output_directory, replacing
from resnest_core.memory import inference_memory
from resnest_core.outputs import claims
from resnest_core.profiling import count_parameters, measure_speed, multiply_adds
from resnest_core.provenance import Stopwatch
from resnest_core.ranges import check
from resnest_core.statistics import holm, mcnemar

COSTS = ("parameters", "multiply_adds", "seconds", "memory")
LEVEL = 0.05


@claims("frontier analysis")
def measure_frontier(
    runs: Sequence[str], out: str | Path, *, batch_size: int = 64, rounds: int = 7, device: str = "auto"
) -> dict[str, Any]:
    """Measure what the networks of `runs` cost, all by turns at their own crop sizes, and who is worth it.

    Writes `records.parquet`, a row a run: run, model, top1, low, high (%), the four `COSTS`, images_per_second, and
    for each cost the number of runs that `beat` it; `passes.parquet` with the timed passes; and `result.json`. Time is
    that of an image in batches of `batch_size`, memory what inference of a batch takes, weights and all.
    """
    check(batch_size=batch_size, rounds=rounds)
    watch, directory, where = Stopwatch(), output_directory(out), choose_device(device)
    finished = open_runs(runs)
    passes = _passes(finished, batch_size, rounds, where)
    table = pd.DataFrame([_row(run, passes, batch_size, where) for run in finished])
    correct = np.stack([run.records["correct"].to_numpy(bool) for run in finished])
    for cost in COSTS:
        table[f"beaten_{cost}"] = beaten(correct, table[cost].to_numpy(np.float64))
    for name, frame in ((RECORDS, table), ("passes.parquet", passes)):
        with replacing(directory / name) as temporary:
            frame.to_parquet(temporary, index=False)
    metrics = {f"{row['run']}.{name}": m for _, row in table.iterrows() for name, m in _metrics(row).items()}
    parameters = described(finished, batch_size=batch_size, rounds=rounds)
    provenance = watch.provenance(device=str(where), data_digest=finished[0].result["provenance"]["data_digest"])
    return write_result(directory, metrics, parameters, provenance)


def beaten(correct: NDArray[np.bool_], costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many networks cost no more than each and are detectably more accurate.

    `correct` (networks, images) tells which images each gets right, `costs` (networks,) what it takes. Tests are
    McNemar's, exact, with Holm's correction for all pairs in which the one that costs no more is ahead.
    """
    right = correct.sum(axis=1)
    pairs = [
        (i, j)
        for i in range(len(costs))
        for j in range(len(costs))
        if i != j and costs[j] <= costs[i] and right[j] > right[i]
    ]
    found = holm([mcnemar(correct[j], correct[i]).p for i, j in pairs]) if pairs else []
    counts = np.zeros(len(costs), np.int64)
    for (i, _), p in zip(pairs, found, strict=True):
        counts[i] += p < LEVEL
    return counts


def _passes(finished: Sequence[Finished], batch_size: int, rounds: int, device: torch.device) -> pd.DataFrame:
    """Timed passes of every different network, at its own crop size."""
    networks = {run.model_name: place(run.network, device) for run in finished}
    crops = {name: network.architecture.crop_size for name, network in networks.items()}
    return measure_speed(networks, batch_size=batch_size, crop_size=crops, rounds=rounds, device=device)


def _row(run: Finished, passes: pd.DataFrame, batch_size: int, device: torch.device) -> dict[str, Any]:
    accuracy, crop = run.result["metrics"]["top1"], run.network.architecture.crop_size
    times = passes.loc[passes["network"] == run.model_name, "seconds"] / batch_size
    images = torch.zeros(batch_size, 3, crop, crop, device=device)
    return {
        "run": run.name,
        "model": run.model_name,
        "top1": accuracy["value"],
        "low": accuracy["low"],
        "high": accuracy["high"],
        "n": accuracy["n"],
        "parameters": count_parameters(run.network),
        "multiply_adds": multiply_adds(run.network, crop),
        "seconds": float(times.median()),
        "fastest": float(times.quantile(0.25)),
        "slowest": float(times.quantile(0.75)),
        "memory": inference_memory(run.network, images).bytes,
    }


def _metrics(row: "pd.Series[Any]") -> dict[str, Metric]:
    speed = {"low": 1 / row["slowest"], "high": 1 / row["fastest"]}
    return {
        "top1": metric(row["top1"], "%", low=row["low"], high=row["high"], n=row["n"]),
        "parameters": metric(row["parameters"], "1"),
        "multiply_adds": metric(row["multiply_adds"], "1"),
        "images_per_second": metric(1 / row["seconds"], "images/s", **speed),
        "memory": metric(row["memory"], "bytes"),
        **{f"beaten_{cost}": metric(row[f"beaten_{cost}"], "1") for cost in COSTS},
    }
