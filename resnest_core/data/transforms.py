"""From an image to what a network is given: preprocessing at test time, augmentation in training."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnest_core.errors import InputError, unknown
from resnest_core.stages import stage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Of all pixels of the 60,000 training images, as fractions of 255.
FASHION_MNIST_MEAN = 0.28604
FASHION_MNIST_STD = 0.35302
LARGEST_CROP = 4096
LARGEST_RESIZED = 2**26  # pixels of an image that is resized whole before a part is cut out; no benchmark's has as many

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocessing:
    """At test time: call it with a PIL image (converted to RGB) for a float32 tensor (3, S, S), S = crop_size.

    "centre_square" is the authors' (ECenterCrop in scripts/torch/verify.py): the centred square of side short*S/(S+32)
    of the original image, resized to S; `ratio` plays no part. "resize_then_crop" is torchvision's and timm's: the
    short side is resized to floor(S/ratio), then the centred square of side S is cut. Pillow resizes, antialiased.
    """

    rule: str = "centre_square"
    crop_size: int = 224
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    ratio: float = 0.875

    def __post_init__(self) -> None:
        if self.rule not in _RULES:
            raise unknown("preprocessing rule", self.rule, _RULES)
        if self.interpolation not in _FILTERS:
            raise unknown("interpolation", self.interpolation, _FILTERS)
        if not isinstance(self.crop_size, int) or not 1 <= self.crop_size <= LARGEST_CROP:
            raise InputError(
                f"crop size {self.crop_size!r} is not possible; valid: whole pixels from 1 to {LARGEST_CROP}"
            )
        if not 0 < self.ratio <= 1:
            raise InputError(f"crop ratio {self.ratio!r} is not possible; valid: above 0 and up to 1")

    def __call__(self, image: Image.Image) -> Tensor:
        with stage("resize"):
            rgb = image if image.mode == "RGB" else image.convert("RGB")
            square = _RULES[self.rule](rgb, self)
            return _normalise(as_pixels(square).contiguous(), self.mean, self.std)


def training_transform(
    crop_size: int, preprocessing: Preprocessing, *, colour_jitter: float = 0.0
) -> Callable[[Image.Image], Tensor]:
    """For photographs in training: a random part resized to (3, crop_size, crop_size), mirrored, with jittered colours.

    Interpolation, mean and deviation are those of `preprocessing`. Draws from torch's global generator.
    """
    from torchvision import transforms as tv  # two seconds to import, for training on image folders alone

    test = replace(preprocessing, crop_size=crop_size)
    steps: list[Any] = [
        tv.RandomResizedCrop(crop_size, interpolation=tv.InterpolationMode(test.interpolation)),
        tv.RandomHorizontalFlip(),
    ]
    if colour_jitter:
        steps.append(tv.ColorJitter(colour_jitter, colour_jitter, colour_jitter))
    transform: Callable[[Image.Image], Tensor] = tv.Compose([*steps, tv.ToTensor(), tv.Normalize(test.mean, test.std)])
    return transform


def shortest_edge(image: Image.Image, short: int, long: int) -> Image.Image:
    """The image with its short side resized to `short` pixels, or less so that the long one is not above `long`.

    As detectron2 does it: Pillow's bilinear filter on the pixels, each side rounded for itself.
    """
    sides = [side * short / min(image.size) for side in image.size]
    shrunk = min(long / max(sides), 1.0)
    width, height = (int(side * shrunk + 0.5) for side in sides)
    return image.resize((max(width, 1), max(height, 1)), Image.Resampling.BILINEAR)


def resized_part(
    image: Image.Image, size: tuple[int, int], box: tuple[int, int, int, int], resampling: Image.Resampling
) -> Image.Image:
    """The `box` (left, top, right, bottom) of the image resized to `size` (width, height).

    Of a stretched image, which would fill any memory, that part alone is computed: the same but for rounding.
    """
    if size[0] * size[1] <= LARGEST_RESIZED:
        return image.resize(size, resampling).crop(box)
    x, y = (old / new for old, new in zip(image.size, size, strict=True))
    where = (box[0] * x, box[1] * y, box[2] * x, box[3] * y)
    return image.resize((box[2] - box[0], box[3] - box[1]), resampling, box=where)


def to_batch(images: Tensor) -> Tensor:
    """Grey Fashion-MNIST images (B, 28, 28) uint8 as float32 (B, 3, 28, 28), normalised, all three channels equal."""
    grey = _normalise(images.unsqueeze(1), (FASHION_MNIST_MEAN,), (FASHION_MNIST_STD,))
    return grey.expand(-1, 3, -1, -1).contiguous()


def as_pixels(image: Image.Image) -> Tensor:
    """An image in RGB as (3, H, W) uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def as_tensors(image: Image.Image, target: NDArray[np.int16]) -> tuple[Tensor, Tensor]:
    """An image as (3, H, W) uint8, and its classes as (H, W) int64."""
    return as_pixels(image), torch.from_numpy(target.astype(np.int64))


def normalised(image: Tensor) -> Tensor:
    """Photograph (..., 3, H, W) uint8 as float32, by ImageNet's mean and deviation."""
    return _normalise(image, IMAGENET_MEAN, IMAGENET_STD)


def augment_batch(images: Tensor, generator: torch.Generator, *, shift: int = 2) -> Tensor:
    """Move each image (B, H, W) uint8 by up to `shift` pixels each way over zeros, and mirror half of them sideways."""
    batch, height, width = images.shape
    padded = torch.nn.functional.pad(images, (shift, shift, shift, shift))
    # The numbers are drawn where the generator is, so that they do not depend on where the images are.
    top, left = torch.randint(2 * shift + 1, (2, batch, 1), generator=generator, device=generator.device).to(
        images.device
    )
    mirrored = torch.randint(2, (batch, 1), generator=generator, device=generator.device).to(images.device)
    rows = top + torch.arange(height, device=images.device)  # (B, H)
    columns = torch.arange(width, device=images.device)
    columns = left + torch.where(mirrored == 1, columns.flip(0), columns)  # (B, W)
    which = torch.arange(batch, device=images.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]]


def _normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 (..., C, H, W) as float32, scaled to 0..1, less the mean of each channel, over its deviation."""
    scaled = pixels.to(torch.float32).div_(255)
    shape = (-1, 1, 1)
    device = pixels.device
    return scaled.sub_(torch.tensor(mean, device=device).view(shape)).div_(torch.tensor(std, device=device).view(shape))


def _centre_square(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    size = preprocessing.crop_size
    side = size / (size + 32) * min(image.size)
    left, top = (round((length - side) / 2) for length in image.size)
    # Each corner is rounded for itself, so the box may be one pixel wider than high.
    box = (left, top, round(left + side), round(top + side))
    if box[2] == left or box[3] == top:
        raise InputError(f"an image of {image.width}x{image.height} pixels is too small for crop size {size}")
    return image.crop(box).resize((size, size), _FILTERS[preprocessing.interpolation])


def _resize_then_crop(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    size = preprocessing.crop_size
    short = int(size / preprocessing.ratio)
    width, height = (int(short * length / min(image.size)) for length in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    box = (left, top, left + size, top + size)
    return resized_part(image, (width, height), box, _FILTERS[preprocessing.interpolation])


_RULES: dict[str, Callable[[Image.Image, Preprocessing], Image.Image]] = {
    "centre_square": _centre_square,
    "resize_then_crop": _resize_then_crop,
}
