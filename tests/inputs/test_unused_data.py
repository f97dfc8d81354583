"""What is given as --data is read, or refused with what it holds and the --dataset that would read it."""

import gzip
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from inputs.sets import (
    CLASSIFIER,
    DETECTOR,
    SEGMENTER,
    SETS,
    Row,
    ade20k,
    coco,
    coco_format,
    each_set,
    imagefolder,
    imagenet,
    imagenet_v2,
    photograph,
    save,
    write,
)

from resnest_core import data
from resnest_core.cli import app
from resnest_core.data import fashion_mnist
from resnest_core.errors import InputError
from resnest_core.models import create_model
from resnest_core.study import preflight
from resnest_core.study.layout import Layout

OPENERS: dict[str, tuple[Callable[..., data.base.Images], tuple[str, ...]]] = {
    "classification": (data.open_dataset, data.DATASETS),
    "segmentation": (data.open_segmentation, data.SEGMENTATION_DATASETS),
    "detection": (data.open_detection, data.DETECTION_DATASETS),
}
# What is read as it is meant: class folders are class folders, whatever they are called.
ALSO = {("imagenet", "imagefolder"), ("imagenet_v2", "imagefolder"), ("coco", "coco_format")}


def command(*arguments: object) -> None:
    app([str(argument) for argument in arguments], standalone_mode=False)


@pytest.mark.parametrize("task", OPENERS)
@each_set
def test_each_set_is_refused_by_every_other(row: Row, task: str, tmp_path: Path) -> None:
    root = row.make(tmp_path)
    opener, names = OPENERS[task]
    for name in names:
        if name == row.name or (row.name, name) in ALSO:
            assert len(opener(name, root)) >= 2
            continue
        for split in data.base.SPLITS if name != "imagenet_v2" else ("test",):
            with pytest.raises(InputError, match=rf"'{root}' holds .*--dataset {row.name}$") as caught:
                opener(name, root, split=split)
            assert "\n" not in str(caught.value)
            assert (", for a " in str(caught.value)) == (row.name not in names)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of a network for each embedded set."""
    root = tmp_path_factory.mktemp("weights")
    for name in (CLASSIFIER, SEGMENTER, DETECTOR):
        torch.save(create_model(name).state_dict(), root / name)
    return {name: root / name for name in (CLASSIFIER, SEGMENTER, DETECTOR)}


@each_set
def test_the_embedded_sets_are_no_stand_in(row: Row, weights: dict[str, Path], tmp_path: Path) -> None:
    """Neither by default, nor asked for by name; nothing is written."""
    root, out = row.make(tmp_path / "data"), tmp_path / "out"
    evaluated = [["evaluate", name, "--weights", path] for name, path in weights.items()]
    evaluated[0] += ["--dataset", "fashion_mnist"]
    for given in (["train", CLASSIFIER], ["shard", "--dataset", "fashion_mnist"], *evaluated):
        with pytest.raises(InputError, match=rf"'{root}' has none; '{root}' holds .*--dataset {row.name}$"):
            command(*given, "--data", root, "--out", out)
    assert not out.exists()


def test_original_files_are_read(tmp_path: Path) -> None:
    """In the directory or where torchvision puts them; without the training set its embedded part is taken."""
    for place in (tmp_path / "a", tmp_path / "b" / "FashionMNIST" / "raw"):
        place.mkdir(parents=True)
        for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
            content = gzip.decompress((fashion_mnist.EMBEDDED / f"{name}.gz").read_bytes())
            (place / name).write_bytes(content)
    for name in ("a", "b"):
        assert len(data.open_dataset("fashion_mnist", tmp_path / name)) == 10_000
        assert len(data.open_dataset("fashion_mnist", tmp_path / name, split="train", limit=10)) == 10
        assert len(data.open_segmentation("scenes", tmp_path / name, limit=3)) == 3
        assert len(data.open_detection("scenes", tmp_path / name, limit=3)) == 3


def refused(name: str, place: Path | str, split: str = "test") -> str:
    with pytest.raises(InputError) as caught:
        data.open_any(name, place, split=split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_there_in_place_of_the_layout_is_said(tmp_path: Path) -> None:
    for name in ("b", "a", "c.txt", *"defg"):
        write(tmp_path / "odd" / name, "x")
    assert refused("imagefolder", tmp_path / "odd").endswith("; it holds 'a', 'b', 'c.txt', 'd', 'e' and 2 more")
    imagefolder(tmp_path / "above" / "mine")
    below = f"; '{tmp_path}/above/mine' holds class folders: --data {tmp_path}/above/mine --dataset imagefolder"
    for name, split in (("imagefolder", "train"), ("imagefolder", "test"), ("fashion_mnist", "test")):
        assert refused(name, tmp_path / "above", split).endswith(below)
    # Of the same kind, but without the split.
    inside = refused("imagefolder", tmp_path / "above" / "mine" / "train", "train")
    assert inside.endswith("valid: one folder of images for each class; it holds 'cat', 'dog'")


def test_files_and_urls_in_place_of_directories(tmp_path: Path) -> None:
    for name in ("x.csv", "x.tar", "x.json", "x.zip"):
        write(tmp_path / name, "x")
    expected = {
        "x.csv": f"; '{tmp_path}/x.csv' is a list: --dataset file_list",
        "x.tar": f"; '{tmp_path}/x.tar' is a tar: give the directory of the data set, and --dataset shards",
        "x.json": "is a file of annotations: give the directory of the data set, and --dataset coco_format",
        "x.zip": f"; '{tmp_path}/x.zip' is a file",
    }
    url = "s3://bucket/set"
    for row in SETS:
        remote = row.name in ("file_list", "shards")
        for name, said in expected.items():
            if not (row.name == "file_list" and name == "x.csv"):
                assert refused(row.name, tmp_path / name).endswith(said)
        if not remote:
            said = f"'{url}' does not exist or is no directory; give one that holds the data set; a URL is for the"
            assert said in refused(row.name, url)
            assert refused(row.name, url).endswith("--dataset shards or --dataset file_list")
    assert refused("fashion_mnist", tmp_path / "x.csv").endswith("--dataset file_list")


def test_sets_of_ones_own_that_are_called_as_cocos(tmp_path: Path) -> None:
    """Annotations are called as COCO's, their categories are not: found out by what the file says, at whatever size."""
    coco_format(tmp_path)
    for split in ("train", "val"):
        file = tmp_path / f"annotations/instances_{split}.json"
        file.rename(file.with_stem(f"instances_{split}2017"))
        save(tmp_path / f"{split}2017" / f"{split}1.jpg", photograph("x"))
    for name in ("coco", "scenes", "fashion_mnist"):
        assert refused(name, tmp_path).endswith("--dataset coco_format")


def test_lists_beside_class_folders_leave_both_ways(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        save(tmp_path / name / "0.png", photograph(name))
    write(tmp_path / "test.csv", "cat/0.png,cat\ndog/0.png,dog\n")
    assert len(data.open_dataset("imagefolder", tmp_path)) == 2
    write(tmp_path / "classes.txt", "cat\ndog\n")
    assert len(data.open_dataset("imagefolder", tmp_path)) == 2
    assert len(data.open_dataset("file_list", tmp_path)) == 2
    write(tmp_path / "classes.txt", "lion\n")
    assert refused("imagefolder", tmp_path).endswith("--dataset file_list")


def test_lists_and_tars_that_lack_something_are_told(tmp_path: Path) -> None:
    write(tmp_path / "lists" / "test.csv", "a.png,cat\n")
    write(tmp_path / "tars" / "0000.tar", "x")
    assert refused("imagenet", tmp_path / "lists").endswith("lists of images without classes.txt: --dataset file_list")
    said = "holds tars without index.parquet (`resnest-core index` makes it): --dataset shards"
    assert refused("imagenet", tmp_path / "tars").endswith(said)


def test_no_training_images_of_imagenet_v2(tmp_path: Path) -> None:
    imagenet_v2(tmp_path)
    with pytest.raises(InputError, match=r"^data set 'imagenet_v2' has no split 'train'; valid: test$"):
        command("train", CLASSIFIER, "--dataset", "imagenet_v2", "--data", tmp_path, "--out", tmp_path / "out")


def test_one_directory_for_several_sets(tmp_path: Path) -> None:
    """As the paper profile has it: each finds its own, and others say what is there."""
    imagenet(tmp_path / "imagenet")
    coco(tmp_path / "coco")
    ade20k(tmp_path / "ADEChallengeData2016")
    for name in ("imagenet", "coco", "ade20k"):
        assert len(data.open_any(name, tmp_path)) >= 2
    expected = {
        "fashion_mnist": f"'{tmp_path}' holds ImageNet's synsets: --dataset imagenet",
        "imagefolder": f"'{tmp_path}' holds ImageNet's synsets: --dataset imagenet",
        "scenes": "holds COCO 2017 and ade20k's images and labels: --dataset coco or --dataset ade20k",
    }
    for name, said in expected.items():
        assert refused(name, tmp_path).endswith(said)


def test_the_study_says_it_before_any_work(tmp_path: Path) -> None:
    imagefolder(tmp_path)
    sets = {"base_results/a": "fashion_mnist", "object_detection/b": "scenes", "base_results/c": "imagefolder"}
    steps = {
        key: SimpleNamespace(
            parameters={"model": "", "dataset": name, "data": str(tmp_path)}, experiment=SimpleNamespace(inherited={})
        )
        for key, name in sets.items()
    }
    plan: Any = SimpleNamespace(layout=Layout("default"), to_run=steps)
    found = {missing.what: missing.remedy for missing in preflight.missing(plan)}
    assert set(found) == {"data set fashion_mnist", "data set scenes"}
    assert found["data set fashion_mnist"].endswith("holds class folders: --dataset imagefolder")
    assert found["data set scenes"].endswith("holds class folders, for a classifier: --dataset imagefolder")
