"""Data sets in COCO's format: COCO 2017 as it is published, and any user's own.

1. "coco": `annotations/instances_val2017.json` with the images in `val2017/`, which is the split "test", or
   `instances_train2017.json` with `train2017/`.
2. "coco_format": `annotations/instances_{test,val,train}*.json` or `annotations.json`, with the images in `images/`, in
   a folder named like the split, or beside the file.

What the file of annotations says is checked when it is opened; the images are read when they are loaded.
"""

import hashlib
import json
import math
import reprlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as run_lengths
from tqdm.auto import tqdm

from resnest_core.data.base import Objects, Report, check_request, read_image
from resnest_core.data.coco_categories import THINGS
from resnest_core.errors import InputError

Record = dict[str, Any]

SPLITS = {"test": "val2017", "train": "train2017"}
NUMBERS = {"test": 5_000, "train": 118_287}
FOLDERS = (".", "coco", "COCO")  # where COCO may lie below the data directory
BEYOND = 1  # pixels that COCO's boxes and polygons may reach beyond the border

_KINDS = {"images": "image", "annotations": "annotation", "categories": "category"}
_TYPES: dict[type, str] = {int: "a whole number", str: "a text", list: "a list"}
_WORDS = {"test": ("test", "val"), "train": ("train",)}  # of a user's own splits
_NAMED = 5  # missing files that an error names
_SHORT = reprlib.Repr()
_SHORT.maxstring = 120  # characters, enough for paths
_VALID = {
    "bbox": f"x, y, width and height in pixels, at most {BEYOND} pixel beyond the image",
    "iscrowd": "0 or 1",
    "area": "a number of pixels, not negative",
    "segmentation": f"polygons [x, y, ...] of 3 points or more, at most {BEYOND} pixel beyond the image, or run "
    "lengths {size: [height, width], counts} of the whole image",
}


@dataclass(frozen=True)
class AnnotationFile:
    """The lists of an annotation file, and SHA-256 (hex) of its bytes."""

    path: Path
    lists: dict[str, list[Any]]
    sha256: str

    def wrong(self, what: str, valid: str) -> InputError:
        """The error that names the file."""
        return InputError(f"annotations '{self.path}': {what}; valid: {valid}")

    def records(self, key: str, fields: Mapping[str, type]) -> list[Record]:
        """The list `key` in order of the first of `fields`, its identity; all have the fields, none is there twice."""
        identity, kind = next(iter(fields)), _KINDS[key]
        for place, record in enumerate(self.lists[key], start=1):
            self.check_fields(kind, place, record, fields)
        self.check_unique(kind, [record[identity] for record in self.lists[key]])
        return sorted(self.lists[key], key=lambda record: record[identity])

    def check_fields(self, kind: str, place: int, record: object, fields: Mapping[str, type]) -> None:
        """InputError unless the record has all fields, each of its type; without identity, its place tells which."""
        if not isinstance(record, dict):
            raise self.wrong(f"{kind} number {place} is {shown(record)}", f"an object with {', '.join(fields)}")
        identity = next(iter(fields))
        name = f"{kind} {shown(record[identity])}" if identity in record else f"{kind} number {place}"
        for key, valid in fields.items():
            # A boolean is an int to isinstance.
            if type(record.get(key)) is not valid:
                said = f"{key} {shown(record[key])}" if key in record else f"no {key}"
                raise self.wrong(f"{name} has {said}", f"{_TYPES[valid]} as {key}")

    def check_unique(self, kind: str, ids: Sequence[int]) -> None:
        """InputError if an id occurs more than once."""
        if len(set(ids)) < len(ids):
            number, times = Counter(ids).most_common(1)[0]
            raise self.wrong(f"{kind} {number} occurs {times} times", "each id once")

    def check_values(self, name: str, record: Record) -> None:
        """InputError unless `iscrowd` and `area` are valid or not there."""
        area = record.get("area", 0)
        if not _finite([area]) or area < 0:
            raise self.wrong(f"{name} has area {shown(area)}", _VALID["area"])
        if record.get("iscrowd", 0) not in (0, 1):
            raise self.wrong(f"{name} has iscrowd {shown(record['iscrowd'])}", _VALID["iscrowd"])

    def check_member(self, name: str, key: str, value: int, members: Mapping[int, object]) -> None:
        """InputError unless an annotation's image or category exists."""
        if value not in members:
            kind = key.removesuffix("_id")
            raise self.wrong(f"{name} has {key} {value}, which no {kind} has", f"one of {shown(list(members))}")

    def check_inside(self, name: str, file_name: str) -> None:
        """InputError if a file's name leads out of its folder."""
        path = PurePosixPath(file_name)
        if path.is_absolute() or ".." in path.parts:
            raise self.wrong(f"{name} has file_name {shown(file_name)}, outside the folder", "a path inside the folder")


@dataclass(frozen=True)
class AnnotatedImages(ABC):
    """Images that an annotation file lists, in order of their ids, with what it says of each.

    `file`, and `folder` of the images, are relative to `root`; `sha256` is that of the file. `categories` are names by
    number; `annotations[i]` belongs to `images[i]`; `lacking` as in `Report`.
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
        """Counts, files, place, and what is lacking."""
        counts = f"{len(self):,} of {self.available:,} images, {len(self.classes):,} classes"
        remark = f"; {self.lacking}" if self.lacking else ""
        return f"{self.name}: {counts}, {self.file} with images in {self.folder}/ in {self.root}{remark}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the annotation file's bytes and of the paths and sizes of the others, which are not read."""
        sizes = [f"{path}\t{(self.root / path).stat().st_size}" for path in self.files]
        return hashlib.sha256("\n".join([self.sha256, *sizes]).encode()).hexdigest()

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
        """Image `index` in RGB; InputError if its size is not that of its annotation."""
        image, said = read_image(self.root / self.paths[index]), self.images[index]
        if image.size != (said["width"], said["height"]):
            sizes = f"{image.width} x {image.height} pixels, by its annotation {said['width']} x {said['height']}"
            raise InputError(f"image '{self.root / self.paths[index]}' has {sizes}; valid: an image of that size")
        return image

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
        own = run_lengths.area(list(masks)) if masks else boxes[:, 2] * boxes[:, 3]
        areas = np.array([record.get("area", area) for record, area in zip(found, own, strict=True)], np.float64)
        crowd = np.array([record.get("iscrowd", 0) for record in found], bool)
        return image, Objects(boxes, self.labels(found), areas, crowd, masks)


def open_coco(root: str | Path | None, split: str, limit: int) -> CocoImages:
    """COCO 2017 in `root`, or there in `coco` or `COCO`; `limit` takes the first images in order of ids (0: all)."""
    home, path = find_published("coco", "instances", root, split, limit)
    file = read_annotations(home / path)
    check_published(file, categories_of(file), THINGS)
    dataset = _opened("coco", home, file, SPLITS[split], images_of(file))
    return replace(dataset, lacking=lacking(len(dataset), split)).first(limit)


def open_coco_format(root: str | Path | None, split: str, limit: int) -> CocoImages:
    """A user's own data set; `limit` takes the first images in order of ids (0: all).

    Raises InputError if the annotations or the images are in no place, or in more than one.
    """
    home = needed("coco_format", root, split, limit)
    path = _annotations_of(home, split)
    file = read_annotations(path)
    images = images_of(file)
    return _opened("coco_format", home, file, _folder_of(home, path, split, images), images).first(limit)


def check_coco(root: str | Path | None, split: str) -> Report:
    """Read every image of COCO 2017 and list the problem of each that is damaged or does not fit."""
    return report_on(open_coco(root, split, 0))


def check_coco_format(root: str | Path | None, split: str) -> Report:
    """Read every image of a user's own data set and list the problem of each that is damaged or does not fit."""
    return report_on(open_coco_format(root, split, 0))


def report_on(dataset: AnnotatedImages) -> Report:
    """Load every image and list the problem of each that raises InputError."""
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda index: _problem(dataset, index), range(len(dataset)))
        tested = tqdm(found, f"checking {dataset.name}", len(dataset), unit="image", delay=2)
        problems = [problem for problem in tested if problem]
    return Report(dataset.name, dataset.source, len(dataset), len(dataset.classes), dataset.lacking, problems)


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
    raise InputError(
        f"no {file} in '{directory}'; valid: a directory that holds it and the images in {SPLITS[split]}/, or one that "
        f"holds both in {' or '.join(FOLDERS[1:])}; COCO 2017 is to be had from https://cocodataset.org"
    )


def read_annotations(path: Path) -> AnnotationFile:
    """An annotation file with its lists of images, annotations and categories."""
    try:
        content = path.read_bytes()
        lists = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"annotations '{path}' cannot be read ({error}); valid: a file of JSON") from None
    file = AnnotationFile(path, lists, hashlib.sha256(content).hexdigest())
    for key in _KINDS:
        if not isinstance(lists, dict) or not isinstance(lists.get(key), list):
            raise file.wrong(f"no list '{key}'", f"an object with the lists {', '.join(_KINDS)}")
    return file


def images_of(file: AnnotationFile) -> list[Record]:
    """The images in order of their ids."""
    images = file.records("images", {"id": int, "file_name": str, "width": int, "height": int})
    if not images:
        raise file.wrong("the list 'images' is empty", "one image or more")
    for image in images:
        name = f"image {image['id']}"
        if min(image["width"], image["height"]) < 1:
            raise file.wrong(f"{name} has {image['width']} x {image['height']} pixels", "1 x 1 or more")
        file.check_inside(name, image["file_name"])
    return images


def categories_of(file: AnnotationFile) -> dict[int, str]:
    """Names of the categories in order of their ids."""
    categories = {record["id"]: record["name"] for record in file.records("categories", {"id": int, "name": str})}
    if not categories:
        raise file.wrong("the list 'categories' is empty", "one category or more")
    return categories


def check_published(file: AnnotationFile, categories: Mapping[int, str], published: Mapping[int, str]) -> None:
    """InputError unless ids and names are the published ones."""
    for number in sorted({*categories, *published}):
        name, valid = (shown(names[number]) if number in names else "absent" for names in (categories, published))
        if name != valid:
            raise file.wrong(
                f"category {number} is {name}, in COCO 2017 {valid}", f"the {len(published)} categories of COCO 2017"
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


def shown(value: object) -> str:
    """A value for an error: in one line, and cut if it is long."""
    return _SHORT.repr(value)


def _problem(dataset: AnnotatedImages, index: int) -> str | None:
    try:
        dataset.load(index)
    except InputError as error:
        return str(error)
    return None


def _opened(name: str, home: Path, file: AnnotationFile, folder: str, images: list[Record]) -> CocoImages:
    """The data set, all checked but for what is in the images."""
    categories = categories_of(file)
    by_image: dict[int, list[Record]] = {image["id"]: [] for image in images}
    found = _annotations(file, {image["id"]: image for image in images}, categories)
    for record in found:
        by_image[record["image_id"]].append(record)
    path = file.path.relative_to(home).as_posix()
    per_image, masked = list(by_image.values()), _are_masked(file, found)
    dataset = CocoImages(name, home, path, file.sha256, folder, categories, images, per_image, len(images), "", masked)
    check_there(dataset)
    return dataset


def _annotations(file: AnnotationFile, images: dict[int, Record], categories: dict[int, str]) -> list[Record]:
    """The annotations in order of their ids."""
    found = file.records("annotations", {"id": int, "image_id": int, "category_id": int, "bbox": list})
    for record in found:
        name = f"annotation {record['id']}"
        file.check_member(name, "image_id", record["image_id"], images)
        file.check_member(name, "category_id", record["category_id"], categories)
        file.check_values(name, record)
        image = images[record["image_id"]]
        for key, problem_of in (("bbox", _box_problem), ("segmentation", _segmentation_problem)):
            if problem := problem_of(record.get(key), image["width"], image["height"]):
                raise file.wrong(f"{name} has {key} {shown(record[key])}, {problem}", _VALID[key])
    return found


def _are_masked(file: AnnotationFile, found: list[Record]) -> bool:
    """Whether the annotations have masks; InputError if some have, and some not."""
    without = [record["id"] for record in found if record.get("segmentation") in (None, [])]
    if 0 < len(without) < len(found):
        counts = f"{len(without):,} of {len(found):,}"
        raise file.wrong(f"annotation {without[0]} has no segmentation ({counts} have none)", "one for all or for none")
    return len(without) < len(found)


def _box_problem(box: Any, width: int, height: int) -> str:
    """What is wrong with a box in an image of so many pixels, or ""."""
    if len(box) != 4 or not _finite(box):
        return "not 4 finite numbers"
    left, top, across, down = box
    if min(across, down) < 0:
        return "a side is negative"
    if left > width or top > height or left + across < 0 or top + down < 0:
        return f"outside its image of {width} x {height} pixels"
    if not _is_near([left, left + across], width) or not _is_near([top, top + down], height):
        return f"partly outside its image of {width} x {height} pixels"
    return ""


def _segmentation_problem(found: Any, width: int, height: int) -> str:
    """What is wrong with a segmentation in an image of so many pixels, or ""; there may be none."""
    if found is None or isinstance(found, list):
        return "" if all(_is_polygon(polygon, width, height) for polygon in found or ()) else "with no valid polygon"
    if not isinstance(found, dict):
        return "neither polygons nor run lengths"
    if found.get("size") != [height, width]:
        return f"of another size than its image, {[height, width]}"
    counts = found.get("counts")
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    # pycocotools leaves pixels that no run covers to chance.
    return "" if _fill(runs, width * height) else f"not run lengths of {width * height} pixels"


def _fill(runs: Any, pixels: int) -> bool:
    return isinstance(runs, list) and all(type(run) is int and run >= 0 for run in runs) and sum(runs) == pixels


def _is_polygon(polygon: Any, width: int, height: int) -> bool:
    shape = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 and _finite(polygon)
    return shape and _is_near(polygon[::2], width) and _is_near(polygon[1::2], height)


def _is_near(places: list[float], side: int) -> bool:
    return min(places) >= -BEYOND and max(places) <= side + BEYOND


def _finite(values: list[Any]) -> bool:
    try:
        return all(map(math.isfinite, values))
    except (TypeError, OverflowError):
        return False


def _decompressed(text: str) -> list[int]:
    """Run lengths of pycocotools' compressed form, or none if it is damaged.

    A run is a number in digits of 5 bits, the least first: 32 marks that another digit follows, 16 of the last the
    sign. From the fourth on, it is the difference to the run two before.
    """
    runs: list[int] = []
    value = shift = 0
    for digit in (ord(character) - 48 for character in text):
        if not 0 <= digit < 64:
            return []
        value += (digit & 31) << shift
        shift += 5
        if digit < 32:
            signed = value - (1 << shift if digit & 16 else 0)
            runs.append(signed + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return [] if shift else runs


def _mask(found: Any, width: int, height: int) -> Record:
    """A checked segmentation as compressed run lengths."""
    if isinstance(found, list):
        return run_lengths.merge(run_lengths.frPyObjects(found, height, width))
    if isinstance(found["counts"], list):
        return run_lengths.frPyObjects(found, height, width)
    return {"size": [height, width], "counts": found["counts"].encode()}


def _annotations_of(home: Path, split: str) -> Path:
    """A user's one annotation file of the split."""
    patterns = [*(f"annotations/instances_{word}*.json" for word in _WORDS[split]), "annotations.json"]
    found = sorted(path for pattern in patterns for path in home.glob(pattern))
    if len(found) != 1:
        names = [path.relative_to(home).as_posix() for path in found]
        what = f"{len(found)} files of annotations ({', '.join(names)})" if found else "no annotations"
        raise InputError(f"{what} of the {split} split in '{home}'; valid: one of {', '.join(patterns)}")
    return found[0]


def _folder_of(home: Path, file: Path, split: str, images: list[Record]) -> str:
    """The one folder of a user's images, relative to `home`."""
    own = file.stem.removeprefix("instances_")
    named = [own, *(word for word in _WORDS[split] if own.startswith(word))]
    words = _WORDS[split] if own == file.stem else named
    folders = list(dict.fromkeys(["images", *words, file.parent.relative_to(home).as_posix()]))
    found = [folder for folder in folders if any((home / folder / image["file_name"]).is_file() for image in images)]
    if len(found) != 1:
        what = f"images of '{file}' are in {' and in '.join(found)}" if found else f"no image of '{file}' is there"
        raise InputError(f"{what}; valid: all in one of the folders {', '.join(folders)} in '{home}'")
    return found[0]
