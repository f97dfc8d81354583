"""The benchmark command on networks and sizes so small that it ends: what it counts and compares, never how fast."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_command
from PIL import Image
from torch import nn

from benchmarks import __main__ as command
from benchmarks import ceilings, detection, layers, million, pipeline, segmentation, speed, training
from resnest_core import modes
from resnest_core.devices import choose_device

CPU = choose_device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "SIDE", {"cpu": 8})
    monkeypatch.setattr(ceilings, "COPIED", 1024)
    for name, value in {"SEGMENTER": "mini_deeplab_resnest11", "CROP": 40, "CROP_SIZE": 32}.items():
        monkeypatch.setattr(speed, name, value)
    monkeypatch.setattr(speed, "DETECTOR", "mini_faster_rcnn_resnest11")
    monkeypatch.setattr(speed, "SEEN", (40, 56))
    monkeypatch.setattr(training, "CROP_SIZE", 32)
    monkeypatch.setattr(pipeline, "CROP_SIZE", 32)
    monkeypatch.setattr(command, "REFERENCE", "resnest50_fast_1s1x64d")


def measured(main: Callable[..., None], out: Path, *arguments: str) -> dict[str, Any]:
    """What one of the commands writes."""
    run_command(main, "--out", str(out), *arguments)
    return dict(json.loads(out.read_text()))


def test_traffic_is_inputs_outputs_and_weights() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Identity(), nn.ReLU())
    convolution = 3 * 8 * 9 + 4 * 8 * 9
    weights = 4 * 3 * 3 * 3 + 4
    assert ceilings.traffic(model, torch.zeros(1, 3, 8, 9), 1) == convolution + weights + 2 * 4 * 8 * 9
    assert ceilings.traffic(model, torch.zeros(1, 3, 8, 9), 8) == convolution + weights / 8 + 2 * 4 * 8 * 9


def test_convolutions_are_counted_and_timed_once_for_each_kind() -> None:
    same = [nn.Conv2d(4, 4, 3, padding=1, groups=2) for _ in range(2)]
    model = nn.Sequential(nn.Conv2d(3, 4, 1, stride=2), *same, nn.ReLU())
    found = layers.convolutions(model, torch.zeros(1, 3, 8, 10), 2, "fp32", CPU)
    assert [row["number"] for row in found["kinds"]] == [1, 2]
    assert [row["operations"] for row in found["kinds"]] == [2 * 2 * 4 * 5 * 4 * 3, 2 * 2 * 4 * 5 * 4 * 2 * 9]
    seconds = sum(row["number"] * row["seconds"] for row in found["kinds"])
    operations = sum(row["number"] * row["operations"] for row in found["kinds"])
    assert found["operations_per_second"] == pytest.approx(operations / seconds)


def test_turns_go_to_and_fro_after_a_first_round() -> None:
    order: list[str] = []
    seconds = speed.by_turns({name: lambda name=name: order.append(name) for name in "abc"}, 2, CPU)
    assert "".join(order) == "cbaabccba"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2, "c": 2}


def test_shares_are_of_the_product_in_the_same_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "SIDE", {"cpu": 10})
    assert ceilings.operations(CPU) == 2000
    found = speed.share(500, [1.0, 2.0, 4.0], [2.0, 2.0, 2.0], CPU)
    assert (found["low"], found["value"], found["high"]) == (0.1875, 0.25, 0.375)


def test_ratios_are_taken_round_by_round() -> None:
    found = speed.quotient([2.0, 30.0, 8.0], [1.0, 10.0, 2.0])
    assert (found["value"], found["n"], found["unit"]) == (3.0, 3, "1")


def test_random_networks_are_so_tame_that_rounding_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "CROP_SIZE", 96)
    ways = {row["mode"]: row for row in speed.classifier("resnest269", CPU, 2, 1, compiled=False)}
    assert ways["exact"]["largest"] < 1e-5


def test_distances_are_in_deviations_of_the_reference() -> None:
    reference = torch.tensor([[1.0, 3.0], [3.0, 1.0]])
    found = speed._distance(reference + torch.tensor([[3.0, 0.0], [0.0, 0.0]]), reference)
    assert found["largest"] == pytest.approx(3 / np.std([1, 3, 3, 1], ddof=1))
    assert (found["median"], found["flipped"]) == (0.0, 0.5)


def test_timm_is_left_out_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not speed._timm("resnetd50", CPU)
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    assert not speed._timm("resnest50", CPU)


def test_few_photographs_are_taken_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (40, 30), colour).save(source / f"{name}.png")
    files = pipeline.photographs(source, tmp_path, 3)
    assert [files.load(i).getpixel((0, 0)) for i in range(len(files))] == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]


@pytest.mark.timeout(300)
def test_the_command_measures_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "can_compile", lambda device: False)
    network = command.REFERENCE
    arguments = ["--networks", network, "--compiled", "none", "--batch-size", "2", "--rounds", "1", "--limit", "4"]
    found = measured(command.main, tmp_path / "new" / "machine.json", *arguments)
    assert found["ceilings"]["matrix_product"]["fp32"]["value"] > 0
    assert found["convolutions"][0]["operations_per_second"] > 0
    assert any("dilation" in kind["convolution"] for kind in found["segmenter_convolutions"][0]["kinds"])
    rows = {row["way"]: row for row in found["networks"]}
    assert rows[speed.LITERAL]["times_as_fast"]["value"] == 1
    assert rows[str(modes.exact())]["largest"] < 1e-5
    assert all(row["share_of_product"]["value"] > 0 for row in rows.values())
    assert {row["mode"]: row["precision"] for row in rows.values() if row["mode"]} == {
        "exact": "fp32",
        "fast": modes.fast(CPU, compiling=False).precision,
    }
    assert all(row["network"] == network and row["multiply_adds"] > 10**7 for row in rows.values())
    assert {row["way"] for row in found["training"]} >= {speed.LITERAL, "fp32"}
    assert len(found["detector"]) >= 2
    assert found["segmenter"][0]["network"] == "mini_deeplab_resnest11"
    evaluated = {row["way"]: row for row in found["pipeline"]}
    assert set(evaluated) == {"exact", "fast", speed.LITERAL}
    assert evaluated["fast"]["execution"]["mode"] == "fast"
    assert evaluated["exact"]["stages"]["forward"] > 0
    assert found["provenance"]["threads"] == torch.get_num_threads()


def test_the_authors_protocol_of_segmentation_is_set_against_theirs(tmp_path: Path) -> None:
    small = ["--model", "mini_deeplab_resnest11", "--dataset", "scenes", "--height", "40", "--width", "56"]
    found = measured(segmentation.main, tmp_path / "scenes.json", *small, "--rounds", "2")
    assert found["multi_scale"]["difference_over_deviation"] < 1e-4
    assert {name: len(seconds) for name, seconds in found["multi_scale"]["seconds"].items()} == {
        speed.LITERAL: 2,
        "six scales": 2,
    }
    assert found["multi_scale"]["times_as_fast"]["n"] == 2


def test_a_detector_is_timed_with_all_its_detections(tmp_path: Path) -> None:
    small = ["--model", "mini_mask_rcnn_resnest11", "--height", "64", "--width", "80", "--rounds", "1"]
    found = measured(detection.main, tmp_path / "detection.json", *small)
    assert 50 < found["detection"]["detections"] <= 100
    assert found["detection"]["images_per_second"]["value"] > 0


@pytest.mark.timeout(300)
def test_shards_are_written_read_and_evaluated_by_number_of_images(tmp_path: Path) -> None:
    found = measured(
        million.main, tmp_path / "shards.json", "--images", "20", "--images", "30", "--most-evaluated", "20"
    )
    steps = [(row["images"], row["step"]) for row in found["rows"]]
    assert steps == [(20, "write"), (20, "read"), (20, "evaluate"), (30, "write"), (30, "read")]
    assert all(row["peak_memory"] > 10**8 for row in found["rows"])
