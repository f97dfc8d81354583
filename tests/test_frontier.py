"""The accuracy/cost frontier: who beats whom, by hand, and the measurement on small networks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from resnest_core.analyses.frontier import COSTS, beaten, measure_frontier
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.experiments.classification import Classification
from resnest_core.figures.frontier import frontier
from resnest_core.models import create_model
from resnest_core.profiling import count_parameters

MODELS = ("mini_resnest11", "mini_resnetd11")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    directories = []
    for seed, model in enumerate(MODELS):
        out = tmp_path_factory.mktemp(model)
        torch.manual_seed(seed)
        torch.save(create_model(model).state_dict(), out / "weights.pth")
        protocol = Protocol(batch_size=16, device="cpu")
        settings = {"weights": str(out / "weights.pth"), "limit": 30, "protocol": protocol}
        Classification(model, str(out), **settings).result  # noqa: B018 - the work is done on access
        directories.append(str(out))
    return directories


def right(*counts: int) -> np.ndarray:
    """Networks that get the first so many of 200 images right."""
    return np.arange(200) < np.array(counts)[:, None]


def test_a_network_is_beaten_by_what_costs_no_more_and_is_detectably_better() -> None:
    correct, costs = right(100, 150, 151, 160), np.array([2.0, 1.0, 1.0, 3.0])
    # Of the first network 50 and 51 images are lost to the second and third; one image decides nothing.
    assert beaten(correct, costs).tolist() == [2, 0, 0, 0]


def test_equal_costs_do_not_excuse_lower_accuracy() -> None:
    assert beaten(right(100, 150), np.array([1.0, 1.0])).tolist() == [1, 0]
    assert beaten(right(150, 100), np.array([1.0, 2.0])).tolist() == [0, 1]
    assert beaten(right(150, 100), np.array([2.0, 1.0])).tolist() == [0, 0]
    assert beaten(right(100), np.array([1.0])).tolist() == [0]


def test_many_comparisons_raise_the_bar() -> None:
    """Six images more are p = 0.031 for a pair; with nine others that are better by as much it is not enough."""
    assert beaten(right(100, 106), np.array([1.0, 1.0])).tolist() == [1, 0]
    assert beaten(right(100, *[106] * 9), np.ones(10))[0] == 0


def test_the_measurement_holds_what_records_and_networks_say(runs: list[str], tmp_path: Path) -> None:
    result = measure_frontier(runs, tmp_path, batch_size=4, rounds=2, device="cpu")
    table = pd.read_parquet(tmp_path / "records.parquet").set_index("model")
    names = [Path(run).name for run in runs]
    for name, run, model in zip(names, runs, MODELS, strict=True):
        records = pd.read_parquet(Path(run) / "records.parquet")
        assert result["metrics"][f"{name}.top1"]["value"] == pytest.approx(100 * records["correct"].mean())
        assert table.loc[model, "parameters"] == count_parameters(create_model(model))
        speed = result["metrics"][f"{name}.images_per_second"]
        assert speed["low"] <= speed["value"] <= speed["high"]
        assert result["metrics"][f"{name}.memory"]["value"] > 0
    assert set(table.columns) >= {*COSTS, *(f"beaten_{cost}" for cost in COSTS)}
    assert len(pd.read_parquet(tmp_path / "passes.parquet")) == 4
    assert result["parameters"]["models"] == dict(zip(names, MODELS, strict=True))
    figure = frontier(table.reset_index())
    assert figure.axes[0].get_xlabel() == "parameters (M)"


def test_no_run_and_no_round(runs: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run is given"):
        measure_frontier([], tmp_path, device="cpu")
    with pytest.raises(InputError, match="rounds 0 is not possible"):
        measure_frontier(runs, tmp_path, rounds=0, device="cpu")
    assert not (tmp_path / "result.json").exists()
