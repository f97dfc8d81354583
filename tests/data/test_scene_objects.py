"""Scenes as images with objects: masks, boxes and classes agree with the scenes' instances."""

import numpy as np
import pytest
from pycocotools import mask as run_lengths

from resnest_core import data
from resnest_core.data.fashion_mnist import CLASSES
from resnest_core.data.scene_objects import SceneObjects, open_scene_objects
from resnest_core.data.scenes import NUMBER, SIZE
from resnest_core.errors import InputError


@pytest.fixture(scope="module")
def objects_of_scenes() -> SceneObjects:
    return open_scene_objects(None, "test", 20)


def test_names_and_numbers(objects_of_scenes: SceneObjects) -> None:
    assert (objects_of_scenes.name, len(objects_of_scenes)) == ("scenes", 20)
    assert objects_of_scenes.classes == CLASSES
    assert objects_of_scenes.category_ids == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert objects_of_scenes.image_ids == list(range(1, 21))
    assert objects_of_scenes.paths[:2] == ["test/00000", "test/00001"]


def test_images_digest_and_source_are_those_of_the_scenes(objects_of_scenes: SceneObjects) -> None:
    scenes = objects_of_scenes.scenes
    assert (objects_of_scenes.digest, objects_of_scenes.source) == (scenes.digest, scenes.source)
    for index in range(3):
        image = objects_of_scenes.load(index)[0]
        assert (image.mode, image.size) == ("RGB", (SIZE, SIZE))
        assert np.array_equal(np.asarray(image), scenes.scene(index).pixels)


def test_masks_and_classes_agree_with_the_instances(objects_of_scenes: SceneObjects) -> None:
    for index in range(len(objects_of_scenes)):
        scene, (_, objects) = objects_of_scenes.scenes.scene(index), objects_of_scenes.load(index)
        assert objects.labels.tolist() == list(scene.categories)
        assert objects.labels.dtype == np.int64
        assert not objects.crowd.any()
        masks = run_lengths.decode(list(objects.masks))
        seen = (masks * np.arange(1, len(objects) + 1)).sum(2)
        assert np.array_equal(seen, scene.instances)
        assert np.array_equal(objects.areas, masks.sum((0, 1)))
        assert all(isinstance(mask["counts"], bytes) for mask in objects.masks)


def test_boxes_are_tight(objects_of_scenes: SceneObjects) -> None:
    for index in range(len(objects_of_scenes)):
        objects = objects_of_scenes.load(index)[1]
        assert (objects.boxes.dtype, objects.boxes.shape) == (np.float64, (len(objects), 4))
        for box, encoded in zip(objects.boxes.astype(int), objects.masks, strict=True):
            left, top, width, height = box
            mask = run_lengths.decode(encoded)
            inside = mask[top : top + height, left : left + width]
            assert inside.sum() == mask.sum()
            for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert edge.any()


def test_limits_and_splits_by_the_common_door() -> None:
    assert len(data.open_detection("scenes")) == NUMBER["test"]
    train = data.open_detection("scenes", split="train", limit=5)
    assert (len(train), train.image_ids) == (5, [1, 2, 3, 4, 5])
    assert train.digest != data.open_detection("scenes", limit=5).digest
    with pytest.raises(InputError, match="limit -1"):
        data.open_detection("scenes", limit=-1)
    with pytest.raises(InputError, match="unknown split 'val'"):
        data.open_detection("scenes", split="val")


def test_scenes_of_any_task_are_those_with_a_class_for_each_pixel() -> None:
    assert data.open_any("scenes", limit=1).classes == data.open_segmentation("scenes", limit=1).classes
    assert data.check("scenes").classes == 11
