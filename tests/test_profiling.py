"""Counts against published ones and against sums by hand; times and memory against what is known to happen."""

import json
import subprocess
import sys
import textwrap
import time

import pytest
import torch
import torchvision
from torch import Tensor, nn

from resnest_core import profiling
from resnest_core.errors import InputError
from resnest_core.models import create_model
from resnest_core.profiling import (
    count_parameters,
    efficiency_table,
    measure_speed,
    multiply_adds,
    peak_memory,
    process_peak_memory,
)

MIB = 2**20
SLACK = 8 * MIB  # code that a first call loads is resident too


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

    def test_seconds_are_those_of_one_pass(self) -> None:
        passes = measure_speed({"slow": Recorder("slow", [], 0.05)}, batch_size=1, crop_size=1, rounds=2)
        assert passes["seconds"].between(0.05, 0.5).all()

    @pytest.mark.parametrize("bad", ["batch_size", "crop_size", "rounds"])
    def test_nothing_to_measure(self, bad: str) -> None:
        with pytest.raises(InputError, match="each must be 1 or more"):
            measure_speed({}, **({"batch_size": 1, "crop_size": 1, "rounds": 1} | {bad: 0}))


class TestMemory:
    @pytest.mark.parametrize("mebibytes", [32, 100])
    def test_a_tensor_that_is_freed_again_counts(self, mebibytes: int) -> None:
        for _ in range(2):  # the second could reuse what the first freed
            memory = peak_memory(lambda: torch.ones(mebibytes * MIB // 4).sum())
            assert memory.bytes == pytest.approx(mebibytes * MIB, abs=SLACK)
            assert memory.method == "peak resident size"

    def test_what_was_held_before_does_not_count(self) -> None:
        held = torch.ones(64 * MIB // 4)
        assert peak_memory(lambda: held.sum()).bytes < SLACK

    def test_the_peak_of_the_process_outlives_a_reset(self) -> None:
        torch.ones(300 * MIB // 4).sum()
        peak = process_peak_memory()
        peak_memory(lambda: None)
        assert profiling._high_water() < peak - 200 * MIB
        assert process_peak_memory() >= peak

    def test_where_the_peak_cannot_be_reset_the_method_says_so(self, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
        monkeypatch.setattr(profiling, "RESET_PEAK", tmp_path / "missing" / "clear_refs")
        memory = peak_memory(lambda: torch.ones(64 * MIB // 4).sum())
        assert memory.method == "highest resident size since the process began"
        assert memory.bytes > 60 * MIB

    def test_a_system_without_proc(self, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
        peak_memory(lambda: torch.ones(64 * MIB // 4).sum())
        expected = profiling._high_water()
        monkeypatch.setattr(profiling, "STATUS", tmp_path / "missing")
        assert profiling._high_water() == pytest.approx(expected, rel=0.1)

    def test_on_a_gpu_the_allocator_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peaks = [900, 350]  # before and after the reset
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peaks.pop(0))
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peaks[0])
        memory = peak_memory(lambda: None, "cuda:0")
        assert memory == profiling.Memory(250, "peak of the CUDA allocator")

    def test_a_forward_pass_holds_no_gradients(self) -> None:
        """In a process of its own, as in the study: this one's heap has room that tests before left behind."""
        program = """
            import torch
            from torch import nn
            from resnest_core.profiling import forward_memory

            images = torch.ones(1, 2, 2048, 2048)  # 32 MiB
            layers = nn.Sequential(*[nn.PReLU() for _ in range(16)])  # each would keep its input
            print(forward_memory(layers, images).bytes, layers.training)
        """
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
        )
        taken, training = run.stdout.split()
        assert int(taken) == pytest.approx(2 * 32 * MIB, abs=SLACK)
        assert training == "False"


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
