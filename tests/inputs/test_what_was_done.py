"""An evaluation that was begun elsewhere is resumed in the same way or refused, and says what made each row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from small import Coloured

import resnest_core as rc
from resnest_core import modes, provenance
from resnest_core.data import open_dataset, open_detection, open_segmentation
from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import InputError
from resnest_core.evaluation import classification, detection, records, segmentation
from resnest_core.experiments.finished import precisions
from resnest_core.training.classification import Recipe, train_classifier
from resnest_core.training.loop import WEIGHTS, Training

N, LEFT = 6, 2  # images, and those that are done when the first evaluation is killed
MODELS = {
    "classification": "mini_resnest11",
    "segmentation": "mini_deeplab_resnest11",
    "detection": "mini_faster_rcnn_resnest11",
}
each_task = pytest.mark.parametrize("task", MODELS)


class Dying:
    """A data set whose image `LEFT` never comes."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def __getattr__(self, name: str) -> Any:
        return getattr(self.images, name)

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Any:
        if index == LEFT:
            raise KeyboardInterrupt
        return self.images.load(index)


def evaluate(task: str, out: Path, mode: str, *, dying: bool = False, precision: str = "fp32") -> dict[str, Any]:
    torch.manual_seed(0)
    own: dict[str, Any] = {"num_classes": 7} if task == "classification" else {}
    model: Any = rc.create_model(MODELS[task], **own).eval()
    scenes = open_segmentation if task == "segmentation" else open_detection
    images: Any = Coloured(N) if task == "classification" else scenes("scenes", limit=N)
    images = Dying(images) if dying else images
    given = {"device": "cpu", "mode": mode, "precision": precision}
    if task == "classification":
        protocol = classification.Protocol(batch_size=1, keep_logits=True, **given)
        return classification.evaluate_classifier(model, images, Preprocessing(crop_size=28), out, protocol)
    if task == "segmentation":
        view = segmentation.View(base_size=40, crop_size=0)
        return segmentation.evaluate_segmenter(model, images, out, segmentation.Protocol(view, **given))
    return detection.evaluate_detector(model, images, out, detection.Protocol(**given))


def rows(task: str, out: Path) -> pd.DataFrame:
    name = "detections" if task == "detection" else "records"
    return pd.read_parquet(out / f"{name}.parquet")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what this machine is: its name, whether it multiplies bf16, whether it compiles."""

    def be(name: str, *, bf16: bool = False, compiler: bool = False) -> None:
        monkeypatch.setattr(provenance, "_processor", lambda: name)
        monkeypatch.setattr(modes, "has_bf16", lambda device: bf16)
        monkeypatch.setattr(modes, "can_compile", lambda device: compiler)

    monkeypatch.setattr(records, "SECONDS_BETWEEN_PARTS", -1.0)
    return be


@each_task
def test_the_rest_is_done_as_the_beginning(task: str, tmp_path: Path, machine: Callable[..., None]) -> None:
    machine("new", bf16=True)
    with pytest.raises(KeyboardInterrupt):
        evaluate(task, tmp_path / "killed", "fast", dying=True)
    whole = evaluate(task, tmp_path / "whole", "fast")
    machine("old")
    result = evaluate(task, tmp_path / "killed", "fast")
    exact = evaluate(task, tmp_path / "exact", "exact")
    found, expected = rows(task, tmp_path / "killed"), rows(task, tmp_path / "whole")
    pd.testing.assert_frame_equal(found, expected)
    if task != "segmentation":  # whose classes need not change
        assert not found.equals(rows(task, tmp_path / "exact"))
    assert result["provenance"]["precision"] == result["provenance"]["execution"]["execution"]["precision"] == "bf16"
    assert exact["provenance"]["precision"] == "fp32"
    made = {row["processor"]: row["images"] for row in result["provenance"]["rows"]}
    assert made == {"new": LEFT, "old": N - LEFT}
    assert "rows" not in whole["provenance"]
    assert result["provenance"]["processor"] == "old"


@each_task
def test_the_network_is_built_in_the_way_that_is_recorded(
    task: str, tmp_path: Path, machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("new", bf16=True)
    with pytest.raises(KeyboardInterrupt):
        evaluate(task, tmp_path, "fast", dying=True)
    machine("old")
    built, init = [], modes.Runner.__init__

    def noted(self: modes.Runner, *given: Any, **more: Any) -> None:
        init(self, *given, **more)
        built.append(self.execution.precision)

    monkeypatch.setattr(modes.Runner, "__init__", noted)
    evaluate(task, tmp_path, "fast")
    assert built[-1] == "bf16"


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_way_that_this_machine_cannot_do_is_refused(
    task: str, tmp_path: Path, machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("new", bf16=True, compiler=True)
    with monkeypatch.context() as there:
        there.setattr(modes, "compiled", lambda model, call, mode: call)  # takes a minute
        with pytest.raises(KeyboardInterrupt):
            evaluate(task, tmp_path, "fast", dying=True)
    machine("old", bf16=True)
    with pytest.raises(InputError, match=r"was begun as 'bf16, .* compiled \(default\)', which this machine cannot do"):
        evaluate(task, tmp_path, "fast")
    assert not (tmp_path / "result.json").exists()
    assert list((tmp_path / "partial").glob("*/0*.parquet")), "what is done stays for a machine that can"


@each_task
def test_a_precision_that_the_device_does_not_have_is_not_recorded(
    task: str, tmp_path: Path, machine: Callable[..., None]
) -> None:
    machine("any")
    assert evaluate(task, tmp_path, "exact", precision="tf32")["provenance"]["precision"] == "fp32"


def test_analyses_tell_the_precision_of_every_run() -> None:
    class Run:
        def __init__(self, precision: str) -> None:
            self.precision = precision

    runs: Any = [Run("bf16"), Run("tf32"), Run("bf16")]
    assert precisions(runs, torch.device("cpu")) == "bf16, fp32"


def test_weights_tell_what_trained_them(tmp_path: Path, machine: Callable[..., None]) -> None:
    images, recipe = open_dataset("fashion_mnist", split="train", limit=32), Recipe(epochs=3, batch_size=16)

    def train() -> None:
        train_classifier("mini_resnest11", images, images, tmp_path, recipe, device="cpu")

    with pytest.MonkeyPatch.context() as killed:
        machine("first")
        save = Training._save_state

        def once(self: Training, out: Path) -> None:
            save(self, out)
            raise KeyboardInterrupt

        killed.setattr(Training, "_save_state", once)
        with pytest.raises(KeyboardInterrupt):
            train()
    machine("second")
    train()
    told = provenance.Stopwatch().provenance(weights_file=tmp_path / WEIGHTS)["training"]
    assert [(one["processor"], one["steps"], one["device"]) for one in told] == [
        ("first", 2, "cpu"),
        ("second", 4, "cpu"),
    ]
    with safe_open(tmp_path / WEIGHTS, framework="np") as file:
        assert np.isfinite(file.get_tensor("fc.weight")).all()
    torch.save({}, tmp_path / "other.pth")
    assert provenance.Stopwatch().provenance(weights_file=tmp_path / "other.pth")["training"] is None
