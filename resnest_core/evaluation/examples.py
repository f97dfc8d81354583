"""A few images, with their true and predicted classes or without, stored for whoever wants to look at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnest_core.files import replacing

EXAMPLES = "examples.npz"


@dataclass(frozen=True)
class Example:
    """An image (H, W, 3) uint8 with its classes (H, W), -1 where none counts, and those predicted (H, W)."""

    image: NDArray[np.uint8]
    truth: NDArray[np.int16]
    predicted: NDArray[np.int16]


def save_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write `examples` to an .npz."""
    arrays = {f"{name}{i}": array for i, example in enumerate(examples) for name, array in vars(example).items()}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_examples(path: Path) -> list[Example]:
    """The examples that `save_examples` wrote."""
    with np.load(path) as arrays:
        names = Example.__dataclass_fields__
        return [Example(**{name: arrays[f"{name}{i}"] for name in names}) for i in range(len(arrays) // len(names))]


def save_images(path: Path, images: Sequence[Image.Image]) -> None:
    """Write images of any sizes to an .npz."""
    arrays: dict[str, Any] = {f"image{i}": np.asarray(image) for i, image in enumerate(images)}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_images(path: Path) -> list[Image.Image]:
    """The images that `save_images` wrote."""
    with np.load(path) as arrays:
        return [Image.fromarray(arrays[f"image{i}"]) for i in range(len(arrays))]
