"""ImageNet-V2 as small trees of real images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from resnest_core import data
from resnest_core.data import imagenet_v2
from resnest_core.data.imagenet import synsets
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.experiments.classification import Classification
from resnest_core.models import create_model

JPEGS = sorted((Path(__file__).parent / "fixtures").glob("*.jpg"))
CLASSES = (10, 2, 999, 0)  # as text, 10 would come before 2


def tree(root: Path, classes: tuple[int, ...] = CLASSES, images: int = 2) -> Path:
    for number in classes:
        (root / str(number)).mkdir(parents=True)
        for i in range(images):
            shutil.copy(JPEGS[(number + i) % len(JPEGS)], root / str(number) / f"{i}.jpeg")
    return root


def test_folders_are_class_numbers(tmp_path: Path) -> None:
    dataset = data.open_dataset("imagenet_v2", tree(tmp_path))
    assert dataset.classes == synsets()
    assert dataset.targets.tolist() == [0, 0, 2, 2, 10, 10, 999, 999]
    assert dataset.paths[2:5] == ["2/0.jpeg", "2/1.jpeg", "10/0.jpeg"]
    expected = Image.open(JPEGS[10 % len(JPEGS)]).convert("RGB")
    assert np.array_equal(np.asarray(dataset.load(4)), np.asarray(expected))
    assert dataset.digest != data.open_dataset("imagenet_v2", tmp_path, limit=4).digest


def test_what_is_lacking_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.open_dataset("imagenet_v2", tree(tmp_path))
    out = capsys.readouterr().out
    assert out.startswith("data: imagenet_v2: 8 of 8 images, 4 classes, folders by class number in ")
    assert "9,992 of 10,000 images are missing; 996 of 1,000 class folders are missing" in out
    assert out.count("\n") == 1


def test_a_whole_set_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet_v2, "IMAGES", 8)
    monkeypatch.setattr(imagenet_v2, "synsets", lambda: synsets()[:4])
    report = data.check("imagenet_v2", tree(tmp_path, (0, 1, 2, 3)))
    assert str(report) == "imagenet_v2: 8 images of 4 classes, complete, no problem"


@pytest.mark.parametrize("folder", ["imagenetv2-matched-frequency-format-val", "imagenetv2-top-images", "imagenet_v2"])
def test_it_is_found_in_its_usual_folders(folder: str, tmp_path: Path) -> None:
    assert len(data.open_dataset("imagenet_v2", tree(tmp_path / folder).parent)) == 8


def test_matched_frequency_comes_first(tmp_path: Path) -> None:
    tree(tmp_path / "imagenetv2-threshold0.7-format-val")
    tree(tmp_path / "imagenetv2-matched-frequency-format-val", images=1)
    dataset = data.open_dataset("imagenet_v2", tmp_path)
    assert len(dataset) == 4
    assert "imagenetv2-matched-frequency-format-val" in dataset.source


def test_a_limit_takes_classes_in_turn(tmp_path: Path) -> None:
    assert data.open_dataset("imagenet_v2", tree(tmp_path), limit=5).targets.tolist() == [0, 2, 10, 999, 0]


def test_bad_images_are_named_and_never_skipped(tmp_path: Path) -> None:
    path = tree(tmp_path) / "10" / "1.jpeg"
    path.write_bytes(path.read_bytes()[:-1500])
    (tmp_path / "2" / "notes.txt").write_text("notes")
    (tmp_path / "7").mkdir()
    report = data.check("imagenet_v2", tmp_path)
    assert report.n == 9
    assert report.problems[0] == "7: a class folder without images"
    assert [any(name in problem for problem in report.problems) for name in ("10/1.jpeg", "2/notes.txt")] == [True] * 2
    assert len(report.problems) == 3


def test_other_folders_are_refused(tmp_path: Path) -> None:
    tree(tmp_path / "own" / "2")
    for name in ("n01440764", "1000", "007"):
        folder = tree(tmp_path / name)
        (folder / name).mkdir()
        with pytest.raises(InputError, match=f"holds '{name}', which is no class number; valid: folders 0 to 999"):
            data.open_dataset("imagenet_v2", folder)


def test_requests_that_it_cannot_answer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data set 'imagenet_v2' needs a data directory, and none was given; valid:"):
        data.open_dataset("imagenet_v2")
    (tmp_path / "empty" / "3").mkdir(parents=True)
    with pytest.raises(InputError, match=r"the class folders in '.*empty' hold no files"):
        data.open_dataset("imagenet_v2", tmp_path / "empty")
    with pytest.raises(InputError, match=r"no class folders 0 to 999 of ImageNet-V2 in .*huggingface"):
        data.open_dataset("imagenet_v2", tmp_path)
    with pytest.raises(InputError, match="data set 'imagenet_v2' has no split 'train'; valid: test"):
        data.open_dataset("imagenet_v2", tmp_path, split="train")


def test_a_network_of_imagenets_classes_is_evaluated_on_it(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(create_model("mini_resnest11", num_classes=1000).state_dict(), weights)
    root, protocol = tree(tmp_path / "data"), Protocol(batch_size=3, device="cpu")
    settings = {"dataset": "imagenet_v2", "data": str(root), "weights": str(weights), "protocol": protocol}
    experiment = Classification("mini_resnest11", str(tmp_path / "out"), **settings)
    assert experiment.result["metrics"]["top1"]["n"] == 8
    assert experiment.records["target"].tolist() == [0, 0, 2, 2, 10, 10, 999, 999]
