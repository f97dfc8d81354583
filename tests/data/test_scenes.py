"""Scenes: the same everywhere, with classes, instances and annotations that agree."""

import hashlib

import numpy as np
import pytest

from resnest_core import data
from resnest_core.data.fashion_mnist import CLASSES
from resnest_core.data.scenes import ITEMS, LEAST_VISIBLE, NUMBER, SIZE, Scenes, open_scenes
from resnest_core.errors import InputError

# Of pixels, instances and categories, as this machine made them: a scene that changes is another data set.
DIGESTS = {("test", 0): "3cd490ca8f5bbac8", ("test", 999): "6b66be4603fcd634", ("train", 7): "fe2bd5f3122b29dd"}


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return open_scenes(None, "test", 40)


def digest(split: str, index: int) -> str:
    scene = open_scenes(None, split, 0).scene(index)
    content = scene.pixels.tobytes() + scene.instances.astype("<i8").tobytes() + bytes(scene.categories)
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.mark.parametrize(("split", "index"), DIGESTS)
def test_a_scene_is_the_same_everywhere(split: str, index: int) -> None:
    assert digest(split, index) == DIGESTS[split, index]


def test_a_scene_does_not_depend_on_the_others(scenes: Scenes) -> None:
    first = scenes.scene(3)
    scenes.scene(4)
    again = open_scenes(None, "test", 4).scene(3)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.instances, again.instances)


def test_splits_and_seeds_differ(scenes: Scenes) -> None:
    other = Scenes("test", 40, scenes.items, seed=1)
    train = open_scenes(None, "train", 40)
    assert not np.array_equal(scenes.scene(0).pixels, other.scene(0).pixels)
    assert not np.array_equal(scenes.scene(0).pixels, train.scene(0).pixels)
    assert len({scenes.digest, other.digest, train.digest, open_scenes(None, "test", 39).digest}) == 4
    assert train.items.split == "train"
    assert scenes.items.split == "test"


def test_images_classes_and_names(scenes: Scenes) -> None:
    assert scenes.classes == ("ground", *CLASSES)
    seen = set()
    for index in range(len(scenes)):
        image, classes = scenes.load(index)
        assert (image.mode, image.size, classes.shape) == ("RGB", (SIZE, SIZE), (SIZE, SIZE))
        assert classes.dtype == np.int16
        seen |= set(np.unique(classes).tolist())
    assert seen == set(range(11))


def test_instances_and_classes_agree(scenes: Scenes) -> None:
    numbers = set()
    for index in range(len(scenes)):
        scene = scenes.scene(index)
        sizes = np.bincount(scene.instances.ravel(), minlength=len(scene.categories) + 1)
        assert len(sizes) == len(scene.categories) + 1
        assert (sizes[1:] >= LEAST_VISIBLE).all()
        for number, category in enumerate(scene.categories, start=1):
            assert (scene.semantic[scene.instances == number] == category + 1).all()
        assert (scene.semantic[scene.instances == 0] == 0).all()
        numbers.add(len(scene.categories))
    assert max(numbers) <= ITEMS[1]
    assert {ITEMS[0], ITEMS[1]} <= numbers


def decoded(segmentation: dict) -> np.ndarray:
    """The mask of an uncompressed RLE: runs down the columns, the first of them outside."""
    values = np.arange(len(segmentation["counts"])) % 2
    flat = np.repeat(values, segmentation["counts"]).astype(bool)
    return flat.reshape(segmentation["size"], order="F")


def test_annotations_are_in_cocos_format(scenes: Scenes) -> None:
    found = [(scenes.scene(i), annotation) for i in range(12) for annotation in scenes.scene(i).annotations(i)]
    assert len({annotation["id"] for _, annotation in found}) == len(found)
    for scene, annotation in found:
        mask = decoded(annotation["segmentation"])
        number = annotation["id"] - annotation["image_id"] * (ITEMS[1] + 1)
        assert np.array_equal(mask, scene.instances == number)
        assert annotation["category_id"] == scene.categories[number - 1] + 1
        assert annotation["area"] == mask.sum()
        assert annotation["iscrowd"] == 0
        left, top, width, height = annotation["bbox"]
        assert mask[top : top + height, left : left + width].sum() == mask.sum(), "nothing lies outside the box"
        for edge in (mask[top], mask[top + height - 1], mask[:, left], mask[:, left + width - 1]):
            assert edge.any(), "the box is tight"


def test_garments_are_brighter_than_the_ground(scenes: Scenes) -> None:
    pixels = np.concatenate([scenes.scene(i).pixels.reshape(-1, 3) for i in range(10)])
    instances = np.concatenate([scenes.scene(i).instances.ravel() for i in range(10)])
    assert pixels[instances > 0].mean() > pixels[instances == 0].mean() + 30


def test_limits_and_names_by_the_common_door() -> None:
    assert len(data.open_segmentation("scenes")) == NUMBER["test"]
    assert len(data.open_segmentation("scenes", split="train", limit=5)) == 5
    assert data.open_segmentation("scenes", limit=2).paths == ["test/00000", "test/00001"]
    assert data.check("scenes").problems == []
    with pytest.raises(InputError, match=r"unknown data set 'scene'.*scenes"):
        data.open_segmentation("scene")
    with pytest.raises(InputError, match="limit -1"):
        data.open_segmentation("scenes", limit=-1)
    with pytest.raises(InputError, match="unknown split 'val'"):
        data.open_segmentation("scenes", split="val")
