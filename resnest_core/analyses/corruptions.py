"""Corruptions of images in five severities, for images of any size, the same every time for the same image.

Severities are those of ImageNet-C (Hendrycks and Dietterich 2019, arXiv 1903.12261; values from their published code)
where it has the corruption. Theirs are for images of 224 pixels, so what has a length is scaled with the short side.
ImageNet-C corrupts the cropped image, and here it is the stored one, before any preprocessing; noise in a grey image is
grey. So errors are not comparable with published ones, but those of two networks are with each other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from resnest_core.data.decoders import decode, encode
from resnest_core.errors import InputError, unknown

SEVERITIES = (1, 2, 3, 4, 5)
IMAGENET_C_SIDE = 224
Pixels = NDArray[np.float32]  # (H, W, 3), from 0 to 1


def _gaussian_noise(pixels: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    grey = bool((pixels == pixels[..., :1]).all())
    noise = random.standard_normal((*pixels.shape[:2], 1 if grey else 3), np.float32)
    return pixels + np.float32(deviation) * noise


def _gaussian_blur(pixels: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    sigma = deviation * min(pixels.shape[:2]) / IMAGENET_C_SIDE
    return gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest")


def _contrast(pixels: Pixels, share: float, random: np.random.Generator) -> Pixels:
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return (pixels - mean) * np.float32(share) + mean


def _jpeg(pixels: Pixels, quality: float, random: np.random.Generator) -> Pixels:
    return _pixels(decode("pillow", encode(_image(pixels), int(quality))))


def _occlusion(pixels: Pixels, share: float, random: np.random.Generator) -> Pixels:
    """A grey square of that share of the short side, somewhere within the image."""
    height, width = pixels.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = (int(place) for place in random.random(2) * (height - side + 1, width - side + 1))
    covered = pixels.copy()
    covered[top : top + side, left : left + side] = 0.5
    return covered


@dataclass(frozen=True)
class Corruption:
    """What is done to pixels, with the level of each severity; the label is for figures and tables."""

    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    levels: tuple[float, float, float, float, float]
    label: str


CORRUPTIONS = {
    # The deviation, where values go from 0 to 1.
    "gaussian_noise": Corruption(_gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38), "noise"),
    # The deviation in pixels, where the short side has 224.
    "gaussian_blur": Corruption(_gaussian_blur, (1, 2, 3, 4, 6), "blur"),
    # The share of the contrast that is left.
    "contrast": Corruption(_contrast, (0.4, 0.3, 0.2, 0.1, 0.05), "contrast"),
    # The quality.
    "jpeg": Corruption(_jpeg, (25, 18, 15, 10, 7), "JPEG"),
    # The side of the square, as a share of the short side. ImageNet-C has no such corruption; these are our own.
    "occlusion": Corruption(_occlusion, (0.1, 0.2, 0.3, 0.4, 0.5), "occlusion"),
}


def corrupted(image: Image.Image, corruption: str, severity: int, *, key: str, seed: int = 0) -> Image.Image:
    """The image (RGB) with one of `CORRUPTIONS` at a severity from 1 to 5.

    What is random depends on the `seed`, the corruption and the `key`, a name of the image, alone: it is the same at
    every severity. Raises InputError for an unknown corruption or severity.
    """
    if corruption not in CORRUPTIONS:
        raise unknown("corruption", corruption, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise InputError(f"severity {severity!r} is not possible; valid: {', '.join(map(str, SEVERITIES))}")
    random = np.random.default_rng([seed, *f"{corruption} {key}".encode()])
    chosen = CORRUPTIONS[corruption]
    return _image(chosen.apply(_pixels(image), chosen.levels[severity - 1], random))


def _pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"), np.float32) / np.float32(255)


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))
