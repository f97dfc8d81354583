"""An invented comparison of modes, by its own metrics on invented logits and times."""

import numpy as np
import pandas as pd
import torch
from fabricate import CLASSES, Study

from resnest_core.analyses.modes import PLAIN, Answers, described_choice, described_way, metrics, name_of
from resnest_core.modes import ACCEPTED, TOLERANCE, Choice, Execution, Trial, best

NAME = "modes/small"
IMAGES = 400
ROUNDS = 5
LAST, FIRST = Execution(), Execution(channels_last=False)
WAYS = (LAST, FIRST, Execution("bf16"), Execution("bf16", channels_last=False), PLAIN)
SPEEDS = dict(zip(WAYS, (1.0, 0.7, 1.5, 0.6, 0.5), strict=True))  # against exact, which comes first


def add(
    study: Study,
    *,
    runs: tuple[str, ...] = ("mini_resnest11", "mini_resnetd11"),
    noise: tuple[float, ...] = (0.02, 0.005),
    speeds: dict[Execution, float] = SPEEDS,
    batch: float = 1.0,
    missing: str | None = None,
) -> None:
    """The ways `speeds` of base results that are there already, whose names are those of their networks.

    `noise` is that of the logits of half precision for each network, `batch` the part of the largest difference that
    auto sees in its trials. Nothing moves in single precision but the last digits.
    """
    study.add(NAME, {"limit": IMAGES}, missing)
    if missing is not None:
        return
    answers = [_answers(study, run, list(speeds), level) for run, level in zip(runs, noise, strict=False)]
    passes = pd.concat([_passes(run, speeds) for run in runs], ignore_index=True)
    parameters = {"runs": list(runs), "models": {run: run for run in runs}, "limit": IMAGES, "batch_size": 64}
    parameters |= {
        "rounds": ROUNDS,
        "tolerance": TOLERANCE,
        "accepted": ACCEPTED,
        "ways": [described_way(way) for way in speeds],
    }
    parameters |= {"auto": {own.run: described_choice(_choice(own, speeds, batch)) for own in answers}}
    study.store(NAME, parameters, metrics(answers, passes), pd.concat([own.records for own in answers]))


def _answers(study: Study, run: str, ways: list[Execution], noise: float) -> Answers:
    """Logits that say of most images what the run's records say, by margins of all sizes."""
    records = pd.read_parquet(study.directory / "base_results" / run / "records.parquet").head(IMAGES)
    predicted, random = records["predicted"].to_numpy(), np.random.default_rng(len(run))
    exact = random.normal(size=(IMAGES, CLASSES))
    exact[np.arange(IMAGES), predicted] = exact.max(axis=1) + 2 * random.random(IMAGES)
    logits = {}
    for way in ways:
        level = 0.0 if way == ways[0] else noise if way.precision == "bf16" else 1e-7
        moved = exact + level * random.normal(size=exact.shape)
        logits[name_of(way)] = torch.from_numpy(moved).float()
    return Answers(run, records["index"].to_numpy(), records["target"].to_numpy(), predicted, logits)


def _passes(run: str, speeds: dict[Execution, float]) -> pd.DataFrame:
    rows = [
        (run, name_of(way), turn, 64, 0.03 * (1 + 0.01 * turn * number) / speed)
        for turn in range(1, ROUNDS + 1)
        for number, (way, speed) in enumerate(speeds.items())
    ]
    return pd.DataFrame(rows, columns=["run", "way", "round", "images", "seconds"])


def _choice(own: Answers, speeds: dict[Execution, float], batch: float) -> Choice:
    trials = [
        Trial(way, 0.03 / speed, batch * float(own.differences[name_of(way)].max()))
        for way, speed in speeds.items()
        if way != PLAIN
    ]
    return Choice("auto", best(trials).execution, tuple(trials))
