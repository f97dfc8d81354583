"""The mode of an evaluation: settled once, recorded, kept by what goes on, and the time of its stages beside it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small import Coloured, Linear

import resnest_core as rc
from resnest_core import modes, stages
from resnest_core.data import open_detection, open_segmentation
from resnest_core.data.imagenet import open_folder
from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import InputError
from resnest_core.evaluation import detection, segmentation
from resnest_core.evaluation import records as stored
from resnest_core.evaluation.classification import Protocol, evaluate_classifier
from resnest_core.modes import Execution

RULE = Preprocessing(crop_size=32)


@pytest.fixture(autouse=True)
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes a minute, and what it gives is tested with the modes."""
    monkeypatch.setattr(modes, "can_compile", lambda device: False)


class Dying(Coloured):
    def load(self, index: int) -> Image.Image:
        if index == 6:
            raise KeyboardInterrupt
        return super().load(index)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return rc.create_model("mini_resnest11", num_classes=7).eval()


def run(out: Path, mode: str, n: int = 9) -> tuple[dict, pd.DataFrame]:
    protocol = Protocol(batch_size=4, device="cpu", mode=mode, keep_logits=True)
    result = evaluate_classifier(network(), Coloured(n), RULE, out, protocol)
    return result, pd.read_parquet(out / "records.parquet")


def test_each_mode_is_recorded_and_its_difference_felt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "has_bf16", lambda device: True)
    exact, expected = run(tmp_path / "exact", "exact")
    assert exact["provenance"]["execution"]["mode"] == "exact"
    assert exact["provenance"]["execution"]["execution"]["precision"] == exact["provenance"]["precision"] == "fp32"
    fast, found = run(tmp_path / "fast", "fast")
    assert fast["provenance"]["precision"] == "bf16"
    largest = np.abs(np.stack(found["logits"]) - np.stack(expected["logits"])).max()
    assert 0 < largest < 0.1 * np.stack(expected["logits"]).std()
    assert fast["metrics"]["parameters"] == exact["metrics"]["parameters"], "folding must not be counted"
    assert fast["metrics"]["multiply_adds"] == exact["metrics"]["multiply_adds"]


def test_exact_is_the_network_as_it_is(tmp_path: Path) -> None:
    _, found = run(tmp_path, "exact")
    images = torch.stack([RULE(Coloured(9).load(i)) for i in range(9)])
    with torch.no_grad():
        expected = network()(images)
    assert modes.difference(torch.tensor(np.stack(found["logits"])), expected).max() < 1e-5


def test_what_goes_on_keeps_the_choice_of_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = iter([Execution("bf16", channels_last=False), Execution()])
    monkeypatch.setattr(modes, "best", lambda trials: modes.Trial(next(chosen), 1.0, 0.0))
    monkeypatch.setattr(stored, "SECONDS_BETWEEN_PARTS", -1.0)
    protocol = Protocol(batch_size=4, device="cpu", mode="auto")
    with pytest.raises(KeyboardInterrupt):
        evaluate_classifier(network(), Dying(9), RULE, tmp_path, protocol)
    settled = json.loads(next((tmp_path / "partial").glob("*/settled.json")).read_text())
    result = evaluate_classifier(network(), Coloured(9), RULE, tmp_path, protocol)
    assert result["provenance"]["execution"] == settled
    assert settled["execution"] == {"precision": "bf16", "channels_last": False, "folded": True, "compiled": ""}
    assert len(settled["trials"]) == len(modes.candidates(torch.device("cpu"), compiling=False))


def test_rows_of_another_mode_are_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "has_bf16", lambda device: True)
    monkeypatch.setattr(stored, "SECONDS_BETWEEN_PARTS", -1.0)
    protocol = Protocol(batch_size=4, device="cpu", keep_logits=True)
    with pytest.raises(KeyboardInterrupt):
        evaluate_classifier(network(), Dying(9), RULE, tmp_path / "killed", protocol)
    assert list((tmp_path / "killed" / "partial").glob("*/0*.parquet"))
    _, expected = run(tmp_path / "undisturbed", "fast")
    _, found = run(tmp_path / "killed", "fast")
    pd.testing.assert_frame_equal(found, expected)


def test_segmenters_and_detectors_have_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "has_bf16", lambda device: True)
    scenes = open_segmentation("scenes", limit=2)
    view = segmentation.View(base_size=40, crop_size=0)
    for mode in ("fast", "auto"):
        model = rc.create_model("mini_deeplab_resnest11")
        protocol = segmentation.Protocol(view, device="cpu", mode=mode)
        result = segmentation.evaluate_segmenter(model, scenes, tmp_path / mode, protocol)
        assert result["provenance"]["execution"]["mode"] == mode
    detector, found = rc.create_model("mini_faster_rcnn_resnest11"), open_detection("scenes", limit=2)
    result = detection.evaluate_detector(detector, found, tmp_path / "d", detection.Protocol(device="cpu", mode="fast"))
    assert result["provenance"]["execution"]["execution"]["precision"] == "bf16"
    assert result["provenance"]["execution"]["execution"]["compiled"] == ""
    with pytest.raises(InputError, match=r"mode 'auto' compares logits, .* valid: exact, fast"):
        detection.evaluate_detector(detector, found, tmp_path / "e", detection.Protocol(device="cpu", mode="auto"))
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("mode", "precision", "message"),
    [("quick", "fp32", "unknown mode 'quick'"), ("fast", "bf16", "mode 'fast' sets the precision itself")],
)
def test_bad_modes(tmp_path: Path, mode: str, precision: str, message: str) -> None:
    protocol = Protocol(device="cpu", mode=mode, precision=precision)
    with pytest.raises(InputError, match=message):
        detection.Protocol(device="cpu", mode=mode, precision=precision)
    with pytest.raises(InputError, match=message):
        evaluate_classifier(Linear(), Coloured(), RULE, tmp_path, protocol)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_time_of_each_stage_is_recorded(tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "images"
    for index in range(9):
        (folder / f"class{index % 7}").mkdir(parents=True, exist_ok=True)
        Coloured().load(index).save(folder / f"class{index % 7}" / f"{index}.jpg")
    protocol = Protocol(batch_size=2, device="cpu", workers=workers)
    result = evaluate_classifier(network(), open_folder(folder, "test", 0), RULE, tmp_path / "out", protocol)
    seconds = result["provenance"]["stages"]
    assert set(seconds) == {"read", "decode", "resize", "transfer", "forward", "records", "costs", "whole"}
    assert min(seconds.values()) > 0
    parts = ("forward", "records", "transfer", "costs")
    assert sum(seconds[name] for name in parts) <= seconds["whole"], "what this process did fits into its time"


def test_stages_count_what_is_inside_and_since_when() -> None:
    with stages.stage("here"):
        pass
    before = stages.spent()
    with pytest.raises(ValueError, match="bad"), stages.stage("here"):
        raise ValueError("bad")
    assert 0 < stages.spent(before)["here"] < stages.spent()["here"]
