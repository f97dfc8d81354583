"""What every data set of images and classes has in common."""

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm.auto import tqdm

from resnest_core.data.listing import holds_nothing
from resnest_core.data.pixels import decode_to_the_end, decoded
from resnest_core.errors import InputError, unknown
from resnest_core.ranges import check
from resnest_core.stages import stage

SPLITS = ("test", "train")
IGNORED = -1  # the class of pixels that do not count
# Pillow warns of an image from 89 million pixels on, in two lines, and refuses one of twice as many.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What Pillow raises on bad files, depending on their format.
_UNREADABLE = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)


class Images(Protocol):
    """What data sets of every task have: names of `classes`, and `paths` relative to the data directory."""

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def paths(self) -> Sequence[str]: ...
    @property
    def digest(self) -> str:
        """SHA-256 (hex) that tells whether two selections of images are the same, in the same order."""

    @property
    def source(self) -> str:
        """Where the images come from and how many of all they are, for people."""

    def __len__(self) -> int: ...


class Dataset(Images, Protocol):
    """Images with one class each: `targets[i]` indexes `classes`."""

    @property
    def targets(self) -> np.ndarray: ...
    @property
    def upright(self) -> bool:
        """Whether images are turned by their EXIF, as a user's are; those of benchmarks are not."""

    def load(self, index: int) -> Image.Image:
        """Image `index` in RGB; raises InputError naming a file that cannot be read."""

    def content(self, index: int) -> bytes:
        """The file of image `index` as it is; a PNG where images are in no files of their own."""


class SegmentationDataset(Images, Protocol):
    """Images with a class for each pixel."""

    def load(self, index: int) -> tuple[Image.Image, NDArray[np.int16]]:
        """Image `index` in RGB and its classes (H, W): indices into `classes`, -1 for pixels that do not count.

        Raises InputError naming the file if one cannot be read or does not fit.
        """


@dataclass(frozen=True)
class Objects:
    """The objects of an image, as COCO describes them: `boxes` (n, 4) are x, y, width, height, in pixels.

    `labels` (n,) are indices into the data set's classes. `crowd` (n,) marks regions that hold many of a kind.
    `masks` are n dicts of `size` (height, width) and `counts` (bytes), pycocotools' compressed run lengths, or none at
    all where the data set has boxes only.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    masks: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


class DetectionDataset(Images, Protocol):
    """Images with objects; `category_ids` are COCO's numbers of the classes, `image_ids` those of the images."""

    @property
    def category_ids(self) -> tuple[int, ...]: ...
    @property
    def image_ids(self) -> list[int]: ...

    def load(self, index: int) -> tuple[Image.Image, Objects]:
        """Image `index` in RGB and its objects; raises InputError naming a file that cannot be read or does not fit."""


class _Loadable(Images, Protocol):
    def load(self, index: int) -> object: ...


def load_problems(dataset: _Loadable) -> list[str]:
    """Load every image and say what is wrong with each that raises InputError."""

    def problem(index: int) -> str | None:
        try:
            dataset.load(index)
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        found = pool.map(problem, range(len(dataset)))
        return [p for p in tqdm(found, f"checking {dataset.name}", len(dataset), unit="image", delay=2) if p]


def check_classes(network: int, dataset: Images) -> None:
    """InputError if a network of so many classes is not for the data set."""
    classes = len(dataset.classes)
    if network != classes:
        raise InputError(
            f"the network has {network} classes, data set '{dataset.name}' {classes}; "
            f"give a network of {classes} classes"
        )


class LayoutError(InputError):
    """A place does not hold the data set that was asked for; what it holds instead is told by `recognise`."""


@dataclass(frozen=True)
class Report:
    """What `check` found: `lacking` is what the published set has besides ("" if nothing), `problems` what is wrong."""

    name: str
    source: str
    n: int
    classes: int
    lacking: str = ""
    problems: list[str] = field(default_factory=list)
    remarks: tuple[str, ...] = ()  # what is no problem, but has to be said

    @property
    def complete(self) -> bool:
        """Whether every image of the published set is there."""
        return not self.lacking

    def __str__(self) -> str:
        state = f"a part of the set ({self.lacking})" if self.lacking else "complete"
        count = f"{len(self.problems):,} problem(s)" if self.problems else "no problem"
        head = f"{self.name}: {self.n:,} images of {self.classes:,} classes, {state}, {count}"
        return "\n".join([head, *(f"- {line}" for line in (*self.problems, *self.remarks))])


def check_request(root: str | Path | None, split: str, limit: int) -> Path | None:
    """Validate the arguments that all data sets share; `root` as a Path."""
    check_selection(split, limit)
    if root is None:
        return None
    directory, valid = Path(root), "give one that holds the data set"
    if not directory.is_dir():
        raise LayoutError(f"data directory '{root}' does not exist or is no directory; {valid}")
    if holds_nothing(directory):
        raise InputError(f"data directory '{root}' is empty; {valid}")
    return directory


def check_selection(split: str, limit: int) -> None:
    """InputError unless there can be such a split and such a limit."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    check(limit=limit)


def balanced_order(targets: np.ndarray) -> np.ndarray:
    """Indices (n,) that take one image of each class in turn, so that every beginning of the list is balanced."""
    by_class = np.argsort(targets, kind="stable")
    counts = np.bincount(targets)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    turn = np.empty(len(targets), np.int64)
    turn[by_class] = np.arange(len(targets)) - starts
    return np.lexsort((targets, turn))


def select(targets: np.ndarray, limit: int) -> np.ndarray:
    """Indices of the first `limit` images in `balanced_order`; all in their own order if limit is 0 or not below n."""
    if limit == 0 or limit >= len(targets):
        return np.arange(len(targets))
    return balanced_order(targets)[:limit]


def read_image(path: Path, *, upright: bool = False) -> Image.Image:
    """The image file in RGB (see `pixels`): as torchvision's ImageFolder reads it, or turned `upright` by its EXIF."""
    return read_both(path)[upright]


def read_both(path: Path) -> tuple[Image.Image, Image.Image]:
    """As `read_image`, the image as it is stored, and upright: the same one twice where EXIF does not turn it."""
    try:
        with stage("read"):
            content = path.read_bytes()
    except OSError as error:
        raise _unreadable(str(path), _reason(path, error)) from None
    return _decoded(content, str(path))


def read_fitting(path: Path, size: tuple[int, int], *, upright: bool) -> tuple[Image.Image, bool]:
    """The image file in whichever reading has the `size` (width, height) of its annotation; if both have, by `upright`.

    Also returns whether both have, and differ. If none has, it is the image as it is stored.
    """
    stored, turned = read_both(path)
    fitting = [image for image in ((turned, stored) if upright else (stored, turned)) if image.size == size]
    return (fitting or [stored])[0], turned is not stored and len(fitting) == 2


def decode_image(content: bytes, name: str, *, upright: bool) -> Image.Image:
    """As `read_image`, an image file's bytes; `name` is for the InputError."""
    return _decoded(content, name)[upright]


def _decoded(content: bytes, name: str) -> tuple[Image.Image, Image.Image]:
    try:
        with stage("decode"):
            return decoded(content)
    except _UNREADABLE as error:
        raise _unreadable(name, _reason_in(len(content), error)) from None


def image_problem(path: Path) -> str | None:
    """Why the image file cannot be decoded to its end, or None."""
    try:
        decode_to_the_end(path)
    except _UNREADABLE as error:
        return _reason(path, error)
    return None


def content_problem(content: bytes) -> str | None:
    """As `image_problem`, of an image file's bytes."""
    try:
        decode_to_the_end(io.BytesIO(content))
    except _UNREADABLE as error:
        return _reason_in(len(content), error)
    return None


def _unreadable(name: str, reason: str) -> InputError:
    return InputError(f"image '{name}' cannot be read ({reason}); valid: a whole image file")


def _reason(path: Path, error: Exception) -> str:
    if not path.exists():
        return "the link leads nowhere" if path.is_symlink() else "the file is missing"
    return _reason_in(path.stat().st_size, error)


def _reason_in(size: int, error: Exception) -> str:
    if size == 0:
        return "the file is empty"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than the {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels that fit into memory"
    return "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
