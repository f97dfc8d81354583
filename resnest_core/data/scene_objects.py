"""Scenes as images with objects: the garments of a scene, with boxes and masks of what is seen of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as run_lengths

from resnest_core.data.base import Objects
from resnest_core.data.fashion_mnist import CLASSES
from resnest_core.data.scenes import Scenes, open_scenes


@dataclass(frozen=True)
class SceneObjects:
    """Scenes with their garments in Fashion-MNIST's classes: image i has the id i + 1, class k the category k + 1."""

    scenes: Scenes
    name: str = "scenes"
    classes: tuple[str, ...] = CLASSES

    @property
    def source(self) -> str:
        return self.scenes.source

    @property
    def paths(self) -> list[str]:
        return self.scenes.paths

    @property
    def digest(self) -> str:
        """That of the scenes, from which the objects follow."""
        return self.scenes.digest

    @property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.classes) + 1))

    @property
    def image_ids(self) -> list[int]:
        return list(range(1, len(self) + 1))

    def __len__(self) -> int:
        return len(self.scenes)

    def load(self, index: int) -> tuple[Image.Image, Objects]:
        """Scene `index` in RGB and its garments; none of them is a crowd."""
        scene = self.scenes.scene(index)
        found = scene.annotations(index + 1)
        masks = tuple(run_lengths.frPyObjects(a["segmentation"], *a["segmentation"]["size"]) for a in found)
        objects = Objects(
            boxes=np.array([annotation["bbox"] for annotation in found], np.float64).reshape(-1, 4),
            labels=np.array([annotation["category_id"] - 1 for annotation in found], np.int64),
            areas=np.array([annotation["area"] for annotation in found], np.float64),
            crowd=np.zeros(len(found), bool),
            masks=masks,
        )
        return Image.fromarray(scene.pixels), objects


def open_scene_objects(root: str | Path | None, split: str, limit: int) -> SceneObjects:
    """The first `limit` scenes of a split (0: all); `root` may hold Fashion-MNIST's original files."""
    return SceneObjects(open_scenes(root, split, limit))
