"""Ways of carrying out trained networks, side by side: how much faster each is, and what it changes in the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from resnest_core.analyses.predictions import chosen_images, classes_of, share
from resnest_core.devices import choose_device, place
from resnest_core.errors import InputError
from resnest_core.evaluation.results import RECORDS, Metric, metric, quartiles, write_result
from resnest_core.experiments.finished import Finished, described, open_runs
from resnest_core.files import output_directory, replacing
from resnest_core.modes import (
    ACCEPTED,
    PLAIN,
    TOLERANCE,
    Choice,
    Execution,
    Runner,
    can_compile,
    candidates,
    choose,
    difference,
)
from resnest_core.outputs import claims
from resnest_core.profiling import take_turns
from resnest_core.provenance import Stopwatch
from resnest_core.ranges import check_fields
from resnest_core.statistics import PairedTest, holm, mcnemar

PASSES = "passes.parquet"
PRICES = ("median", "largest", "flipped", "difference", "p")
Runners = Mapping[Execution, Runner]


@dataclass(frozen=True)
class Timing:
    """Batches of `batch_size` images, timed in `rounds`; auto tries each way for `trial_seconds`."""

    batch_size: int = 64
    rounds: int = 7
    trial_seconds: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Answers:
    """What the network of a run says of images: `logits` (N, classes) by the name of the way, exact the first.

    `indices` (N,) are those of the images, `targets` (N,) their classes, and `recorded` (N,) the classes that the run's
    own experiment predicted.
    """

    run: str
    indices: NDArray[np.int64]
    targets: NDArray[np.int64]
    recorded: NDArray[np.int64]
    logits: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        for way, logits in self.logits.items():
            if not torch.isfinite(logits).all():
                raise InputError(f"logits of '{self.run}' are not finite by the way '{way}'; check the weights")

    @property
    def exact(self) -> str:
        return next(iter(self.logits))

    @cached_property
    def differences(self) -> dict[str, Tensor]:
        """How far the logits (N, classes) of each way are from those of exact, in deviations of the latter."""
        return {way: difference(logits, self.logits[self.exact]) for way, logits in self.logits.items()}

    @cached_property
    def predicted(self) -> dict[str, NDArray[np.int64]]:
        """The class (N,) that each way says of each image."""
        return {way: classes_of(logits) for way, logits in self.logits.items()}

    @property
    def records(self) -> pd.DataFrame:
        """A row for each way and image."""
        tables = [
            pd.DataFrame({"index": self.indices, "way": way, "predicted": predicted})
            .assign(correct=predicted == self.targets, largest=self.differences[way].amax(dim=1).numpy())
            .assign(run=self.run)
            for way, predicted in self.predicted.items()
        ]
        return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class Found:
    """Of one run its answers, its timed passes, and what auto chose."""

    answers: Answers
    passes: pd.DataFrame
    choice: Choice


@claims("comparison of modes")
def measure_modes(
    runs: Sequence[str],
    out: str | Path,
    timing: Timing,
    *,
    limit: int = 2000,
    compiled: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Carry out the networks of `runs` in each way of the device, on `limit` images (0: all), classes in turn.

    Writes `records.parquet`, one row per image, run and way: index, run, way, predicted, correct, and the largest
    difference of its logits from those of exact, in deviations; `passes.parquet`, one row per timed pass of a batch:
    run, way, round, images, seconds; and `result.json`, with the metrics RUN.WAY.METRIC and auto's choices.
    `compiled` adds compiled ways, a minute or two each.
    """
    watch, directory, where = Stopwatch(), output_directory(out), choose_device(device)
    ways, finished = ways_of(where, compiled=compiled), open_runs(runs)
    chosen = chosen_images(finished[0].test_set.targets, limit)
    found = [_examine(run, chosen, ways, timing, where) for run in finished]
    passes = pd.concat([of.passes for of in found], ignore_index=True)
    records = pd.concat([of.answers.records for of in found], ignore_index=True)
    for name, frame in ((RECORDS, records), (PASSES, passes)):
        with replacing(directory / name) as temporary:
            frame.to_parquet(temporary, index=False)
    parameters = described(
        finished, limit=limit, compiled=compiled, **asdict(timing), tolerance=TOLERANCE, accepted=ACCEPTED
    )
    parameters["ways"] = [described_way(way) for way in ways]
    parameters["auto"] = {of.answers.run: described_choice(of.choice) for of in found}
    provenance = watch.provenance(device=str(where), data_digest=finished[0].result["provenance"]["data_digest"])
    return write_result(directory, metrics([of.answers for of in found], passes), parameters, provenance)


def ways_of(device: torch.device, *, compiled: bool) -> list[Execution]:
    """What is compared on `device`: what auto has to choose from, exact the first, and the network as it is built."""
    if compiled and not can_compile(device):
        raise InputError("compiled is true, and torch.compile finds no compiler; valid: false, or install g++")
    return [*candidates(device, compiling=False), PLAIN, *(candidates(device, compiling=True) if compiled else [])]


def name_of(way: Execution) -> str:
    """A way as it stands in the names of metrics."""
    layout = "channels_last" if way.channels_last else "channels_first"
    parts = [way.precision, layout, "folded" if way.folded else "", way.compiled and f"compiled_{way.compiled}"]
    return "-".join(filter(None, parts))


def described_way(way: Execution) -> dict[str, Any]:
    """A way as the result file tells it."""
    return {"name": name_of(way), **asdict(way)}


def described_choice(choice: Choice) -> dict[str, Any]:
    """The way that auto chose, by name, and its trials."""
    trials = [{"way": name_of(t.execution), "seconds": t.seconds, "difference": t.difference} for t in choice.trials]
    return {"way": name_of(choice.execution), "trials": trials}


def _examine(
    run: Finished, chosen: NDArray[np.int64], ways: Sequence[Execution], timing: Timing, device: torch.device
) -> Found:
    """One run on the images `chosen` (N,); the first batch is timed."""
    network, example = place(run.network, torch.device("cpu")), _inputs(run, chosen[:1])
    runners = {way: Runner(network, device, way, example) for way in ways}
    first = _inputs(run, chosen[: timing.batch_size]).to(device)
    calls = {name_of(way): partial(runner, first) for way, runner in runners.items()}
    passes = take_turns(calls, timing.rounds, device, f"timing {run.name}").rename(columns={"name": "way"})
    # Without compiled ways nothing is to come that would be worth compiling.
    batches = -(-len(chosen) // timing.batch_size) if any(way.compiled for way in ways) else 0
    choice = choose("auto", "fp32", device, runners.__getitem__, lambda: (first, batches), seconds=timing.trial_seconds)
    targets, recorded = run.test_set.targets[chosen], run.records["predicted"].to_numpy()[chosen]
    answers = Answers(run.name, chosen, targets, recorded, _logits(run, chosen, runners, timing.batch_size))
    return Found(answers, passes.assign(run=run.name, images=len(first)), choice)


def _inputs(run: Finished, indices: NDArray[np.int64]) -> Tensor:
    return torch.stack([run.input(run.test_set.load(int(i))) for i in indices])


def _logits(run: Finished, chosen: NDArray[np.int64], runners: Runners, size: int) -> dict[str, Tensor]:
    """The logits (N, classes) by way, float32 on the CPU."""
    parts: dict[str, list[Tensor]] = {name_of(way): [] for way in runners}
    for i in tqdm(range(0, len(chosen), size), f"answers of {run.name}", unit="batch", delay=2):
        inputs = _inputs(run, chosen[i : i + size])
        for way, runner in runners.items():
            parts[name_of(way)].append(runner(inputs).float().cpu())
    return {way: torch.cat(part) for way, part in parts.items()}


def metrics(answers: Sequence[Answers], passes: pd.DataFrame) -> dict[str, Metric]:
    """Speeds, differences of logits, and paired comparisons with exact, with Holm's correction for all of them.

    Of a way: images_per_second, and its speed, the ratio to exact within a round, both medians between quartiles; top1
    (%). Of those that are not exact: the median and the largest difference of logits, in deviations; flipped, the
    number of predictions that are not those of exact; difference of accuracy (points) and its p. Of `recorded`:
    flipped, the number of exact's predictions that are not those of the run's records.
    """
    found: dict[str, Metric] = {}
    tests: dict[str, PairedTest] = {}
    for own in answers:
        found |= _speeds(passes[passes["run"] == own.run], own)
        found[f"{own.run}.recorded.flipped"] = _flipped(own.recorded, own.predicted[own.exact])
        for way, predicted in own.predicted.items():
            found[f"{own.run}.{way}.top1"] = share(predicted == own.targets)
            if way != own.exact:
                found |= _compared(own, way)
                tests[f"{own.run}.{way}"] = mcnemar(predicted == own.targets, own.predicted[own.exact] == own.targets)
    for (name, test), p in zip(tests.items(), holm([test.p for test in tests.values()]), strict=True):
        found[f"{name}.difference"] = metric(test.difference, "points", low=test.low, high=test.high, n=test.n)
        found[f"{name}.p"] = metric(p, "1")
    return found


def _compared(own: Answers, way: str) -> dict[str, Metric]:
    differences = own.differences[way]
    return {
        f"{own.run}.{way}.median": metric(float(differences.median()), "deviations"),
        f"{own.run}.{way}.largest": metric(float(differences.max()), "deviations"),
        f"{own.run}.{way}.flipped": _flipped(own.predicted[way], own.predicted[own.exact]),
    }


def _flipped(predicted: NDArray[np.int64], reference: NDArray[np.int64]) -> Metric:
    return metric(int((predicted != reference).sum()), "1", n=len(reference))


def _speeds(passes: pd.DataFrame, own: Answers) -> dict[str, Metric]:
    """Images a second, and the ratio to exact round by round, from the passes of one run."""
    rates = passes.assign(rate=passes["images"] / passes["seconds"]).pivot(index="round", columns="way", values="rate")
    found: dict[str, Metric] = {}
    for way in own.logits:
        found[f"{own.run}.{way}.images_per_second"] = quartiles(rates[way], "images/s")
        found[f"{own.run}.{way}.speed"] = quartiles(rates[way] / rates[own.exact], "1")
    return found


def summary(result: dict[str, Any]) -> pd.DataFrame:
    """A row for each run and way of a result: its speed between the quartiles, and what it costs (nan for exact)."""
    known, parameters = result["metrics"], result["parameters"]
    rows: list[dict[str, Any]] = []
    for run in parameters["models"]:
        for way in (way["name"] for way in parameters["ways"]):
            speed = known[f"{run}.{way}.speed"]
            prices = {price: known.get(f"{run}.{way}.{price}", {"value": np.nan})["value"] for price in PRICES}
            quarter = {"slower": speed["low"], "faster": speed["high"]}
            rows.append({"run": run, "way": way, "speed": speed["value"], **quarter, **prices})
    return pd.DataFrame(rows)
