"""Scenes: the same everywhere, with classes, instances and annotations that agree."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from resnest_core import data
from resnest_core.data import scenes as module
from resnest_core.data.fashion_mnist import CLASSES
from resnest_core.data.scenes import ITEMS, NUMBER, SIZE, Scene, Scenes, open_scenes
from resnest_core.errors import InputError

# Of pixels, instances and categories, as this machine made them: a scene that changes is another data set.
DIGESTS = {("test", 0): "9dab4a2ea237b24e", ("test", 999): "e8996e94326627dc", ("train", 7): "f25be242db09d0af"}


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
        assert (sizes[1:] > 0).all()
        for number, category in enumerate(scene.categories, start=1):
            assert (scene.semantic[scene.instances == number] == category + 1).all()
        assert (scene.semantic[scene.instances == 0] == 0).all()
        numbers.add(len(scene.categories))
    assert max(numbers) <= ITEMS[1]
    assert {ITEMS[0], ITEMS[1]} <= numbers


@dataclass
class Made:
    """A scene, the items given to be laid, and of those that were laid their places among them and their areas."""

    scene: Scene
    given: list[np.ndarray] = field(default_factory=list)
    laid: list[int] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)  # when laid, which is on top

    @property
    def visible(self) -> np.ndarray:
        """The part of each item laid that is seen in the end."""
        sizes = np.bincount(self.scene.instances.ravel(), minlength=len(self.areas) + 1)
        return sizes[1:] / np.array(self.areas)


@pytest.fixture
def make(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Made]:
    """Makes a scene while looking at what each item changes: areas are measured, not taken from the code tested."""
    lay = module._lay

    def made(index: int) -> Made:
        given, laid, areas = [], [], []

        def watched(pixels: np.ndarray, seen: np.ndarray, item: np.ndarray, *others: object) -> bool:
            before = seen.copy()
            done = lay(pixels, seen, item, *others)
            changed = int((seen != before).sum())
            assert done == (changed > 0)
            if done:
                laid.append(len(given))
                areas.append(changed)
            given.append(item)
            return done

        monkeypatch.setattr(module, "_lay", watched)
        return Made(scenes.scene(index), given, laid, areas)

    return made


def test_no_item_is_hidden_by_more_than_three_tenths(
    scenes: Scenes, make: Callable[[int], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    visible = np.concatenate([make(index).visible for index in range(len(scenes))])
    assert visible.min() >= 0.7
    assert visible.min() < 0.8, "items lie on one another"
    monkeypatch.setattr(module, "LEAST_VISIBLE", 0.0)
    assert np.concatenate([make(index).visible for index in range(len(scenes))]).min() < 0.5, "it is the rule's doing"


def test_an_item_is_left_out_where_no_place_is_found(
    scenes: Scenes, make: Callable[[int], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PLACES", 1)
    monkeypatch.setattr(module, "LEAST_VISIBLE", 1.0)
    found = [make(index) for index in range(15)]
    assert all(ITEMS[0] <= len(made.given) <= ITEMS[1] for made in found)
    # Left out between others, too, so that numbers and categories could slip.
    assert any(made.laid != list(range(len(made.laid))) for made in found)
    for made in found:
        assert (made.visible == 1).all(), "nothing is hidden"
        assert np.unique(made.scene.instances).tolist() == list(range(len(made.laid) + 1))
        places = [(scenes.items.images == made.given[number]).all(axis=(1, 2)).argmax() for number in made.laid]
        assert list(made.scene.categories) == scenes.items.targets[places].tolist()


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
