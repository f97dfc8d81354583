"""Ways of carrying out trained networks side by side: metrics by hand, and the measurement on small networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from resnest_core import modes
from resnest_core.analyses import modes as analysis
from resnest_core.analyses.modes import PLAIN, Answers, Timing, measure_modes, metrics, name_of, summary, ways_of
from resnest_core.devices import choose_device
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.experiments.classification import Classification
from resnest_core.figures.modes import price
from resnest_core.modes import Execution, exact
from resnest_core.training.classification import Recipe

MODELS = ("mini_resnest11", "mini_resnetd11")
CPU = choose_device("cpu")
TIMING = Timing(batch_size=8, rounds=2, trial_seconds=0.0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two networks, trained so much that they do not say the same of all images."""
    directories = []
    for model in MODELS:
        out = tmp_path_factory.mktemp(model)
        settings: dict[str, Any] = {"limit": 60, "train_limit": 256, "recipe": Recipe(epochs=1, batch_size=32)}
        settings |= {"protocol": Protocol(batch_size=16, device="cpu")}
        Classification(model, str(out), **settings).result  # noqa: B018 - the work is done on access
        directories.append(str(out))
    return directories


def answers(exactly: Tensor, other: Tensor, targets: np.ndarray) -> Answers:
    recorded = np.zeros(len(targets), np.int64)
    return Answers("run", np.arange(len(targets)), targets, recorded, {"exact": exactly, "fast": other})


def passes(*seconds: tuple[float, float]) -> pd.DataFrame:
    """Of each round the seconds of exact and of the other way, for 6 images."""
    pairs = [dict(zip(("exact", "fast"), pair, strict=True)) for pair in seconds]
    rows = [("run", way, turn, 6, pair[way]) for turn, pair in enumerate(pairs) for way in pair]
    return pd.DataFrame(rows, columns=["run", "way", "round", "images", "seconds"])


def test_metrics_by_hand() -> None:
    exactly = torch.tensor([[1.0, -1.0]] * 7 + [[-1.0, 1.0]])
    other = exactly.clone()
    other[:6] = other[:6].flip(1)
    other[7, 0] += 0.5
    found = metrics([answers(exactly, other, np.zeros(8, np.int64))], passes((2.0, 1.0), (3.0, 3.0), (8.0, 2.0)))
    assert found["run.recorded.flipped"]["value"] == 1
    assert found["run.fast.flipped"] == {"value": 6, "low": None, "high": None, "n": 8, "unit": "1"}
    deviation = float(exactly.std())
    assert found["run.fast.largest"]["value"] == pytest.approx(2 / deviation)
    assert found["run.fast.median"]["value"] == pytest.approx(2 / deviation)  # 12 of 16 logits
    assert found["run.exact.top1"]["value"] == pytest.approx(87.5)
    assert found["run.fast.difference"]["value"] == pytest.approx(-75.0)
    assert found["run.fast.p"]["value"] == pytest.approx(2 * 0.5**6)
    # Ratios of 2, 1 and 4, whatever the medians of the seconds are.
    speed = found["run.fast.speed"]
    assert [speed[key] for key in ("low", "value", "high", "n")] == [1.5, 2.0, 3.0, 3]
    assert found["run.exact.images_per_second"]["value"] == 2.0
    assert not any(name.startswith("run.exact.flipped") for name in found)


def test_all_comparisons_are_corrected_together() -> None:
    """Six images lost are p = 0.031, of two runs 0.063."""
    exactly = torch.tensor([[1.0, -1.0]] * 8)
    own = answers(exactly, torch.cat([-exactly[:6], exactly[6:]]), np.zeros(8, np.int64))
    twin = Answers("twin", own.indices, own.targets, own.recorded, own.logits)
    times = passes((1.0, 1.0))
    found = metrics([own, twin], pd.concat([times, times.assign(run="twin")]))
    assert found["run.fast.p"]["value"] == found["twin.fast.p"]["value"] == pytest.approx(4 * 0.5**6)


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="logits of 'run' are not finite by the way 'fast'"):
        answers(torch.eye(2), torch.tensor([[1.0, float("inf")], [0.0, 1.0]]), np.zeros(2, np.int64))


def test_the_ways_are_those_of_auto_and_the_network_as_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "has_bf16", lambda device: True)
    ways = ways_of(CPU, compiled=False)
    assert ways[0] == exact()
    assert ways[-1] == PLAIN
    assert len({name_of(way) for way in ways}) == len(ways) == 5
    assert not any(way.compiled for way in ways)
    monkeypatch.setattr(analysis, "can_compile", lambda device: True)
    assert Execution("bf16", compiled="default") in ways_of(CPU, compiled=True)
    monkeypatch.setattr(analysis, "can_compile", lambda device: False)
    with pytest.raises(InputError, match=r"compiled is true, and torch\.compile finds no compiler"):
        ways_of(CPU, compiled=True)


@pytest.fixture(scope="module")
def measured(runs: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """On 30 images in another order than that of the records."""
    out = tmp_path_factory.mktemp("modes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modes, "has_bf16", lambda device: True)
        patch.setattr(analysis, "chosen_images", lambda targets, limit: np.arange(len(targets))[-limit:][::-1].copy())
        return out, measure_modes(runs, out, TIMING, limit=30, device="cpu")


def test_the_measurement_holds_what_networks_and_records_say(
    runs: list[str], measured: tuple[Path, dict[str, Any]]
) -> None:
    out, result = measured
    records, names = pd.read_parquet(out / "records.parquet"), [Path(run).name for run in runs]
    ways = [way["name"] for way in result["parameters"]["ways"]]
    assert len(records) == 30 * len(names) * len(ways)
    for name, run in zip(names, runs, strict=True):
        own = records[records["run"] == name].set_index(["way", "index"])
        recorded = pd.read_parquet(Path(run) / "records.parquet").set_index("index")
        said = own.loc[ways[0]]
        assert (said["predicted"].to_numpy() != recorded["predicted"].head(30)).any(), "or the order would not be seen"
        assert (said["predicted"] == recorded["predicted"].loc[said.index]).all()
        assert (said["correct"] == recorded["correct"].loc[said.index]).all()
        assert result["metrics"][f"{name}.recorded.flipped"]["value"] == 0
        for way in ways[1:]:
            assert result["metrics"][f"{name}.{way}.largest"]["value"] == pytest.approx(own.loc[way, "largest"].max())
        largest = {way: own.loc[way, "largest"].max() for way in ways}
        assert largest[ways[0]] == 0
        assert largest["fp32-channels_first"] < 1e-4 < largest["bf16-channels_last-folded"]
    timed = pd.read_parquet(out / "passes.parquet").groupby(["run", "way"]).size()
    assert set(timed) == {2}
    assert len(timed) == len(names) * len(ways)


def test_auto_chooses_from_its_trials(runs: list[str], measured: tuple[Path, dict[str, Any]]) -> None:
    _, result = measured
    for run in runs:
        auto = result["parameters"]["auto"][Path(run).name]
        trials = {trial["way"]: trial for trial in auto["trials"]}
        assert set(trials) == {way["name"] for way in result["parameters"]["ways"]} - {name_of(PLAIN)}
        allowed = [trial for trial in trials.values() if trial["difference"] <= result["parameters"]["accepted"]]
        assert auto["way"] == min(allowed, key=lambda trial: trial["seconds"])["way"]


def test_the_summary_and_its_figure(runs: list[str], measured: tuple[Path, dict[str, Any]]) -> None:
    out, result = measured
    table = summary(result)
    assert len(table) == 5 * len(runs)
    assert table["flipped"].isna().sum() == len(runs), "exact has no price"
    figure = price(table, pd.read_parquet(out / "records.parquet"))
    assert figure.axes[0].get_yticklabels()[0].get_text() == "fp32, channels first, folded"
    assert len(figure.legends[0].get_texts()) == len(runs)


def test_no_image_in_a_batch_and_no_round() -> None:
    for wrong in ({"batch_size": 0}, {"rounds": 0}):
        with pytest.raises(InputError, match="is not possible; valid: a whole number from 1 to"):
            Timing(**wrong)
