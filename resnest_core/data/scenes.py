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
ITEMS = (2, 5)  # of a scene, both included
ENLARGED = (1.2, 2.0)
TURNED = 15  # degrees, either way
LEAST_VISIBLE = 0.7  # of an item that others lie on; one for which no such place is found is left out
PLACES = 10  # that are tried
INK = 16  # grey value from which a pixel belongs to the garment
CELLS = (3, 9)  # patches of the ground along a side, the last excluded, as for the three below
GROUND, GRAIN, TINT = (0, 64), (-10, 11), (144, 256)
DARKEST = 32  # part of its tint, of 256, that black in a garment keeps, which would be a hole else

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
            PLACES,
            DARKEST,
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
        areas: list[int] = []
        laid = [item for item in chosen if _lay(pixels, seen, self.items.images[item], areas, rng)]
        return Scene(pixels, seen, tuple(int(self.items.targets[item]) for item in laid))


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


def _lay(pixels: Bytes, seen: NDArray[np.int64], item: Bytes, areas: list[int], rng: np.random.Generator) -> bool:
    """Lay an item (28, 28) onto `pixels` where it hides little of those below, and note it in `seen` and its area in
    `areas`; False if no such place was found.
    """
    grey, mask = _turned(item, rng.uniform(*ENLARGED), rng.uniform(-TURNED, TURNED))
    colour = rng.integers(*TINT, 3, dtype=np.uint16)
    for _ in range(PLACES):
        place, inside = _place(grey.shape, rng)
        within, below = mask[inside], seen[place]  # a view, which is written to
        if _hides_little(seen, below[within], areas):
            shade = DARKEST + grey[inside][within].astype(np.uint16) * (256 - DARKEST) // 256
            pixels[place][within] = shade[:, None] * colour // 256
            areas.append(int(within.sum()))
            below[within] = len(areas)
            return True
    return False


def _place(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where in a scene an item of that shape lies, three quarters of it at the least, and which part of it that is."""
    corner = [int(rng.integers(-side // 8, SIZE - side + side // 8 + 1)) for side in shape]
    ends = [(max(start, 0), min(start + side, SIZE)) for start, side in zip(corner, shape, strict=True)]
    rows, columns = (slice(*end) for end in ends)
    top, left = (slice(low - start, high - start) for start, (low, high) in zip(corner, ends, strict=True))
    return (rows, columns), (top, left)


def _hides_little(seen: NDArray[np.int64], hidden: NDArray[np.int64], areas: list[int]) -> bool:
    """Whether of each item enough is seen if these pixels of it (n,) are hidden as well."""
    left = np.bincount(seen.ravel(), minlength=len(areas) + 1) - np.bincount(hidden, minlength=len(areas) + 1)
    return bool((left[1:] >= LEAST_VISIBLE * np.array(areas)).all())


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
