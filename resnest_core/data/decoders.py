"""JPEG data to pixels, in ways that need not agree to the last bit."""

import io
from collections.abc import Callable

import torch
from PIL import Image, UnidentifiedImageError

from resnest_core.data.pixels import decoded, orientation, turned
from resnest_core.errors import InputError, unknown
from resnest_core.ranges import check

Both = tuple[Image.Image, Image.Image]  # as it is stored, and upright


def encode(image: Image.Image, quality: int) -> bytes:
    """An image as JPEG data, by Pillow with its usual subsampling of colours; `quality` is from 1 to 95."""
    check(quality=quality)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return data.getvalue()


def decode(
    decoder: str, content: bytes, *, short: int = 0, name: str = "in memory", upright: bool = False
) -> Image.Image:
    """The image file `content` in RGB, turned `upright` by its EXIF or as it is stored.

    `decoder` is one of `DECODERS`: "pillow", as images are read everywhere else; "torchvision", for JPEG alone;
    "draft", Pillow at the least of the scales 1/8, 1/4, 1/2 and 1 of the cosine transform at which no side has less
    than `short` pixels, as fast loaders do. Raises InputError with the `name` of an image that cannot be decoded.
    """
    if decoder not in DECODERS:
        raise unknown("decoder", decoder, DECODERS)
    try:
        return DECODERS[decoder](content, short)[upright]
    except UnidentifiedImageError:
        reason = "not an image"
    except (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0]
    raise InputError(f"image '{name}' cannot be decoded by {decoder} ({reason}); valid: a whole JPEG file")


def _torchvision(content: bytes, short: int) -> Both:
    from torchvision.io import ImageReadMode, decode_jpeg  # two seconds to import, for this decoder alone

    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    stored = Image.fromarray(decode_jpeg(data, ImageReadMode.RGB).permute(1, 2, 0).contiguous().numpy())
    with Image.open(io.BytesIO(content)) as image:
        return stored, turned(stored, orientation(image))


DECODERS: dict[str, Callable[[bytes, int], Both]] = {
    "pillow": lambda content, short: decoded(content),
    "torchvision": _torchvision,
    "draft": lambda content, short: decoded(content, draft=short),
}
