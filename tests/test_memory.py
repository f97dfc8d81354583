"""Memory against tensors whose size is known."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from resnest_core import memory
from resnest_core.memory import inference_memory, peak_memory, process_peak_memory

MIB = 2**20
SLACK = 8 * MIB  # code that a first call loads is resident too


@pytest.mark.parametrize("mebibytes", [32, 100])
def test_a_tensor_that_is_freed_again_counts(mebibytes: int) -> None:
    for _ in range(2):  # the second could reuse what the first freed
        found = peak_memory(lambda: torch.ones(mebibytes * MIB // 4).sum())
        assert found.bytes == pytest.approx(mebibytes * MIB, abs=SLACK)
        assert found.method == "peak resident size"


def test_what_was_held_before_does_not_count() -> None:
    held = torch.ones(64 * MIB // 4)
    assert peak_memory(lambda: held.sum()).bytes < SLACK


def test_the_peak_of_the_process_outlives_a_reset() -> None:
    torch.ones(300 * MIB // 4).sum()
    peak = process_peak_memory()
    peak_memory(lambda: None)
    assert memory._high_water() < peak - 200 * MIB
    assert process_peak_memory() >= peak


def test_where_the_peak_cannot_be_reset_the_method_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "RESET_PEAK", tmp_path / "missing" / "clear_refs")
    found = peak_memory(lambda: torch.ones(64 * MIB // 4).sum())
    assert found.method == "highest resident size since the process began"
    assert found.bytes > 60 * MIB


def test_a_system_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    peak_memory(lambda: torch.ones(64 * MIB // 4).sum())
    expected = memory._high_water()
    monkeypatch.setattr(memory, "STATUS", tmp_path / "missing")
    assert memory._high_water() == pytest.approx(expected, rel=0.1)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An allocator that has given out 100 bytes before a call, and 350 in it."""
    peaks = [900, 350]  # before and after the reset
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peaks.pop(0))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peaks[0])


def test_on_a_gpu_the_allocator_is_asked(gpu: None) -> None:
    found = peak_memory(lambda: None, "cuda:0")
    assert found == memory.Memory(250, "peak of the CUDA allocator")


def test_inference_takes_weights_and_the_maps_alive_at_once() -> None:
    images = torch.ones(1, 2, 256, 256)  # half a MiB
    layers = nn.Sequential(*[nn.PReLU() for _ in range(16)])  # for gradients each would keep its input
    found = inference_memory(layers, images)
    assert found.bytes == 16 * 4 + 2 * MIB // 2
    assert not layers.training
    assert inference_memory(layers, images) == found


def test_views_and_what_is_done_in_place_take_nothing() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 8, 1, bias=False), nn.ReLU(inplace=True), nn.Flatten(), nn.BatchNorm1d(8 * 64))
    norms = 4 * 4 * 512 + 8  # weights, biases, running means and variances, and the number of batches
    assert inference_memory(layers, torch.ones(3, 1, 8, 8)).bytes == 8 * 4 + norms + 2 * 3 * 8 * 64 * 4


def test_inference_on_a_gpu_takes_weights_and_what_the_allocator_gives(gpu: None) -> None:
    network = nn.Identity()
    network.register_buffer("held", torch.zeros(25))
    found = inference_memory(network, SimpleNamespace(is_cuda=True, device="cuda:0"))  # type: ignore[arg-type]
    assert found == memory.Memory(350, "weights and peak of the CUDA allocator")
