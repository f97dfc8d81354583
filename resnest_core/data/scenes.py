"""Scenes: the embedded data set for dense tasks, composed on the fly from the embedded Fashion-MNIST.

A scene is a photograph of 128 x 128 pixels of our own making: garments, tinted, enlarged, turned a little and laid
over one another on a textured ground. Scene `index` of a split is the same for the same seed everywhere. Training
scenes show training images, test scenes test images.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_fill_holes

from resnest_core.data import fashion_mnist
from resnest_core.data.base import SPLITS, Report, check_request
from resnest_core.data.fashion_mnist import CLASSES, EMBEDDED_TRAIN, FashionMNIST

SIZE = 128
NUMBER = {"test": 1000, "train": 20_000}
ITEMS = (3, 7)  # of a scene, both included
ENLARGED = (1.6, 2.8)
TURNED = 25  # degrees, either way
LEAST_VISIBLE = 16  # pixels; an item of which less is seen is no instance, and no class either
INK = 16  # grey value from which a pixel belongs to the garment
CELLS = (3, 9)  # patches of the ground along a side, the last excluded, as for the three below
GROUND, GRAIN, TINT = (0, 90), (-10, 11), (128, 256)

CLASS_NAMES = ("ground", *CLASSES)

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """A picture (128, 128, 3), the number of the instance seen at each pixel (128, 128), 0 for the ground, and the
    class of instance 1, 2, ..., an index into Fashion-MNIST's.
    """

    pixels: Bytes
    instances: NDArray[np.int64]
    categories: tuple[int, ...]

    @property
    def semantic(self) -> NDArray[np.int16]:
        """Classes (128, 128) of `Scenes.classes`: 0 for the ground, then Fashion-MNIST's from 1 on."""
        return np.array([0, *(category + 1 for category in self.categories)], np.int16)[self.instances]

    def annotations(self, image_id: int) -> list[dict[str, Any]]:
        """The instances in COCO's format: box (x, y, width, height), area and visible mask, as uncompressed RLE."""
        found = []
        for number, category in enumerate(self.categories, start=1):
            mask = self.instances == number
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            left, top = int(columns[0]), int(rows[0])
            found.append(
                {
                    "id": image_id * (ITEMS[1] + 1) + number,
                    "image_id": image_id,
                    "category_id": category + 1,
                    "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": list(mask.shape), "counts": _run_lengths(mask)},
                }
            )
        return found


@dataclass(frozen=True)
class Scenes:
    """The first `n` scenes of a split, made of `items`."""

    split: str
    n: int
    items: FashionMNIST
    seed: int = 0
    name: str = "scenes"
    classes: tuple[str, ...] = CLASS_NAMES

    @property
    def source(self) -> str:
        return f"scenes {self.split}: {self.n:,} of {NUMBER[self.split]:,} composed here from {self.items.source}"

    @property
    def paths(self) -> list[str]:
        return [f"{self.split}/{index:05d}" for index in range(self.n)]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the scenes follow from: the items, and every setting of this file."""
        settings = [
            SIZE,
            ITEMS,
            ENLARGED,
            TURNED,
            LEAST_VISIBLE,
            INK,
            CELLS,
            GROUND,
            GRAIN,
            TINT,
            self.split,
            self.n,
            self.seed,
        ]
        return hashlib.sha256(json.dumps([self.items.digest, *settings]).encode()).hexdigest()

    def __len__(self) -> int:
        return self.n

    def load(self, index: int) -> tuple[Image.Image, NDArray[np.int16]]:
        """Scene `index` as an image in RGB, and its classes (128, 128)."""
        scene = self.scene(index)
        return Image.fromarray(scene.pixels), scene.semantic

    def scene(self, index: int) -> Scene:
        """Scene `index` with its instances."""
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), index])
        pixels, seen = _ground(rng), np.zeros((SIZE, SIZE), np.int64)
        chosen = rng.integers(len(self.items), size=rng.integers(ITEMS[0], ITEMS[1] + 1))
        for number, item in enumerate(chosen, start=1):
            _lay(pixels, seen, self.items.images[item], number, rng)
        sizes = np.bincount(seen.ravel(), minlength=len(chosen) + 1)
        kept = np.flatnonzero(sizes[1:] >= LEAST_VISIBLE) + 1
        renumbered = np.zeros(len(chosen) + 1, np.int64)
        renumbered[kept] = np.arange(1, len(kept) + 1)
        return Scene(pixels, renumbered[seen], tuple(int(self.items.targets[chosen[k - 1]]) for k in kept))


def open_scenes(root: str | Path | None, split: str, limit: int) -> Scenes:
    """The first `limit` scenes of a split (0: all); `root` may hold Fashion-MNIST's original files."""
    check_request(root, split, limit)
    items = fashion_mnist.open_split(root, split, EMBEDDED_TRAIN if split == "train" else 0)
    return Scenes(split, min(limit, NUMBER[split]) if limit else NUMBER[split], items)


def check(root: str | Path | None, split: str) -> Report:
    """Open the items that the scenes are made of."""
    scenes = open_scenes(root, split, 0)
    return Report(scenes.name, scenes.source, len(scenes), len(scenes.classes))


def _ground(rng: np.random.Generator) -> Bytes:
    """A texture (128, 128, 3): patches of dark colours that run into one another, and grain."""
    cells = rng.integers(*GROUND, (int(rng.integers(*CELLS)), int(rng.integers(*CELLS)), 3), dtype=np.uint8)
    patches = np.asarray(Image.fromarray(cells).resize((SIZE, SIZE), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(*GRAIN, (SIZE, SIZE, 1), dtype=np.int16)
    return np.clip(patches + grain, 0, 255).astype(np.uint8)


def _lay(pixels: Bytes, seen: NDArray[np.int64], item: Bytes, number: int, rng: np.random.Generator) -> None:
    """Lay an item (28, 28) onto `pixels` and note it in `seen`; three quarters of it at the least lie inside."""
    grey, mask = _turned(item, rng.uniform(*ENLARGED), rng.uniform(-TURNED, TURNED))
    height, width = grey.shape
    top, left = (int(rng.integers(-side // 8, SIZE - side + side // 8 + 1)) for side in (height, width))
    colour = rng.integers(*TINT, 3, dtype=np.uint16)
    inside = np.s_[max(-top, 0) : SIZE - top, max(-left, 0) : SIZE - left]
    grey, mask = grey[inside], mask[inside]
    place = np.s_[max(top, 0) : max(top, 0) + grey.shape[0], max(left, 0) : max(left, 0) + grey.shape[1]]
    # Dark garments keep a quarter of their tint, or they would be holes.
    shade = 64 + grey[mask].astype(np.uint16) * 3 // 4
    pixels[place][mask] = shade[:, None] * colour // 256
    seen[place][mask] = number


def _turned(item: Bytes, scale: float, degrees: float) -> tuple[Bytes, NDArray[np.bool_]]:
    """Grey values and mask (h, h) of an item, enlarged and turned about its middle."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    side = math.ceil(len(item) * scale * (abs(cosine) + abs(sine)))
    across, along = cosine / scale, sine / scale  # in the item, of one pixel to the right
    middle = len(item) / 2
    matrix = (
        *(across, along, middle - (across + along) * side / 2),
        *(-along, across, middle - (across - along) * side / 2),
    )
    silhouette = binary_fill_holes(item >= INK).astype(np.uint8) * 255
    layers = Image.fromarray(np.stack([item, silhouette, silhouette], axis=2))  # turned at once, as red, green and blue
    turned = layers.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    grey, mask, _ = np.moveaxis(np.asarray(turned), 2, 0)
    return grey, mask >= 128


def _run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of equal pixels down the columns, beginning with a run, maybe empty, of those outside."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(length) for length in np.diff([0, *changes, mask.size])]
