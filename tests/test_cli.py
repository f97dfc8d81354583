"""The command line, as its users call it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from resnest_core import cli
from resnest_core.models import create_model


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["resnest-core", *arguments])
    try:
        cli.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_train_then_evaluate_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--epochs", "1", "--limit", "320", "--device", "cpu", "--out", str(tmp_path / "trained")]
    status, trained, _ = run(monkeypatch, capsys, "train", "mini_resnetd11", *arguments)
    assert status == 0
    weights = tmp_path / "trained" / "weights.safetensors"
    arguments = ["--dataset", "fashion_mnist", "--weights", str(weights), "--device", "cpu", "--batch-size", "256"]
    status, evaluated, _ = run(
        monkeypatch, capsys, "evaluate", "mini_resnetd11", *arguments, "--out", str(tmp_path / "e")
    )
    assert status == 0
    assert evaluated.splitlines()[-1] == trained.splitlines()[-1]
    assert evaluated.splitlines()[-1].startswith("Top1 Acc: ")


def test_models_of_a_task(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(monkeypatch, capsys, "models", "--task", "classification")
    assert status == 0
    assert "resnest269               110.93 M parameters   416 x 416" in out


def test_a_segmentation_network_is_evaluated_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, picture = tmp_path / "w.pth", tmp_path / "photograph.png"
    torch.save(create_model("mini_deeplab_resnest11").state_dict(), weights)
    Image.new("RGB", (60, 45), (90, 20, 20)).save(picture)
    given = ["mini_deeplab_resnest11", "--weights", str(weights), "--device", "cpu"]
    arguments = ["--view", "single_scale", "--limit", "3", "--workers", "0", "--out", str(tmp_path / "e")]
    status, out, _ = run(monkeypatch, capsys, "evaluate", *given, *arguments)
    assert status == 0
    assert re.fullmatch(r"pixAcc: \d+\.\d\d \| mIoU: \d+\.\d\d", out.splitlines()[-1])
    shown = tmp_path / "shown.png"
    status, out, _ = run(monkeypatch, capsys, "segment", given[0], str(picture), *given[1:], "--out", str(shown))
    assert status == 0
    with Image.open(shown) as image:
        assert image.width > 500
    status, _, error = run(monkeypatch, capsys, "segment", given[0], str(picture), *given[1:], "--out", "shown.txt")
    assert status != 0
    assert "'shown.txt' is no name of a picture; valid: one that ends in .png, .svg, .pdf" in error


def test_a_detector_is_evaluated_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, weights, picture = "mini_mask_rcnn_resnest11", tmp_path / "w.pth", tmp_path / "photograph.jpg"
    torch.manual_seed(0)
    model = create_model(name)
    torch.nn.init.normal_(model.get_submodule("roi_heads.box_predictor.0.cls_score").weight, std=1.0)
    torch.save(model.state_dict(), weights)
    Image.effect_noise((60, 45), 90).save(picture)
    given = ["--weights", str(weights), "--device", "cpu"]
    arguments = ["--limit", "2", "--workers", "0", "--out", str(tmp_path / "e")]
    status, out, _ = run(monkeypatch, capsys, "evaluate", name, *given, *arguments)
    assert status == 0
    score = r"AP: \d+\.\d\d"
    assert re.fullmatch(rf"box {score} \| box AP50.* \| mask {score} \| mask AP50.*", out.splitlines()[-1])
    pictures = {}
    for least_score in ("0", "1"):
        shown = tmp_path / f"{least_score}.png"
        command = ["detect", name, str(picture), *given, "--least-score", least_score, "--out", str(shown)]
        status, out, _ = run(monkeypatch, capsys, *command)
        assert status == 0
        with Image.open(shown) as image:
            assert image.width > 500
            pictures[least_score] = image.convert("RGB")
    assert len(pictures["0"].getcolors(2**24)) > 2 * len(pictures["1"].getcolors(2**24))


def test_doctor_finds_nothing_wrong_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(monkeypatch, capsys, "doctor")
    assert status == 0, out
    assert "ok   torch with torchvision: the compiled operators work" in out


def test_doctor_names_the_pair_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("torchvision.ops.nms", broken)
    status, out, _ = run(monkeypatch, capsys, "doctor")
    assert status == 1
    assert "BAD  torch with torchvision: operator torchvision::nms does not exist: torch and torchvision are not" in out


BAD = {
    "model": (["evaluate", "resnest5", "--out", "OUT"], "unknown model 'resnest5' (did you mean 'resnest50'?)"),
    "task": (["models", "--task", "chess"], "unknown task 'chess'; valid: classification"),
    "dataset": (["train", "mini_resnest11", "--dataset", "mnist", "--out", "OUT"], "unknown data set 'mnist'"),
    "crop": (
        ["evaluate", "resnest50", "--crop-size", "0", "--out", "OUT"],
        "--crop-size 0 is not possible; valid: ",
    ),
    "weights": (["evaluate", "resnest50", "--weights", "none.pth", "--out", "OUT"], "none.pth"),
    "fetch": (["weights", "fetch", "resnest51"], "unknown published weights 'resnest51'"),
    "data": (
        ["train", "mini_resnest11", "--dataset", "imagefolder", "--data", "nowhere", "--out", "OUT"],
        "data directory 'nowhere' does not exist",
    ),
    "out": (
        ["train", "mini_resnest11", "--limit", "64", "--out", "/proc/nowhere"],
        "'/proc/nowhere' cannot be written",
    ),
    "an option of detectors": (
        ["evaluate", "deeplab_resnest50_ade", "--short-side", "600", "--out", "OUT"],
        "--short-side is for object detection or instance segmentation or panoptic segmentation; "
        "'deeplab_resnest50_ade' is a network for semantic segmentation",
    ),
    "a detector's data": (
        ["evaluate", "mask_rcnn_resnest50_fpn", "--data", "/proc/self/task", "--out", "OUT"],
        "the weights of 'mask_rcnn_resnest50_fpn' are not here",
    ),
    "option of another task": (
        ["evaluate", "resnest50", "--view", "single_scale", "--out", "OUT"],
        "--view is for semantic segmentation; 'resnest50' is a network for classification",
    ),
    "flag": (["evaluate", "resnest50", "--crop", "3", "--out", "OUT"], "No such option: --crop"),
    "command": (["evalaute"], "No such command 'evalaute'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = BAD[case]
    arguments = [str(tmp_path / "out") if argument == "OUT" else argument for argument in arguments]
    status, _, err = run(monkeypatch, capsys, *arguments)
    assert status == 2
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out" / "result.json").exists()


def test_it_is_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "resnest_core", "--help"], capture_output=True, text=True, check=True)
    assert "evaluate" in done.stdout
