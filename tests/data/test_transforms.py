"""Preprocessing against literal transcriptions, augmentation against a naive loop."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import golden_input
from PIL import Image
from torchvision import transforms as tv

from resnest_core.data import FashionMNIST, open_dataset
from resnest_core.data.base import read_image
from resnest_core.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    augment_batch,
    shortest_edge,
    to_batch,
    training_transform,
)
from resnest_core.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures"
DETECTRON = Path(__file__).parent.parent / "golden" / "detection"  # what detectron2 makes of the same pixels
PHOTOGRAPHS = sorted(path for path in FIXTURES.iterdir() if path.suffix in (".jpg", ".png"))
SIZES = (1, 16, 33, 64, 97, 224, 255)
TO_TENSOR = (tv.ToTensor(), tv.Normalize(IMAGENET_MEAN, IMAGENET_STD))


def authors_crop(image: Image.Image, size: int) -> Image.Image:
    """ECenterCrop of the authors' scripts/torch/verify.py, statement by statement; Pillow rounds the float corners."""
    image_width, image_height = image.size
    crop = float(size) / (size + 32) * min(image_width, image_height)
    top = int(round((image_height - crop) / 2.0))  # noqa: RUF046
    left = int(round((image_width - crop) / 2.0))  # noqa: RUF046
    image = image.crop((left, top, left + crop, top + crop))
    return tv.Resize((size, size), interpolation=tv.InterpolationMode.BICUBIC)(image)


def as_imagefolder_reads(path: Path) -> Image.Image:
    with open(path, "rb") as file:
        return Image.open(file).convert("RGB")


def test_the_photographs_are_of_all_kinds() -> None:
    assert {Image.open(path).mode for path in PHOTOGRAPHS} == {"RGB", "L", "CMYK", "P"}
    assert any(Image.open(path).getexif().get(0x0112) == 6 for path in PHOTOGRAPHS)


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.stem)
def test_centre_square_is_the_authors_to_the_pixel(path: Path) -> None:
    for size in SIZES:
        expected = tv.Compose([lambda image, size=size: authors_crop(image, size), *TO_TENSOR])(
            as_imagefolder_reads(path)
        )
        found = Preprocessing(crop_size=size)(read_image(path))
        assert found.shape == (3, size, size)
        assert found.dtype == torch.float32
        assert torch.equal(found, expected), size


def test_centre_square_of_every_odd_shape_is_the_authors() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (70, 70, 3), np.uint8)
    for width in range(3, 70, 3):
        for height in (5, 32, 61):
            image = Image.fromarray(noise[:height, :width])
            expected = tv.Compose(TO_TENSOR)(authors_crop(image, 33))
            assert torch.equal(Preprocessing(crop_size=33)(image), expected), (width, height)


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("size", "ratio", "interpolation"), [(224, 0.875, "bilinear"), (97, 0.909, "bicubic")])
def test_resize_then_crop_is_torchvisions(path: Path, size: int, ratio: float, interpolation: str) -> None:
    steps = [tv.Resize(int(size / ratio), tv.InterpolationMode(interpolation)), tv.CenterCrop(size), *TO_TENSOR]
    found = Preprocessing("resize_then_crop", size, interpolation, ratio=ratio)(read_image(path))
    assert torch.equal(found, tv.Compose(steps)(as_imagefolder_reads(path)))


def test_the_two_rules_differ() -> None:
    image = read_image(PHOTOGRAPHS[0])
    assert not torch.equal(Preprocessing()(image), Preprocessing("resize_then_crop")(image))


def test_any_mode_is_converted() -> None:
    for path in PHOTOGRAPHS:
        assert torch.equal(Preprocessing()(Image.open(path)), Preprocessing()(read_image(path)))


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("palette_111x90.png", "958baba08e83bd07f748ab55c7bcfb3572132b498f88e608f4d71e5f849c1d82"),
        ("colour_181x137.jpg", "802fbfbd8e1e4b54cb96a7b6b6aba16cb9e1333ea4fb4dac4cb70b41fa8f6d0b"),
    ],
)
def test_pixels_are_the_stored_ones(name: str, digest: str) -> None:
    """A Pillow that filters in another way shows in both, another JPEG decoder in the second alone."""
    plain = Preprocessing(crop_size=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    pixels = (plain(read_image(FIXTURES / name)) * 255).round().to(torch.uint8)
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest() == digest


@pytest.mark.parametrize("crop_size", [0, -1, 4097, 224.5, "224"])
def test_impossible_crop_sizes_are_refused(crop_size: int) -> None:
    with pytest.raises(InputError, match=r"crop_size .* is not possible; valid: a whole number from 1 to 4,096"):
        Preprocessing(crop_size=crop_size)


def test_other_impossible_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown preprocessing rule 'center_square'.*centre_square"):
        Preprocessing("center_square")
    with pytest.raises(InputError, match=r"unknown interpolation 'cubic'.*bicubic, bilinear"):
        Preprocessing(interpolation="cubic")
    with pytest.raises(InputError, match="ratio 0 is not possible"):
        Preprocessing(ratio=0)
    with pytest.raises(InputError, match="1x1 pixels is too small for crop size 1"):
        Preprocessing(crop_size=1)(Image.new("RGB", (1, 1)))


def test_training_transform_augments_and_repeats() -> None:
    image = read_image(PHOTOGRAPHS[1])
    transform = training_transform(48, Preprocessing(), colour_jitter=0.4)

    def two(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.stack([transform(image), transform(image)])

    first = two(0)
    assert first.shape == (2, 3, 48, 48)
    assert torch.equal(first, two(0))
    assert not torch.equal(first, two(1))
    assert not torch.equal(first[0], first[1])
    with pytest.raises(InputError, match="crop_size 0"):
        training_transform(0, Preprocessing())


def test_training_transform_mirrors_some() -> None:
    rising = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (200, 1)))
    torch.manual_seed(0)
    transform = training_transform(8, Preprocessing())
    drawn = [transform(rising.convert("RGB")) for _ in range(40)]
    mirrored = sum(bool(image[0, 0, 0] > image[0, 0, -1]) for image in drawn)
    assert 10 < mirrored < 30


def test_training_transform_without_jitter_keeps_colours() -> None:
    flat = training_transform(16, Preprocessing())(Image.new("RGB", (40, 30), (255, 0, 128)))
    expected = torch.tensor([1.0, 0.0, 128 / 255]).sub(torch.tensor(IMAGENET_MEAN)).div(torch.tensor(IMAGENET_STD))
    torch.testing.assert_close(flat, expected.view(3, 1, 1).expand(3, 16, 16))


def test_batch_of_fashion_mnist_is_normalised() -> None:
    dataset = open_dataset("fashion_mnist", split="train", limit=20_000)
    assert isinstance(dataset, FashionMNIST)
    batch = to_batch(torch.from_numpy(dataset.images))
    assert batch.shape == (20_000, 3, 28, 28)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()
    assert torch.equal(batch[:, 0], batch[:, 1])
    assert torch.equal(batch[:, 0], batch[:, 2])
    # The constants are those of all 60,000; a third of them lies this close.
    assert abs(batch[:, 0].mean().item()) < 0.005
    assert abs(batch[:, 0].std().item() - 1) < 0.005
    assert batch.min().item() == pytest.approx((0 - 0.28604) / 0.35302)


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Naive reference: each pixel put `down` and `right` of where it was, if that is inside."""
    out = np.zeros_like(image)
    for (row, column), value in np.ndenumerate(image):
        if 0 <= row + down < image.shape[0] and 0 <= column + right < image.shape[1]:
            out[row + down, column + right] = value
    return out


def test_each_augmented_image_is_one_of_the_fifty_possible_and_all_occur() -> None:
    image = np.random.default_rng(0).integers(1, 256, (28, 28), np.uint8)
    steps = range(-2, 3)
    possible = {moved(each, a, b).tobytes() for each in (image, image[:, ::-1]) for a in steps for b in steps}
    batch = torch.from_numpy(image).expand(1000, 28, 28)
    found = [each.tobytes() for each in augment_batch(batch, torch.Generator().manual_seed(0)).numpy()]
    assert set(found) == possible
    assert max(found.count(each) for each in possible) < 60  # 20 of each expected


def test_augmentation_moves_each_image_for_itself() -> None:
    images = torch.from_numpy(np.random.default_rng(1).integers(1, 256, (64, 28, 28), np.uint8))
    augmented = augment_batch(images, torch.Generator().manual_seed(0))
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8
    for image, other in zip(images.numpy(), augmented.numpy(), strict=True):
        kept = np.isin(other[other > 0], image).all() and (other > 0).sum() >= 26 * 26
        assert kept
    assert torch.equal(augment_batch(images, torch.Generator().manual_seed(0)), augmented)
    assert not torch.equal(augment_batch(images, torch.Generator().manual_seed(1)), augmented)


def test_augmentation_without_shift_only_mirrors() -> None:
    images = torch.arange(6, dtype=torch.uint8).reshape(1, 2, 3).expand(20, 2, 3)
    augmented = augment_batch(images, torch.Generator().manual_seed(0), shift=0)
    kinds = {tuple(image.flatten().tolist()) for image in augmented}
    assert kinds == {(0, 1, 2, 3, 4, 5), (2, 1, 0, 5, 4, 3)}


@pytest.mark.parametrize("case", ["up", "down", "capped"])
def test_the_shortest_edge_is_resized_as_in_detectron2(case: str) -> None:
    described = json.loads((DETECTRON / "ops.json").read_text())[f"resize.{case}"]
    pixels = (golden_input("resize", (100, 140, 3)) * 50 + 115).round().clamp(0, 255).byte()
    resized = shortest_edge(Image.fromarray(pixels.numpy()), described["short"], described["max"])
    assert (np.asarray(resized) == np.load(DETECTRON / "ops.npz")[f"resize.{case}"]).all()


def test_sizes_of_the_shortest_edge_are_detectron2s() -> None:
    for size, expected in json.loads((DETECTRON / "ops.json").read_text())["output_shapes_800_1333"].items():
        height, width = map(int, size.split("x"))
        resized = shortest_edge(Image.new("L", (width, height)), 800, 1333)
        assert [resized.height, resized.width] == expected, size


def test_the_shortest_edge_of_a_line_stays_a_pixel() -> None:
    assert shortest_edge(Image.new("RGB", (1000, 1)), 8, 100).size == (100, 1)
