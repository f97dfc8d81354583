"""From an image file to RGB pixels: the one place that decides about 16 bits, and about turning by EXIF.

Photographs of a user are turned upright. Benchmark sets are read as their reference protocols read them, unturned.
"""

import io
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF
_SCALED = ("PNG", "PPM")  # formats whose mode I is 0 to 65535


def decoded(content: bytes, *, draft: int | None = None) -> tuple[Image.Image, Image.Image]:
    """An image file in RGB as it is stored, and upright: the same image twice where EXIF does not turn it.

    Of a file with several frames it is the first. `draft` decodes JPEG at a smaller scale, no side below so many
    pixels. Raises what Pillow raises, and ValueError for values without a defined range.
    """
    with Image.open(io.BytesIO(content)) as image:
        if draft is not None:
            image.draft("RGB", (max(draft, 1), max(draft, 1)))
        stored = as_rgb(image)
        return stored, turned(stored, orientation(image))


def as_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB, unturned; grey of 16 bits is scaled to 8. ValueError for values without a defined range."""
    if (top := _top(image)) is None:
        return image.convert("RGB")
    values = np.asarray(image).astype(np.uint32)
    values = top - values if _white_is_zero(image) else values
    return Image.fromarray(((values * 255 + top // 2) // top).astype(np.uint8)).convert("RGB")


def orientation(image: Image.Image) -> int:
    """EXIF's, from 1 (upright) to 8, of an image that is loaded; 1 if there is none that can be read."""
    try:
        said = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # of damaged EXIF Pillow raises many kinds, while the pixels are whole
        return 1
    return said if said in _TURNS else 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned by EXIF's number; itself for 1."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def decode_to_the_end(source: Path | io.BytesIO) -> None:
    """Read an image file to its end, with the errors of `decoded`, in half its time."""
    with Image.open(source) as image:
        _top(image)
        # An eighth of the size: JPEG data are still read to the end.
        image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()


def _top(image: Image.Image) -> int | None:
    """The value of white, where Pillow would cut off all above 255; None where it has 8 bits or fewer."""
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        return 4095 if tags.get(_BITS) == (12,) else 65535
    if image.mode == "I" and image.format in _SCALED:
        return 65535
    if image.mode in ("I", "F"):
        kind = "floating-point numbers" if image.mode == "F" else "integers of 32 bits or with a sign"
        raise ValueError(f"its values are {kind}, of which none is defined as white; save it with 8 or 16 bits")
    return None


def _white_is_zero(image: Image.Image) -> bool:
    return bool(getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0)
