"""Data sets of images: `open_dataset` and `check` by name."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from resnest_core.data import fashion_mnist, imagenet
from resnest_core.data.base import Dataset, Report
from resnest_core.data.fashion_mnist import FashionMNIST
from resnest_core.errors import unknown

__all__ = ["DATASETS", "Dataset", "FashionMNIST", "Report", "check", "open_dataset"]


class _Entry(NamedTuple):
    open: Callable[[str | Path | None, str, int], Dataset]
    check: Callable[[str | Path | None, str], Report]


_ENTRIES = {
    "fashion_mnist": _Entry(fashion_mnist.open_split, fashion_mnist.check),
    "imagefolder": _Entry(imagenet.open_folder, imagenet.check_folder),
    "imagenet": _Entry(imagenet.open_imagenet, imagenet.check_imagenet),
}
DATASETS = tuple(_ENTRIES)


def open_dataset(name: str, root: str | Path | None = None, *, split: str = "test", limit: int = 0) -> Dataset:
    """Open one of `DATASETS` and print its source in one line.

    `split` is "test" (ImageNet's validation set) or "train". `limit` takes the first images of a list in which classes
    take turns; 0, or a limit not below n, takes all in their own order. Raises InputError for an unknown name or split,
    a negative limit, and a directory that is missing, empty or without the data set.
    """
    dataset = _entry(name).open(root, split, limit)
    print(f"data: {dataset.source}", flush=True)
    return dataset


def check(name: str, root: str | Path | None = None, *, split: str = "test") -> Report:
    """Read every file of the data set and report what is missing or unreadable; InputError if it cannot be opened."""
    return _entry(name).check(root, split)


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        raise unknown("data set", name, DATASETS)
    return _ENTRIES[name]
