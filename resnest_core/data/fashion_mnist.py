"""Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747): the data set that comes with the repository.

The whole test set and 20,000 training images are embedded in `data/fashion_mnist`, whose README says how it was made.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from resnest_core.data.base import LayoutError, Report, balanced_order, check_request, select
from resnest_core.errors import InputError

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
EMBEDDED = Path(__file__).parents[2] / "data" / "fashion_mnist"
SYSTEM = Path("/usr/share/datasets/fashion-mnist")
EMBEDDED_TRAIN = 20_000
FULL_SIZE = {"test": 10_000, "train": 60_000}

# SHA-256 of the uncompressed IDX files, which does not depend on who compressed them.
DIGESTS = {
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "train20000-images-idx3-ubyte": "699c1f6b97d89eee915083d7270b2125981acdf117b1acf250811cc97f872307",
    "train20000-indices-idx1-int": "19d548dc4ad21d72fdf9364e4eab20abad4abc41b7deab5b4c5771a649937202",
    "train20000-labels-idx1-ubyte": "a08ec8612f1e9754131045a4b360f271068042c79bc9d0fe801ac8eebdc3b1bc",
}
_DTYPES = {0x08: ">u1", 0x0C: ">i4"}


@dataclass(frozen=True)
class FashionMNIST:
    """Some of one split: images (n, 28, 28) uint8, targets (n,) int64, their places (n,) in the published split."""

    split: str
    images: np.ndarray
    targets: np.ndarray
    places: np.ndarray
    source: str
    name: str = "fashion_mnist"
    classes: tuple[str, ...] = CLASSES
    upright: bool = False  # the images have no EXIF

    @cached_property
    def paths(self) -> list[str]:
        """`split/place`: an image has the same name whichever files it was read from."""
        return [f"{self.split}/{place:05d}" for place in self.places]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pixels and targets in their order: the same whichever files they were read from."""
        digest = hashlib.sha256(self.images.tobytes())
        digest.update(self.targets.astype("<i8").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.targets)

    def load(self, index: int) -> Image.Image:
        """Image `index`, 28x28, its grey values in all three channels."""
        return Image.fromarray(self.images[index]).convert("RGB")

    def content(self, index: int) -> bytes:
        """Image `index`, 28x28, as a grey PNG."""
        file = io.BytesIO()
        Image.fromarray(self.images[index]).save(file, "PNG")
        return file.getvalue()


def open_split(root: str | Path | None, split: str, limit: int) -> FashionMNIST:
    """The test set, or the training set: its embedded part for limits up to 20,000, so that these give the same images
    everywhere; the full one from `root` or the system without a limit (the embedded part if neither has it) or above.
    """
    root = check_request(root, split, limit)
    if root and not is_in(root):
        raise LayoutError(
            "Fashion-MNIST, and scenes made of it, come with the repository and read a data directory for the original "
            f"files alone (train-images-idx3-ubyte.gz and so on); '{root}' has none"
        )
    if split == "test":
        return _open_test(root, limit)
    wants_full = limit == 0 or limit > EMBEDDED_TRAIN
    if wants_full and _find("train-images-idx3-ubyte", _full_places(root)):
        return _open_full_train(root, limit)
    if limit > EMBEDDED_TRAIN:
        raise InputError(
            f"limit {limit} needs the full training set, and only {EMBEDDED_TRAIN} images are embedded; install "
            "Debian's package dataset-fashion-mnist, give a data directory with the original files, or lower the limit"
        )
    return _open_embedded_train(root, limit)


def is_in(root: Path) -> bool:
    """Whether a directory, or a folder there, holds an original file."""
    return any(_find(name, _own_places(root)) for name in DIGESTS)


def check(root: str | Path | None, split: str) -> Report:
    """Read all files that the split can come from; a digest that is not the known one raises InputError."""
    data = open_split(root, split, 0)
    open_split(root, split, EMBEDDED_TRAIN)
    absent = FULL_SIZE[split] - len(data)
    lacking = f"{absent:,} of {FULL_SIZE[split]:,} images are missing" if absent else ""
    return Report(data.name, data.source, len(data), len(np.unique(data.targets)), lacking)


def _open_test(root: Path | None, limit: int) -> FashionMNIST:
    places = [EMBEDDED, *_full_places(root)]
    images, labels, where = _read_pair("t10k", places)
    chosen = select(labels, limit)
    source = f"Fashion-MNIST test: {len(chosen):,} of 10,000 images from {where}"
    return FashionMNIST("test", images[chosen], labels[chosen], chosen, source)


def _open_full_train(root: Path | None, limit: int) -> FashionMNIST:
    images, labels, where = _read_pair("train", _full_places(root))
    chosen = np.arange(len(labels))
    if 0 < limit < len(labels):
        embedded = _read(_locate("train20000-indices-idx1-int", _embedded_places(root)))
        rest = np.setdiff1d(chosen, embedded)
        chosen = np.concatenate([embedded, rest[balanced_order(labels[rest])]])[:limit]
    source = f"Fashion-MNIST train: {len(chosen):,} of 60,000 images, from the full set in {where}"
    return FashionMNIST("train", images[chosen], labels[chosen], chosen, source)


def _open_embedded_train(root: Path | None, limit: int) -> FashionMNIST:
    places = _embedded_places(root)
    images, labels, where = _read_pair("train20000", places)
    indices = _read(_locate("train20000-indices-idx1-int", places)).astype(np.int64)
    chosen = slice(limit or EMBEDDED_TRAIN)
    source = f"Fashion-MNIST train: {len(labels[chosen]):,} of 60,000 images, from the embedded 20,000 in {where}"
    return FashionMNIST("train", images[chosen], labels[chosen], indices[chosen], source)


def _embedded_places(root: Path | None) -> list[Path]:
    return [EMBEDDED, *([root] if root else [])]


def _full_places(root: Path | None) -> list[Path]:
    """Where the original files may lie: in `root`, and in Debian's own place."""
    return [*(_own_places(root) if root else []), SYSTEM]


def _own_places(root: Path) -> list[Path]:
    """A data directory and its folders as Debian or torchvision name them."""
    return [root / folder for folder in (".", "fashion_mnist", "fashion-mnist", "FashionMNIST/raw")]


def _read_pair(stem: str, places: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, Path]:
    """Images (n, 28, 28) uint8, labels (n,) int64, and the directory they were found in."""
    images = _locate(f"{stem}-images-idx3-ubyte", places)
    labels = _locate(f"{stem}-labels-idx1-ubyte", places)
    return _read(images), _read(labels).astype(np.int64), images.parent


def _find(name: str, places: Sequence[Path]) -> Path | None:
    candidates = (place / file for place in places for file in (f"{name}.gz", name))
    return next((path for path in candidates if path.is_file()), None)


def _locate(name: str, places: Sequence[Path]) -> Path:
    path = _find(name, places)
    if path is None:
        where = ", ".join(f"'{place}'" for place in places)
        raise InputError(
            f"Fashion-MNIST file '{name}' (.gz or not) is in none of {where}; run in a clone of the repository, "
            "install Debian's package dataset-fashion-mnist, or give a data directory with the original files"
        )
    return path


def _read(path: Path) -> np.ndarray:
    """Array of an IDX file, gzipped or not, whose content has the known digest."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"file '{path}' cannot be read ({error}); valid: the original Fashion-MNIST file") from None
    expected, found = DIGESTS[path.name.removesuffix(".gz")], hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InputError(f"file '{path}' has content of SHA-256 {found}; valid: {expected}, the original Fashion-MNIST")
    rank = content[3]
    shape = np.frombuffer(content, ">i4", rank, offset=4)
    array = np.frombuffer(content, _DTYPES[content[2]], offset=4 + 4 * rank).reshape(shape)
    return array.astype(array.dtype.newbyteorder("="))
