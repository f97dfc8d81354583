"""Decoders of JPEG data against the libraries themselves, on photographs of every kind."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from resnest_core.data.decoders import DECODERS, decode, encode
from resnest_core.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures"
JPEGS = sorted(FIXTURES.glob("*.jpg"))
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")  # torchvision's, of itself
each_decoder = pytest.mark.parametrize("decoder", DECODERS)
each_jpeg = pytest.mark.parametrize("path", JPEGS, ids=lambda path: path.stem)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


@each_jpeg
def test_pillow_decodes_as_images_are_read_elsewhere(path: Path) -> None:
    expected = Image.open(path).convert("RGB")
    assert np.array_equal(pixels(decode("pillow", path.read_bytes())), pixels(expected))


@each_jpeg
def test_torchvision_decodes_as_it_does_itself(path: Path) -> None:
    data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    expected = decode_jpeg(data, ImageReadMode.RGB).permute(1, 2, 0).numpy()
    assert np.array_equal(pixels(decode("torchvision", path.read_bytes())), expected)


@each_decoder
def test_orientation_is_not_applied(decoder: str) -> None:
    content = (FIXTURES / "turned_by_exif_101x77.jpg").read_bytes()
    assert decode(decoder, content, short=77).size == Image.open(BytesIO(content)).size == (101, 77)


@each_decoder
def test_grey_images_come_in_three_equal_channels(decoder: str) -> None:
    found = pixels(decode(decoder, (FIXTURES / "grey_97x143.jpg").read_bytes(), short=97))
    assert found.shape == (143, 97, 3)
    assert (found == found[..., :1]).all()
    assert np.array_equal(found[..., 0], pixels(Image.open(FIXTURES / "grey_97x143.jpg")))


@pytest.mark.parametrize(
    ("short", "scale"), [(137, 1), (69, 1), (68, 2), (35, 2), (34, 4), (18, 4), (17, 8), (1, 8), (0, 8), (999, 1)]
)
def test_draft_takes_the_least_scale_that_is_large_enough(short: int, scale: int) -> None:
    content = (FIXTURES / "colour_181x137.jpg").read_bytes()
    found = decode("draft", content, short=short)
    assert found.size == (-(-181 // scale), -(-137 // scale))
    whole = pixels(decode("pillow", content)).mean(axis=(0, 1))
    assert np.abs(pixels(found).mean(axis=(0, 1)) - whole).max() < 1.5, "the same picture"


def test_data_made_here_are_jpeg_of_that_quality() -> None:
    image = Image.open(FIXTURES / "colour_181x137.jpg")
    direct = BytesIO()
    image.save(direct, "JPEG", quality=30)
    assert encode(image, 30) == direct.getvalue()
    assert len(encode(image, 30)) < len(encode(image, 90))


def test_grey_in_three_channels_survives_as_grey_in_one() -> None:
    """So that images of Fashion-MNIST lose nothing by their colour channels."""
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8))
    for decoder in DECODERS:
        colour = pixels(decode(decoder, encode(grey.convert("RGB"), 90), short=28))
        assert np.array_equal(colour[..., 0], pixels(Image.open(BytesIO(encode(grey, 90)))))
        assert (colour == colour[..., :1]).all()


@each_decoder
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", (FIXTURES / "colour_181x137.jpg").read_bytes()[:1500]])
def test_what_is_no_whole_image_is_named(decoder: str, content: bytes) -> None:
    with pytest.raises(InputError, match=f"image 'val/a.JPEG' cannot be decoded by {decoder} \\(.+\\); valid") as error:
        decode(decoder, content, short=50, name="val/a.JPEG")
    assert "\n" not in str(error.value)


def test_torchvision_wants_jpeg() -> None:
    content = (FIXTURES / "palette_111x90.png").read_bytes()
    assert decode("pillow", content).size == decode("draft", content).size == (111, 90)
    with pytest.raises(InputError, match=r"cannot be decoded by torchvision .*valid: a whole JPEG file"):
        decode("torchvision", content)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown decoder 'pilow' .did you mean 'pillow'.*valid: draft, pillow"):
        decode("pilow", b"")
    for quality in (0, 96):
        with pytest.raises(InputError, match=f"quality {quality} is not possible; valid: a whole number from 1 to 95"):
            encode(Image.new("RGB", (8, 8)), quality)
