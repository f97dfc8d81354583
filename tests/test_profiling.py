"""Counts against published ones and against sums by hand; times against what is known to happen."""

import json
import time

import pytest
import torch
import torchvision
from torch import Tensor, nn

from resnest_core.errors import InputError
from resnest_core.models import create_model
from resnest_core.profiling import count_parameters, efficiency_table, measure_speed, multiply_adds


class Recorder(nn.Module):
    """Notes each call in a list that several of them share, and takes its time."""

    def __init__(self, name: str, calls: list, seconds: float = 0.0) -> None:
        super().__init__()
        self.name, self.calls, self.seconds = name, calls, seconds

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((self.name, tuple(x.shape), self.training, torch.is_inference_mode_enabled()))
        time.sleep(self.seconds)
        return x


class TestCounts:
    def test_parameters_leave_out_running_statistics(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 5))
        assert count_parameters(model) == 3 * 8 * 9 + 2 * 8 + 32 * 5 + 5

    def test_multiply_adds_by_hand(self) -> None:
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),  # 10 x 10 x 8 outputs of 3 x 9 products
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 4, 3, stride=2, padding=1, groups=4),  # 5 x 5 x 4 outputs of 2 x 9
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 7),
        )
        assert multiply_adds(model, 10) == 100 * 8 * 27 + 25 * 4 * 18 + 4 * 7

    def test_multiply_adds_of_resnet50_are_those_that_torchvision_publishes(self) -> None:
        with torch.device("meta"):
            model = torchvision.models.resnet50()
        published = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["_ops"]
        assert multiply_adds(model, 224) / 1e9 == pytest.approx(published, abs=5e-4)

    @pytest.mark.parametrize(
        ("setting", "parameters", "billions"),
        # The authors' ablation.md; its 26.3 million parameters of 1s1x64d are 26.2 in their code.
        [
            ("1s1x64d", 26.2, 4.34),
            ("2s1x64d", 27.5, 4.34),
            ("4s1x64d", 31.9, 4.35),
            ("1s2x40d", 25.9, 4.38),
            ("2s2x40d", 26.9, 4.38),
            ("4s2x40d", 30.4, 4.41),
            ("1s4x24d", 25.7, 4.42),
        ],
    )
    def test_published_ablation(self, setting: str, parameters: float, billions: float) -> None:
        with torch.device("meta"):
            model = create_model(f"resnest50_fast_{setting}")
        assert round(count_parameters(model) / 1e6, 1) == parameters
        missing = billions - multiply_adds(model, 224) / 1e9  # theirs count more than convolutions and products
        assert 0.009 < missing < 0.042

    def test_counting_leaves_the_model_as_it_was(self) -> None:
        model = create_model("mini_resnest11")
        before = {key: value.clone() for key, value in model.state_dict().items()}
        multiply_adds(model, 28)
        assert model.training
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class TestSpeed:
    def test_networks_take_turns_to_and_fro_after_a_warm_up(self) -> None:
        calls: list = []
        models = {name: Recorder(name, calls) for name in "abc"}
        passes = measure_speed(models, batch_size=2, crop_size=5, rounds=3)
        assert "".join(name for name, *_ in calls) == "cba" + "abc" + "cba" + "abc"
        assert {call[1:] for call in calls} == {((2, 3, 5, 5), False, True)}
        assert list(passes.columns) == ["network", "batch_size", "crop_size", "round", "seconds"]
        assert passes["network"].str.cat() == "abccbaabc"
        assert passes["round"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]

    def test_seconds_are_those_of_one_pass(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slept = [0.0]
        monkeypatch.setattr(time, "sleep", slept.append)
        monkeypatch.setattr(time, "perf_counter", lambda: sum(slept))
        passes = measure_speed({"slow": Recorder("slow", [], 0.5)}, batch_size=1, crop_size=1, rounds=2)
        assert passes["seconds"].tolist() == [0.5, 0.5]

    @pytest.mark.parametrize("bad", ["batch_size", "crop_size", "rounds"])
    def test_nothing_to_measure(self, bad: str) -> None:
        with pytest.raises(InputError, match=f"{bad} 0 is not possible; valid: a whole number from 1"):
            measure_speed({"a": Recorder("a", [], 0.5)}, **({"batch_size": 1, "crop_size": 1, "rounds": 1} | {bad: 0}))


def test_the_metrics_of_the_efficiency_study() -> None:
    networks = ["mini_resnest11", "mini_resnetd11"]
    table = efficiency_table(networks, batch_size=4, rounds=3, crop_size=32)
    names = ["parameters", "crop_size", "multiply_adds", "multiply_adds_224", "images_per_second", "latency", "memory"]
    assert set(table.metrics) == {f"{network}.{name}" for network in networks for name in names}
    json.dumps(table.metrics, allow_nan=False)
    assert len(table.passes) == len(networks) * 2 * 3
    for network in networks:
        own = {name: table.metrics[f"{network}.{name}"] for name in names}
        model = create_model(network)
        assert own["crop_size"]["value"] == 28
        assert own["parameters"]["value"] == count_parameters(model)
        assert own["multiply_adds"]["value"] == multiply_adds(model, 28)
        assert own["multiply_adds_224"]["value"] == multiply_adds(model, 224)
        assert own["memory"]["value"] > 0
        seconds = table.passes[table.passes["network"] == network].groupby("batch_size")["seconds"].median()
        assert own["latency"]["value"] == seconds[1]
        assert own["images_per_second"]["value"] == pytest.approx(4 / seconds[4])
        for name in ("latency", "images_per_second"):
            assert own[name]["n"] == 3
            assert own[name]["low"] <= own[name]["value"] <= own[name]["high"]
