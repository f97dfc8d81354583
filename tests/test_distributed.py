"""Several processes under torchrun: the rows and weights of one, going on after SIGKILL, and errors that end all."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import several
import several_tasks
import torch
from PIL import Image
from safetensors.torch import load_file
from several import Coloured, classify
from small import CLASSES
from torch import nn

from resnest_core.data.batches import training_batches
from resnest_core.data.transforms import Preprocessing
from resnest_core.models import create_model
from resnest_core.training import loop
from resnest_core.training.synchronised import SynchronisedBatchNorm

FILES = ["classification/records", "left/records", "segmentation/records", "detection/records"]
FILES += ["detection/truths", "detection/detections", "panoptic/records", "panoptic/segments"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three processes leave that are killed when two of them have done a batch, and not the first two."""
    out = tmp_path_factory.mktemp("killed")
    with several.torchrun(3, several.__file__, str(out)) as agent:
        end = time.monotonic() + several.PATIENCE
        while len(parts(out / "stuck")) < 2:
            assert agent.poll() is None, agent.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.05)
    return out


def parts(out: Path) -> list[str]:
    return sorted(path.stem for path in out.glob("partial/*/[0-9]*.parquet"))


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes."""
    out = tmp_path_factory.mktemp("one")
    several_tasks.evaluate(out)
    several_tasks.train(out)
    return out


@pytest.fixture(scope="module")
def two(killed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What two processes make, going on from rows of three that were killed and from an epoch of one; their output."""
    out = tmp_path_factory.mktemp("two")
    shutil.copytree(killed / "stuck", out / "left")
    run_epoch = loop.Training._run_epoch

    def dying(self: loop.Training, epoch: int, bar: object) -> None:
        if epoch == 1:
            raise Killed
        run_epoch(self, epoch, bar)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Training, "_run_epoch", dying)
        with pytest.raises(Killed):
            several_tasks.learn_classes(out / "classes")
    status, printed, errors = several.run(2, several_tasks.__file__, str(out))
    assert status == 0, errors
    return out, printed


@pytest.mark.parametrize("file", FILES)
def test_two_processes_make_the_rows_of_one(file: str, one: Path, two: tuple[Path, str]) -> None:
    expected, found = (pd.read_parquet(out / f"{file}.parquet") for out in (one, two[0]))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert len(found) > 1, "or a row group of two would hold all"
    assert not list(two[0].glob("*/partial"))


def test_two_processes_find_the_metrics_of_one(one: Path, two: tuple[Path, str]) -> None:
    for task, name in {
        "classification": "loss",
        "segmentation": "mIoU",
        "detection": "mask_AP",
        "panoptic": "PQ",
    }.items():
        expected, found = (json.loads((out / task / "result.json").read_text()) for out in (one, two[0]))
        assert found["metrics"][name] == expected["metrics"][name]
        assert (expected["provenance"]["processes"], found["provenance"]["processes"]) == (1, 2)


def test_the_program_prints_one_line(two: tuple[Path, str]) -> None:
    out, printed = two
    assert printed.count("Top1 Acc: ") == 1
    assert pd.read_parquet(out / "cli" / "records.parquet")["index"].tolist() == list(range(23))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads have names in Linux's /proc alone")
def test_the_program_ends_without_threads_that_could_abort_it(two: tuple[Path, str]) -> None:
    names = [(two[0] / f"threads{rank}").read_text() for rank in range(2)]
    assert all("python" in those or "pt_main" in those for those in names)
    assert not any("gloo" in those for those in names)


@pytest.mark.parametrize("task", ["classes", "pixels"])
def test_two_processes_learn_the_weights_of_one(task: str, one: Path, two: tuple[Path, str]) -> None:
    expected, found = (load_file(out / task / "weights.safetensors") for out in (one, two[0]))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-9 * float(value.abs().max()), msg=key)
    curves = [pd.read_csv(out / task / "curves.csv") for out in (one, two[0])]
    pd.testing.assert_frame_equal(*curves, rtol=1e-9)
    assert len(curves[0]) > 1


@pytest.mark.parametrize("task", ["classes", "pixels", "objects"])
def test_all_processes_end_with_the_same_weights(task: str, two: tuple[Path, str]) -> None:
    digests = {(two[0] / task / f"digest{rank}").read_text() for rank in range(2)}
    assert len(digests) == 1


def test_what_three_processes_left_is_gone_on_with_by_one(
    killed: Path, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parts(killed / "stuck") == ["000000000", "000000008"]
    shutil.copytree(killed / "stuck", tmp_path / "left")
    seen: list[int] = []

    class Watched(Coloured):
        def load(self, index: int) -> Image.Image:
            seen.append(index)
            return super().load(index)

    classify(tmp_path / "left", Watched())
    assert seen[4:] == [4, 5, 6, 7, *range(12, 23)], "what was done is not looked at again, but for the first batch"
    expected, found = (pd.read_parquet(out / "records.parquet") for out in (one / "classification", tmp_path / "left"))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_more_processes_than_batches(killed: Path, one: Path) -> None:
    found = pd.read_parquet(killed / "few" / "records.parquet")
    expected = pd.read_parquet(one / "classification" / "records.parquet")
    assert found["index"].tolist() == list(range(5))
    pd.testing.assert_frame_equal(found[:4], expected[:4], check_exact=True)


def folder(root: Path, broken: int) -> Path:
    """Class folders of ten images, of which one is broken."""
    for index in range(10):
        path = root / "val" / CLASSES[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * index,) * 3).save(path)
        if index == broken:
            path.write_bytes(b"no image")
    return root


def errors_of(out: Path, *arguments: str) -> str:
    """What two processes of the program that fail say."""
    command = ["-m", "resnest_core", "evaluate", "mini_resnest11", "--device", "cpu", "--out", str(out), *arguments]
    status, _, errors = several.run(2, *command)
    assert status != 0
    assert not (out / "result.json").exists()
    return errors


def test_what_all_processes_find_wrong_is_said_once(tmp_path: Path) -> None:
    assert errors_of(tmp_path, "--crop", "3").count("error: No such option: --crop") == 1


def test_what_one_process_finds_wrong_ends_the_others_silently(tmp_path: Path) -> None:
    """A broken image that the second process meets while the first waits for it."""
    weights = tmp_path / "weights.pth"
    torch.save(create_model("mini_resnest11", num_classes=2).state_dict(), weights)
    given = ["--dataset", "imagefolder", "--data", str(folder(tmp_path / "data", broken=8)), "--weights", str(weights)]
    errors = errors_of(tmp_path / "out", *given, "--batch-size", "5", "--workers", "0")
    assert errors.count("error: ") == errors.count("/8.png' cannot be read") == 1
    assert "RuntimeError" not in errors


class Noise(Coloured):
    """Images that no two parts of are alike."""

    def load(self, index: int) -> Image.Image:
        pixels = np.random.default_rng(index).integers(256, size=(12, 10, 3), dtype=np.uint8)
        return Image.fromarray(pixels)


@pytest.mark.parametrize("workers", [0, 2])
def test_photographs_are_augmented_alike_whoever_reads_them(workers: int) -> None:
    def batches(part: slice, workers: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
        torch.manual_seed(part.start or 0)
        given = {"batch_size": 5, "seed": 3, "augment": True, "workers": workers, "part": part}
        return list(training_batches(Noise(), Preprocessing(crop_size=8), **given))

    whole = batches(slice(None))
    pieces = [batches(slice(rank, None, 3), workers) for rank in range(3)]
    assert len(whole) == 4
    for step, (images, targets) in enumerate(whole):
        for rank in range(3):
            assert torch.equal(pieces[rank][step][0], images[rank::3])
            assert torch.equal(pieces[rank][step][1], targets[rank::3])


def test_a_batch_of_fewer_images_than_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "40", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="batch size 33 is less than the 40 processes"):
        several_tasks.learn_classes(tmp_path)


def test_normalisation_is_that_of_torch_in_one_process() -> None:
    ours, torchs = SynchronisedBatchNorm(6).double(), nn.BatchNorm2d(6).double()
    for layer in (ours, torchs):
        nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(1))
    images = torch.randn(5, 6, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 7
    inputs = [images.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(x) for layer, x in zip((ours, torchs), inputs, strict=True)]
    for output in outputs:
        (output * torch.arange(3)).square().sum().backward()
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for name, value in torchs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    for name, parameter in torchs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad)


def test_normalisation_of_half_precision_counts_in_single() -> None:
    ours, torchs = SynchronisedBatchNorm(2), nn.BatchNorm2d(2)
    # 969 values in a channel: none of bfloat16's numbers
    images = torch.randn(3, 2, 17, 19, generator=torch.Generator().manual_seed(2)) + 3
    output = ours(images.bfloat16())
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), torchs(images.bfloat16().float()), atol=0.02, rtol=0.01)
    torch.testing.assert_close(ours.running_var, torchs.running_var, atol=1e-4, rtol=1e-4)
