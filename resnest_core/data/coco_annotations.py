"""The annotation file of a data set in COCO's format: reading it, and checking all that it says."""

import hashlib
import json
import math
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from resnest_core.data.base import LayoutError
from resnest_core.errors import InputError
from resnest_core.texts import decode_text

Record = dict[str, Any]

NAMED = "own id"  # the field of a record for the id that its file gave it, where it has another one here
BEYOND = 1  # pixels that COCO's boxes and polygons may reach beyond the border

_KINDS = {"images": "image", "annotations": "annotation", "categories": "category"}
_TYPES: dict[type, str] = {int: "a whole number", str: "a text", list: "a list"}
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
        name = (
            f"{kind} {shown(record.get(NAMED, record[identity]))}" if identity in record else f"{kind} number {place}"
        )
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
        if not finite([area]) or area < 0:
            raise self.wrong(f"{name} has area {shown(area)}", _VALID["area"])
        if record.get("iscrowd", 0) not in (0, 1):
            raise self.wrong(f"{name} has iscrowd {shown(record['iscrowd'])}", _VALID["iscrowd"])

    def check_member(self, name: str, key: str, value: object, members: Mapping[Any, object]) -> None:
        """InputError unless an annotation's image or category exists."""
        if value not in members:
            kind = key.removesuffix("_id")
            raise self.wrong(f"{name} has {key} {shown(value)}, which no {kind} has", f"one of {shown(list(members))}")

    def check_inside(self, name: str, file_name: str) -> None:
        """InputError if a file's name leads out of its folder."""
        path = PurePosixPath(file_name)
        if path.is_absolute() or ".." in path.parts:
            raise self.wrong(f"{name} has file_name {shown(file_name)}, outside the folder", "a path inside the folder")


def read_annotations(path: Path) -> AnnotationFile:
    """An annotation file with its lists of images, annotations and categories."""
    try:
        content = path.read_bytes()
        lists = json.loads(decode_text(content, str(path)))
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
        name = called("image", image)
        if min(image["width"], image["height"]) < 1:
            raise file.wrong(f"{name} has {image['width']} x {image['height']} pixels", "1 x 1 or more")
        file.check_inside(name, image["file_name"])
    return images


def categories_of(file: AnnotationFile) -> dict[int, str]:
    """Names of the categories in order of their ids."""
    categories = {record["id"]: record["name"] for record in file.records("categories", {"id": int, "name": str})}
    if not categories:
        raise file.wrong("the list 'categories' is empty", "one category or more")
    check_names(file, categories)
    return categories


def check_names(file: AnnotationFile, categories: Mapping[int, str]) -> None:
    """InputError if two categories have one name."""
    for name, times in Counter(categories.values()).items():
        if times > 1:
            ids = [number for number, own in categories.items() if own == name]
            raise file.wrong(f"categories {', '.join(map(str, ids))} are all {shown(name)}", "each name once")


def check_published(file: AnnotationFile, categories: Mapping[int, str], published: Mapping[int, str]) -> None:
    """InputError unless ids and names are the published ones."""
    for number in sorted({*categories, *published}):
        name, valid = (shown(names[number]) if number in names else "absent" for names in (categories, published))
        if name != valid:
            what = f"category {number} is {name}, in COCO 2017 {valid}"
            raise LayoutError(str(file.wrong(what, f"the {len(published)} categories of COCO 2017")))


def annotations_of(file: AnnotationFile, images: dict[int, Record], categories: dict[int, str]) -> list[Record]:
    """The annotations in order of their ids."""
    found = file.records("annotations", {"id": int, "image_id": int, "category_id": int, "bbox": list})
    for record in found:
        name = called("annotation", record)
        file.check_member(name, "image_id", record["image_id"], images)
        file.check_member(name, "category_id", record["category_id"], categories)
        file.check_values(name, record)
        image = images[record["image_id"]]
        for key, problem_of in (("bbox", box_problem), ("segmentation", _segmentation_problem)):
            if problem := problem_of(record.get(key), image["width"], image["height"]):
                raise file.wrong(f"{name} has {key} {shown(record[key])}, {problem}", _VALID[key])
    return found


def are_masked(file: AnnotationFile, found: list[Record]) -> bool:
    """Whether the annotations have masks; InputError if some have, and some not."""
    without = [record["id"] for record in unmasked(found)]
    if 0 < len(without) < len(found):
        counts = f"{len(without):,} of {len(found):,}"
        raise file.wrong(f"annotation {without[0]} has no segmentation ({counts} have none)", "one for all or for none")
    return len(without) < len(found)


def unmasked(found: list[Record]) -> list[Record]:
    """The annotations without a mask."""
    return [record for record in found if record.get("segmentation") in (None, [])]


def called(kind: str, record: Record) -> str:
    """A record by the id that its file gave it."""
    return f"{kind} {record.get(NAMED, record['id'])}"


def shown(value: object) -> str:
    """A value for an error: in one line, and cut if it is long."""
    return _SHORT.repr(value)


def box_problem(box: Any, width: int, height: int) -> str:
    """What is wrong with a box in an image of so many pixels, or ""."""
    if len(box) != 4 or not finite(box):
        return "not 4 finite numbers"
    left, top, across, down = box
    if min(across, down) < 0:
        return "a side is negative"
    if left > width or top > height or left + across < 0 or top + down < 0:
        return f"outside its image of {width} x {height} pixels"
    if not is_near([left, left + across], width) or not is_near([top, top + down], height):
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
    shape = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 and finite(polygon)
    return shape and is_near(polygon[::2], width) and is_near(polygon[1::2], height)


def is_near(places: list[float], side: int) -> bool:
    """Whether places along a side lie on it, or at most `BEYOND` pixels beyond."""
    return min(places) >= -BEYOND and max(places) <= side + BEYOND


def finite(values: list[Any]) -> bool:
    """Whether all are finite numbers."""
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
