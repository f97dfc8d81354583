"""Every data set that a user can have, as a small tree: one row each, so that a case is written once for all.

`@each_set` runs a test for every row of `SETS`. A data set that is added gets all cases of this directory by its row.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnest_core import data
from resnest_core.data.coco_categories import STUFF, THINGS
from resnest_core.data.shard_writer import write_shards

WIDTH, HEIGHT = 40, 32  # of every picture, unless a test says otherwise
Save = Callable[[Path, Image.Image], None]


def photograph(name: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A picture in RGB that follows from its name: smooth, so that JPEG keeps it nearly."""
    cells = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.BILINEAR)


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def labels(path: Path, value: int) -> None:
    """A label map in grey whose upper half is `value`, the rest 1."""
    values = np.ones((HEIGHT, WIDTH), np.uint8)
    values[: HEIGHT // 2] = value
    save(path, Image.fromarray(values))


def imagefolder(root: Path, store: Save = save, suffix: str = "jpg") -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            for i in range(4):
                store(root / split / name / f"{i}.{suffix}", photograph(f"{split}{name}{i}"))


def imagenet(root: Path, store: Save = save, suffix: str = "JPEG") -> None:
    for synset in ("n01440764", "n01443537"):
        for i in range(2):
            number = 2 * (synset == "n01443537") + i + 1
            store(root / f"val/{synset}/ILSVRC2012_val_{number:08d}.{suffix}", photograph(f"val{number}"))
            store(root / f"train/{synset}/{synset}_{i}.{suffix}", photograph(f"train{number}"))


def imagenet_v2(root: Path, store: Save = save, suffix: str = "jpeg") -> None:
    for number in (0, 2, 10):
        for i in range(2):
            store(root / str(number) / f"{i}.{suffix}", photograph(f"{number} {i}"))


def file_list(root: Path, store: Save = save, suffix: str = "jpg") -> None:
    write(root / "classes.txt", "cat\ndog\n")
    for split in ("test", "train"):
        names = [f"{split}/{name} {i}.{suffix}" for name in ("cat", "dog") for i in range(3)]
        for name in names:
            store(root / name, photograph(name))
        write(root / f"{split}.csv", "".join(f"{name},{name.split('/')[1].split()[0]}\n" for name in names))


def shards(root: Path, store: Save = save, suffix: str = "jpg") -> None:
    imagefolder(root / "source", store, suffix)
    for split in data.base.SPLITS:
        write_shards(data.open_dataset("imagefolder", root / "source", split=split), root / "set" / split, 3)


def ade20k(root: Path, store: Save = save, suffix: str = "jpg") -> None:
    for split in ("validation", "training"):
        for i in range(2):
            store(root / f"images/{split}/ADE_{i:08d}.{suffix}", photograph(f"{split}{i}"))
            labels(root / f"annotations/{split}/ADE_{i:08d}.png", 150)


def pcontext(root: Path, store: Save = save, suffix: str = "jpg") -> None:
    for split, first in (("val", 0), ("train", 2)):
        names = [f"2008_{i:06d}" for i in range(first, first + 2)]
        for name in names:
            store(root / f"JPEGImages/{name}.{suffix}", photograph(name))
            labels(root / f"SegmentationClassContext/{name}.png", 59)
        write(root / f"ImageSets/SegmentationContext/{split}.txt", "".join(f"{name}\n" for name in names))


def cityscapes(root: Path, store: Save = save, suffix: str = "png") -> None:
    for split in ("val", "train"):
        for i in range(2):
            name = f"{split}/bonn/bonn_{i:06d}_000019"
            store(root / f"leftImg8bit/{name}_leftImg8bit.{suffix}", photograph(name))
            labels(root / f"gtFine/{name}_gtFine_labelIds.png", 33)


def _objects(names: list[str], categories: dict[int, str]) -> dict[str, Any]:
    """COCO's lists: an object an image, a rectangle."""
    first = next(iter(categories))
    images = [{"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT} for i, name in enumerate(names, 1)]
    box = {"bbox": [4, 6, 10, 8], "area": 80, "iscrowd": 0, "segmentation": [[4, 6, 14, 6, 14, 14, 4, 14]]}
    annotations = [{"id": image["id"], "image_id": image["id"], "category_id": first, **box} for image in images]
    listed = [{"id": number, "name": name} for number, name in categories.items()]
    return {"images": images, "annotations": annotations, "categories": listed}


def coco(root: Path, store: Save = save, suffix: str = "jpg") -> None:
    for split in ("val2017", "train2017"):
        names = [f"{i:012d}.{suffix}" for i in (1, 2)]
        for name in names:
            store(root / split / name, photograph(f"{split}{name}"))
        write(root / f"annotations/instances_{split}.json", json.dumps(_objects(names, THINGS)))


def coco_format(root: Path, store: Save = save, suffix: str = "jpg") -> None:
    for split in ("val", "train"):
        names = [f"{split}{i}.{suffix}" for i in (1, 2)]
        for name in names:
            store(root / "images" / name, photograph(name))
        write(root / f"annotations/instances_{split}.json", json.dumps(_objects(names, {1: "nut", 2: "bolt"})))


def coco_panoptic(root: Path, store: Save = save, suffix: str = "jpg") -> None:
    for split in ("val2017", "train2017"):
        names = [f"{i:012d}" for i in (1, 2)]
        for name in names:
            store(root / split / f"{name}.{suffix}", photograph(f"{split}{name}"))
            numbers = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            numbers[: HEIGHT // 2, :, 0], numbers[HEIGHT // 2 :, :, 0] = 1, 2
            save(root / f"annotations/panoptic_{split}/{name}.png", Image.fromarray(numbers))
        segments = [{"id": 1, "category_id": next(iter(THINGS))}, {"id": 2, "category_id": next(iter(STUFF))}]
        said = {
            "images": [
                {"id": i, "file_name": f"{name}.{suffix}", "width": WIDTH, "height": HEIGHT}
                for i, name in enumerate(names, 1)
            ],
            "annotations": [
                {"image_id": i, "file_name": f"{name}.png", "segments_info": segments}
                for i, name in enumerate(names, 1)
            ],
            "categories": [
                {"id": number, "name": name, "isthing": isthing}
                for isthing, published in ((1, THINGS), (0, STUFF))
                for number, name in published.items()
            ],
        }
        write(root / f"annotations/panoptic_{split}.json", json.dumps(said))


@dataclass(frozen=True)
class Row:
    """A data set: how a small one is made, and where its parts lie below the directory in which it is made.

    `images` and `labels` are patterns of the files of the test split; `place` is what is given as --data; `model` and
    `classes` are a small network for it and how many classes that has.
    """

    name: str
    task: str
    build: Callable[..., None]
    images: str
    model: str
    classes: int
    labels: str = ""
    place: str = "."
    reads_files: bool = True  # image files of their own; those of shards lie in tars
    trains: bool = True
    own_classes: bool = False  # classes are the user's

    def make(self, root: Path, store: Save = save, **options: Any) -> Path:
        """The small set below `root`; returns what is given as --data. `store` writes each picture."""
        self.build(root, store, **options)
        return root / self.place

    def open(self, root: Path, split: str = "test", limit: int = 0) -> Any:
        opener = {"classification": data.open_dataset, "segmentation": data.open_segmentation}
        return opener.get(self.task, data.open_detection)(self.name, root, split=split, limit=limit)


CLASSIFIER, SEGMENTER, DETECTOR = "mini_resnest11", "mini_deeplab_resnest11", "mini_faster_rcnn_resnest11"
SETS = (
    Row("imagefolder", "classification", imagefolder, "val/*/*", CLASSIFIER, 2, own_classes=True),
    Row("imagenet", "classification", imagenet, "val/*/*", CLASSIFIER, 1000),
    Row("imagenet_v2", "classification", imagenet_v2, "*/*", CLASSIFIER, 1000, trains=False),
    Row("file_list", "classification", file_list, "test/*", CLASSIFIER, 2, own_classes=True),
    Row("shards", "classification", shards, "set/test/*.tar", CLASSIFIER, 2, "", "set", False, own_classes=True),
    Row("ade20k", "segmentation", ade20k, "images/validation/*", SEGMENTER, 150, "annotations/validation/*"),
    Row("pcontext", "segmentation", pcontext, "JPEGImages/*00000[01].*", SEGMENTER, 59, "SegmentationClassContext/*"),
    Row("cityscapes", "segmentation", cityscapes, "leftImg8bit/val/*/*", SEGMENTER, 19, "gtFine/val/*/*"),
    Row("coco", "detection", coco, "val2017/*", DETECTOR, 80, "annotations/instances_val2017.json"),
    Row(
        "coco_format", "detection", coco_format, "images/val*", DETECTOR, 2, "annotations/*_val.json", own_classes=True
    ),
    Row("coco_panoptic", "detection", coco_panoptic, "val2017/*", DETECTOR, 80, "annotations/panoptic_val2017*"),
)
each_set = pytest.mark.parametrize("row", SETS, ids=lambda row: row.name)
each_of_files = pytest.mark.parametrize("row", [row for row in SETS if row.reads_files], ids=lambda row: row.name)
