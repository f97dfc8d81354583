"""Accuracy on reassessed labels of ImageNet, from records of a tiny tree."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy import stats

from resnest_core.analyses.real_labels import read_real_labels
from resnest_core.analyses.robustness import measure_robustness
from resnest_core.data.imagenet import synsets
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.experiments.classification import Classification
from resnest_core.models import create_model


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network with random weights, of ImageNet's classes, on four of its images, which are made here."""
    root = tmp_path_factory.mktemp("imagenet")
    random = np.random.default_rng(0)
    for number, target in ((1, 5), (2, 3), (3, 5), (5, 0)):
        folder = root / "data" / "val" / synsets()[target]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (50, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"ILSVRC2012_val_{number:08d}.JPEG")
    torch.manual_seed(0)
    save_file(create_model("mini_resnest11", num_classes=1000).state_dict(), root / "weights.safetensors")
    settings = {"dataset": "imagenet", "data": str(root / "data"), "weights": str(root / "weights.safetensors")}
    settings |= {"crop_size": 32, "protocol": Protocol(4, "cpu")}
    Classification("mini_resnest11", str(root / "run"), **settings).result  # noqa: B018 - the work is done on access
    return str(root / "run")


def write(path: Path, labels: object) -> str:
    path.write_text(json.dumps(labels))
    return str(path)


def test_images_without_labels_do_not_count(imagenet: str, tmp_path: Path) -> None:
    """Image 1 is right, 2 has no label, 3 is wrong, 4 was not evaluated, 5 is right by the second of its labels."""
    run = Path(shutil.copytree(imagenet, tmp_path / "run"))
    records = pd.read_parquet(run / "records.parquet")
    numbers = records["image"].map(lambda image: int(Path(image).stem[-8:]))
    assert sorted(numbers) == [1, 2, 3, 5]
    records.assign(predicted=10 * numbers).to_parquet(run / "records.parquet")
    path = write(tmp_path / "real.json", [[7, 10], [], [10, 20], [30], [999, 50]])
    result = measure_robustness([str(run)], tmp_path / "out", real_labels=path, limit=2, device="cpu")
    found = result["metrics"]["run.real"]
    assert found["value"] == pytest.approx(100 * 2 / 3), "of all images that were evaluated, whatever the limit"
    expected = stats.binomtest(2, 3).proportion_ci(method="wilson")
    assert (found["n"], found["unit"]) == (3, "%")
    assert (found["low"], found["high"]) == pytest.approx((100 * expected.low, 100 * expected.high))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1], [2]], "image 'n.*ILSVRC2012_val_00000005.JPEG' is none of the 2 that have labels"),
        ([[], [], [], [], []], "none of the images of '.*' has a label in '.*real.json'"),
        ([[1], [1000], [], [], []], "is no list of lists of classes from 0 to 999; valid: real.json of github"),
        ([[1], "2"], "is no list of lists of classes"),
        ([[1], [True]], "is no list of lists of classes"),
        ({"1": [1]}, "is no list of lists of classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(imagenet: str, tmp_path: Path, labels: object, message: str) -> None:
    path = write(tmp_path / "real.json", labels)
    with pytest.raises(InputError, match=message) as error:
        measure_robustness([imagenet], tmp_path / "out", real_labels=path, device="cpu")
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.json' cannot be read .*; valid: real.json of github"):
        read_real_labels(tmp_path / "absent.json")
    (tmp_path / "cut.json").write_text("[[1], [2")
    with pytest.raises(InputError, match=r"cut.json' cannot be read"):
        read_real_labels(tmp_path / "cut.json")


def test_other_file_names_are_refused(imagenet: str, tmp_path: Path) -> None:
    root = Path(shutil.copytree(imagenet, tmp_path / "run"))
    records = pd.read_parquet(root / "records.parquet")
    records.assign(image="val/cat.JPEG").to_parquet(root / "records.parquet")
    path = write(tmp_path / "real.json", [[1]])
    with pytest.raises(InputError, match=r"image 'val/cat.JPEG' is none of the 1 that have labels; valid: ILS"):
        measure_robustness([str(root)], tmp_path / "out", real_labels=path, device="cpu")
