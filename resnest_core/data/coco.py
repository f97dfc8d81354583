"""Data sets in COCO's format: COCO 2017 as it is published, and any user's own.

1. "coco": `annotations/instances_val2017.json` with the images in `val2017/`, which is the split "test", or
   `instances_train2017.json` with `train2017/`.
2. "coco_format": `annotations/instances_{test,val,train}*.json` or `annotations.json`, with the images in `images/`, in
   a folder named like the split, or beside the file.

What the file of annotations says is checked when it is opened; the images are read when they are loaded.
"""

import mmap
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as run_lengths

from resnest_core import distributed
from resnest_core.data.base import LayoutError, Objects, Report, check_request, load_problems, read_fitting
from resnest_core.data.coco_annotations import (
    AnnotationFile,
    Record,
    annotations_of,
    are_masked,
    categories_of,
    check_published,
    images_of,
    read_annotations,
    shown,
    unmasked,
)
from resnest_core.data.coco_categories import THINGS
from resnest_core.data.coco_cleaning import cleaned
from resnest_core.data.contents import file_digests
from resnest_core.data.stored import files_digest
from resnest_core.errors import InputError
from resnest_core.run_lengths import areas as mask_areas

SPLITS = {"test": "val2017", "train": "train2017"}
NUMBERS = {"test": 5_000, "train": 118_287}
FOLDERS = (".", "coco", "COCO")  # where COCO may lie below the data directory

OWN = "coco_format"
TURNED = "turned by EXIF; annotations of this size would fit the image as it is stored as well"
_WORDS = {"test": ("test", "val"), "train": ("train",)}  # of a user's own splits
_NAMED = 5  # missing files that an error names


class _Turned:
    """Paths of images, those that this process has read; whether there is one is known to its forks, too."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self._any = mmap.mmap(-1, 1)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()  # a copy begins anew

    def add(self, path: str) -> bool:
        """Add a path; returns whether it is the first."""
        first, self._any[0] = self._any[0] == 0, 1
        self.paths.add(path)
        return first


@dataclass(frozen=True)
class AnnotatedImages(ABC):
    """Images that an annotation file lists, in order of their ids, with what it says of each.

    `file`, and `folder` of the images, are relative to `root`; `sha256` is that of the file. `categories` are names by
    number; `annotations[i]` belongs to `images[i]`; `lacking` as in `Report`. `remarks` count what of a user's file is
    left out or changed. `turned` are those images that were turned by their EXIF though their annotations fit both
    readings.
    """

    name: str
    root: Path
    file: str
    sha256: str
    folder: str
    categories: dict[int, str]
    images: list[Record]
    annotations: list[Any]
    available: int
    lacking: str
    remarks: tuple[str, ...] = field(default=(), kw_only=True)
    turned: _Turned = field(default_factory=_Turned, kw_only=True, compare=False, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in order of the categories' ids."""
        return tuple(self.categories.values())

    @property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(self.categories)

    @property
    def image_ids(self) -> list[int]:
        return [image["id"] for image in self.images]

    @cached_property
    def paths(self) -> list[str]:
        return [inside(self.folder, image["file_name"]) for image in self.images]

    @property
    def files(self) -> list[str]:
        """All files that the images and what is known of them are read from, but for the annotation file."""
        return self.paths

    @property
    def source(self) -> str:
        """Counts, files, place, what is lacking, and what of the file is left out or changed."""
        counts = f"{len(self):,} of {self.available:,} images, {len(self.classes):,} classes"
        place = f"{self.name}: {counts}, {self.file} with images in {self.folder}/ in {self.root}"
        return "; ".join(filter(None, [place, self.lacking, *self.remarks]))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the annotation file's bytes and of the paths and contents of the others."""
        read = file_digests((f"{self.root}/{file}" for file in self.files), len(self.files))
        return files_digest((self.files, read), self.sha256)

    def __len__(self) -> int:
        return len(self.images)

    @abstractmethod
    def load(self, index: int) -> tuple[Image.Image, Objects]:
        """Image `index` in RGB and its objects; raises InputError naming a file that cannot be read or does not fit."""

    def first(self, limit: int) -> Self:
        """The first `limit` images (0: all)."""
        end = limit or None
        return replace(self, images=self.images[:end], annotations=self.annotations[:end])

    def picture(self, index: int) -> Image.Image:
        """Image `index` in RGB; InputError if its size is not that of its annotation.

        A user's is turned by its EXIF, COCO's is not, unless the annotation has the size of the other reading alone.
        """
        said = self.images[index]
        size = (said["width"], said["height"])
        image, ambiguous = read_fitting(self.root / self.paths[index], size, upright=self.name == OWN)
        if ambiguous and self.name == OWN:
            self._say_turned(self.paths[index])
        if image.size != (said["width"], said["height"]):
            sizes = f"{image.width} x {image.height} pixels, by its annotation {said['width']} x {said['height']}"
            raise InputError(f"image '{self.root / self.paths[index]}' has {sizes}; valid: an image of that size")
        return image

    def _say_turned(self, path: str) -> None:
        """One line for all images, whichever process reads the first."""
        if self.turned.add(path) and distributed.is_first():
            print(f"{self.name}: {TURNED}, '{path}' first", file=sys.stderr, flush=True)

    def labels(self, found: Sequence[Record]) -> NDArray[np.int64]:
        """Classes (n,) of annotations, as indices."""
        places = {number: place for place, number in enumerate(self.categories)}
        return np.array([places[record["category_id"]] for record in found], np.int64)


@dataclass(frozen=True)
class CocoImages(AnnotatedImages):
    """Images with objects: `annotations[i]` is a list; `masked` says whether the objects have masks."""

    masked: bool

    def load(self, index: int) -> tuple[Image.Image, Objects]:
        """Image `index` in RGB and its objects; raises InputError naming it if it cannot be read or does not fit."""
        image, found = self.picture(index), self.annotations[index]
        masks = tuple(_mask(record["segmentation"], *image.size) for record in found) if self.masked else ()
        boxes = np.array([record["bbox"] for record in found], np.float64).reshape(-1, 4)
        own = mask_areas(masks) if masks else boxes[:, 2] * boxes[:, 3]
        areas = np.array([record.get("area", area) for record, area in zip(found, own, strict=True)], np.float64)
        crowd = np.array([record.get("iscrowd", 0) for record in found], bool)
        return image, Objects(boxes, self.labels(found), areas, crowd, masks)


def open_coco(root: str | Path | None, split: str, limit: int) -> CocoImages:
    """COCO 2017 in `root`, or there in `coco` or `COCO`; `limit` takes the first images in order of ids (0: all)."""
    home, path = find_published("coco", "instances", root, split, limit)
    file = read_annotations(home / path)
    check_published(file, categories_of(file), THINGS)
    dataset = _opened("coco", home, file, SPLITS[split], images_of(file), are_masked)
    return replace(dataset, lacking=lacking(len(dataset), split)).first(limit)


def open_coco_format(root: str | Path | None, split: str, limit: int) -> CocoImages:
    """A user's own data set; `limit` takes the first images in order of ids (0: all).

    What exporters write otherwise is brought into COCO's form, and counted in `source` where that changes anything.
    Masks count only if all objects have one. Raises InputError if the annotations or the images are in no place, or in
    more than one.
    """
    home = needed("coco_format", root, split, limit)
    path = _annotations_of(home, split)
    file, remarks = cleaned(read_annotations(path), home)
    images = images_of(file)
    dataset = _opened("coco_format", home, file, _folder_of(home, path, split, images), images, _are_all_masked)
    return replace(dataset, remarks=(*remarks, *_remarks(dataset))).first(limit)


def training_classes(root: str | Path) -> tuple[str, ...] | None:
    """The classes of a user's own training set, in order of their ids; None if it has not one file of annotations."""
    found = candidates(Path(root), "train")[1]
    return tuple(categories_of(read_annotations(found[0])).values()) if len(found) == 1 else None


def check_coco(root: str | Path | None, split: str) -> Report:
    """Read every image of COCO 2017 and list the problem of each that is damaged or does not fit."""
    return report_on(open_coco(root, split, 0))


def check_coco_format(root: str | Path | None, split: str) -> Report:
    """Read every image of a user's own data set and list the problem of each that is damaged or does not fit."""
    return report_on(open_coco_format(root, split, 0))


def report_on(dataset: AnnotatedImages) -> Report:
    """Load every image and list the problem of each that raises InputError."""
    problems = load_problems(dataset)
    turned = len(dataset.turned.paths)
    remarks = (f"{turned:,} images: {TURNED}",) if turned else ()
    return Report(dataset.name, dataset.source, len(dataset), len(dataset.classes), dataset.lacking, problems, remarks)


def needed(name: str, root: str | Path | None, split: str, limit: int) -> Path:
    """The data directory; InputError if none was given or the request is bad."""
    directory = check_request(root, split, limit)
    if directory is None:
        raise InputError(f"data set '{name}' needs a data directory, and none was given; valid: --data DIR")
    return directory


def find_published(name: str, kind: str, root: str | Path | None, split: str, limit: int) -> tuple[Path, str]:
    """Where COCO 2017 lies, and its annotations of a kind ("instances", "panoptic") relative to that."""
    directory = needed(name, root, split, limit)
    file = f"annotations/{kind}_{SPLITS[split]}.json"
    for folder in FOLDERS:
        if (directory / folder / file).is_file():
            return directory / folder, file
    raise LayoutError(
        f"no {file} in '{directory}'; valid: a directory that holds it and the images in {SPLITS[split]}/, or one that "
        f"holds both in {' or '.join(FOLDERS[1:])}; COCO 2017 is to be had from https://cocodataset.org"
    )


def check_there(dataset: AnnotatedImages) -> None:
    """InputError that counts the files that are missing, and names the first."""
    missing = [path for path in dataset.files if not (dataset.root / path).is_file()]
    if missing:
        named = ", ".join(map(shown, missing[:_NAMED])) + (", ..." if len(missing) > _NAMED else "")
        raise InputError(
            f"{len(missing):,} of {len(dataset.files):,} images are missing in '{dataset.root}': {named}; "
            "valid: every image that the annotations name"
        )


def lacking(number: int, split: str) -> str:
    """How many of the published images the annotations do not list ("" if they list all)."""
    expected = NUMBERS[split]
    return f"{expected - number:,} of {expected:,} images are missing" if number < expected else ""


def inside(folder: str, name: str) -> str:
    """The path of a file in a folder, with slashes."""
    return PurePosixPath(folder, name).as_posix()


def _are_all_masked(file: AnnotationFile, found: list[Record]) -> bool:
    """Whether there are objects, all with masks."""
    return bool(found) and not unmasked(found)


def _remarks(dataset: CocoImages) -> Iterator[str]:
    """What of a user's own data set does not count: masks that only some objects have, files that are not listed."""
    found = [record for records in dataset.annotations for record in records]
    if 0 < (without := len(unmasked(found))) < len(found):
        yield f"masks do not count, as {without:,} of {len(found):,} objects have none"
    listed = {dataset.root / path for path in dataset.paths}
    suffixes = {path.suffix for path in listed}
    there = (path for folder in {path.parent for path in listed} for path in folder.iterdir())
    if others := sum(path.suffix in suffixes and path not in listed and path.name[0] != "." for path in there):
        yield f"{others:,} other file(s) beside the images are not listed"


def _opened(
    name: str,
    home: Path,
    file: AnnotationFile,
    folder: str,
    images: list[Record],
    are_masked: Callable[[AnnotationFile, list[Record]], bool],
) -> CocoImages:
    """The data set, all checked but for what is in the images."""
    categories = categories_of(file)
    by_image: dict[int, list[Record]] = {image["id"]: [] for image in images}
    found = annotations_of(file, {image["id"]: image for image in images}, categories)
    for record in found:
        by_image[record["image_id"]].append(record)
    path = file.path.relative_to(home).as_posix()
    per_image, masked = list(by_image.values()), are_masked(file, found)
    dataset = CocoImages(name, home, path, file.sha256, folder, categories, images, per_image, len(images), "", masked)
    check_there(dataset)
    return dataset


def _mask(found: Any, width: int, height: int) -> Record:
    """A checked segmentation as compressed run lengths."""
    if isinstance(found, list):
        return run_lengths.merge(run_lengths.frPyObjects(found, height, width))
    if isinstance(found["counts"], list):
        return run_lengths.frPyObjects(found, height, width)
    return {"size": [height, width], "counts": found["counts"].encode()}


def candidates(home: Path, split: str) -> tuple[list[str], list[Path]]:
    """Where a user's annotations of the split may be, and those that are there."""
    patterns = [*(f"annotations/instances_{word}*.json" for word in _WORDS[split]), "annotations.json"]
    return patterns, sorted(path for pattern in patterns for path in home.glob(pattern))


def _annotations_of(home: Path, split: str) -> Path:
    """A user's one annotation file of the split."""
    patterns, found = candidates(home, split)
    if len(found) != 1:
        names = [path.relative_to(home).as_posix() for path in found]
        what = f"{len(found)} files of annotations ({', '.join(names)})" if found else "no annotations"
        raise LayoutError(f"{what} of the {split} split in '{home}'; valid: one of {', '.join(patterns)}")
    return found[0]


def _folder_of(home: Path, file: Path, split: str, images: list[Record]) -> str:
    """The one folder of a user's images, relative to `home`."""
    own = file.stem.removeprefix("instances_")
    named = [own, *(word for word in _WORDS[split] if own.startswith(word))]
    words = _WORDS[split] if own == file.stem else named
    folders = list(dict.fromkeys(["images", *words, file.parent.relative_to(home).as_posix()]))
    if any(len(PurePosixPath(image["file_name"]).parts) > 1 for image in images):
        folders = list(dict.fromkeys([*folders, "."]))  # file names may begin with the folder
    found = [folder for folder in folders if any((home / folder / image["file_name"]).is_file() for image in images)]
    if len(found) != 1:
        what = f"images of '{file}' are in {' and in '.join(found)}" if found else f"no image of '{file}' is there"
        raise InputError(f"{what}; valid: all in one of the folders {', '.join(folders)} in '{home}'")
    return found[0]
