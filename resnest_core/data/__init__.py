"""Data sets of images by name: `open_dataset` for classification, others for other tasks, and `check` for all."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from resnest_core import distributed
from resnest_core.data import (
    coco,
    coco_panoptic,
    fashion_mnist,
    file_list,
    imagenet,
    imagenet_v2,
    recognise,
    scene_objects,
    scenes,
    segmentation,
    shards,
)
from resnest_core.data.base import Dataset, DetectionDataset, Images, LayoutError, Report, SegmentationDataset
from resnest_core.data.fashion_mnist import FashionMNIST
from resnest_core.errors import InputError, unknown
from resnest_core.texts import printable

__all__ = [
    "DATASETS",
    "DETECTION_DATASETS",
    "SEGMENTATION_DATASETS",
    "Dataset",
    "DetectionDataset",
    "FashionMNIST",
    "Report",
    "SegmentationDataset",
    "check",
    "open_any",
    "open_dataset",
    "open_detection",
    "open_segmentation",
    "segmentation_classes",
]

Data = TypeVar("Data", bound=Images, covariant=True)


class _Entry(NamedTuple, Generic[Data]):
    open: Callable[[str | Path | None, str, int], Data]
    check: Callable[[str | Path | None, str], Report]


_CLASSIFICATION: dict[str, _Entry[Dataset]] = {
    "fashion_mnist": _Entry(fashion_mnist.open_split, fashion_mnist.check),
    "imagefolder": _Entry(imagenet.open_folder, imagenet.check_folder),
    "imagenet": _Entry(imagenet.open_imagenet, imagenet.check_imagenet),
    "imagenet_v2": _Entry(imagenet_v2.open_imagenet_v2, imagenet_v2.check),
    "file_list": _Entry(file_list.open_list, file_list.check),
    "shards": _Entry(shards.open_shards, shards.check),
}
_SEGMENTATION: dict[str, _Entry[SegmentationDataset]] = {
    "scenes": _Entry(scenes.open_scenes, scenes.check),
    "ade20k": _Entry(partial(segmentation.open_files, "ade20k"), partial(segmentation.check, "ade20k")),
    "pcontext": _Entry(partial(segmentation.open_files, "pcontext"), partial(segmentation.check, "pcontext")),
    "cityscapes": _Entry(partial(segmentation.open_files, "cityscapes"), partial(segmentation.check, "cityscapes")),
}
_DETECTION: dict[str, _Entry[DetectionDataset]] = {
    "scenes": _Entry(scene_objects.open_scene_objects, scenes.check),
    "coco": _Entry(coco.open_coco, coco.check_coco),
    "coco_format": _Entry(coco.open_coco_format, coco.check_coco_format),
    "coco_panoptic": _Entry(coco_panoptic.open_panoptic, coco_panoptic.check_panoptic),
}
# Of the scenes, those with a class for each pixel.
_ALL: dict[str, _Entry[Images]] = {**_CLASSIFICATION, **_DETECTION, **_SEGMENTATION}
DATASETS, SEGMENTATION_DATASETS, DETECTION_DATASETS = tuple(_CLASSIFICATION), tuple(_SEGMENTATION), tuple(_DETECTION)


def open_dataset(name: str, root: str | Path | None = None, *, split: str = "test", limit: int = 0) -> Dataset:
    """Open one of `DATASETS` and print its source in one line.

    `split` is "test" (ImageNet's validation set) or "train". `limit` takes the first images of a list in which classes
    take turns; 0, or a limit not below n, takes all in their own order. Raises InputError for an unknown name or split,
    a negative limit, and a directory that is missing, empty or without the data set.
    """
    return _open(_CLASSIFICATION, name, root, split, limit)


def open_segmentation(
    name: str, root: str | Path | None = None, *, split: str = "test", limit: int = 0
) -> SegmentationDataset:
    """As `open_dataset`, one of `SEGMENTATION_DATASETS`; `limit` takes the first images of the data set's own order."""
    return _open(_SEGMENTATION, name, root, split, limit)


def open_detection(
    name: str, root: str | Path | None = None, *, split: str = "test", limit: int = 0
) -> DetectionDataset:
    """As `open_dataset`, one of `DETECTION_DATASETS`; `limit` takes the first images of the data set's own order."""
    return _open(_DETECTION, name, root, split, limit)


def segmentation_classes(name: str) -> tuple[str, ...]:
    """The classes of one of `SEGMENTATION_DATASETS`, whether it is here or not."""
    if name == "scenes":
        return scenes.CLASS_NAMES
    if name not in segmentation.SETS:
        raise unknown("data set", name, SEGMENTATION_DATASETS)
    return segmentation.SETS[name].classes


def open_any(name: str, root: str | Path | None = None, *, split: str = "test", limit: int = 0) -> Images:
    """Open a data set of whatever task."""
    return _open(_ALL, name, root, split, limit)


def check(name: str, root: str | Path | None = None, *, split: str = "test") -> Report:
    """Read every file of the data set and report what is missing or unreadable; InputError if it cannot be opened."""
    entry = _entry(_ALL, name)
    with _advised(_ALL, name, root):
        return entry.check(root, split)


def _open(entries: dict[str, _Entry[Data]], name: str, root: str | Path | None, split: str, limit: int) -> Data:
    entry = _entry(entries, name)
    with _advised(entries, name, root):
        dataset = entry.open(root, split, limit)
    if distributed.is_first():
        print(f"data: {printable(dataset.source)}", flush=True)
    return dataset


@contextmanager
def _advised(entries: Collection[str], name: str, root: str | Path | None) -> Iterator[None]:
    """Errors of a place without the data set say what it holds, and which of the `entries` of its task reads that."""
    try:
        if name == "imagefolder" and root and Path(root).is_dir() and recognise.is_another(Path(root)):
            raise LayoutError(f"the folders in '{root}' are no classes")
        yield
    except LayoutError as error:
        groups = [group for group in (_CLASSIFICATION, _SEGMENTATION, _DETECTION) if name in group]
        readable = {other for group in groups for other in group} & set(entries)
        raise InputError(f"{error}{recognise.advice(root, name, readable) if root else ''}") from None


def _entry(entries: dict[str, _Entry[Data]], name: str) -> _Entry[Data]:
    if name not in entries:
        raise unknown("data set", name, entries)
    return entries[name]
