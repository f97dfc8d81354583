"""A user's own annotations in COCO's format: what exporters write otherwise, brought into the form that is checked.

What changes no value is done in silence: 40.0, "40" and true for 40 and 1, one polygon as a flat list. All else is
counted. What is still wrong afterwards is for the check to say.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from resnest_core.data.coco_annotations import NAMED, AnnotationFile, Record, shown
from resnest_core.data.coco_shapes import tidied, whole

Counts = Counter[str]
Ids = dict[Any, int]


@dataclass(frozen=True)
class _Parts:
    """What annotations refer to: ids as they were and as they are, images under two ids, sizes (width, height)."""

    file: AnnotationFile
    ids: dict[str, Ids]
    same: Ids
    sizes: dict[int, tuple[int, int]]


def cleaned(file: AnnotationFile, home: Path) -> tuple[AnnotationFile, tuple[str, ...]]:
    """The file with its records in the form of COCO's own, and what was changed, each kind with its count.

    File names that were absolute are relative to `home`. A record that got another id keeps the user's as `NAMED`.
    """
    counts: Counts = Counter()
    lists = {key: _once(file.lists[key], key, counts) for key in ("images", "annotations", "categories")}
    ids = {
        f"{kind}_id": _number(lists[key], kind, counts)
        for key, kind in (("images", "image"), ("categories", "category"))
    }
    for image in _objects(lists["images"]):
        image |= _image(image, home)
    lists["images"], same = _merged(lists["images"], counts)
    sizes = {image["id"]: (image["width"], image["height"]) for image in _objects(lists["images"]) if _is_sized(image)}
    parts = _Parts(file, ids, same, sizes)
    found = [_annotation(record, parts, counts) for record in lists["annotations"]]
    kept = [record for record in found if record is not None]
    lists["annotations"] = _without_repeats(kept, {*same.values()}, counts)
    _number_annotations(lists["annotations"], counts)
    return replace(file, lists=lists), tuple(f"{count:,} {what}" for what, count in counts.items())


def _objects(records: list[Any]) -> Iterator[Record]:
    return (record for record in records if isinstance(record, dict))


def _once(records: list[Any], what: str, counts: Counts) -> list[Any]:
    """Copies of the records, without those that are there again, word for word, under one id."""
    times = Counter(repr(record.get("id")) for record in _objects(records) if record.get("id") is not None)
    kept, seen = [], set()
    for record in records:
        repeated = isinstance(record, dict) and times[repr(record.get("id"))] > 1
        content = json.dumps(record, sort_keys=True) if repeated else ""
        if content in seen:
            counts[f"repeated record(s) in '{what}', taken once"] += 1
            continue
        seen |= {content} if repeated else set()
        kept.append(dict(record) if isinstance(record, dict) else record)
    return kept


def _key(value: Any) -> Any:
    """An id as ids are compared."""
    return whole(value) if type(value) in (str, float, int) else repr(value)


def _number(records: list[Any], kind: str, counts: Counts) -> Ids:
    """Make the ids whole numbers, if there are texts in their order; what each became."""
    with_ids = [record for record in _objects(records) if type(record.get("id")) in (str, float, int)]
    keys = [_key(record["id"]) for record in with_ids]
    texts = sum(isinstance(key, str) for key in keys)
    numbers = {key: place for place, key in enumerate(sorted(set(keys), key=str), start=1)} if texts else {}
    if texts:
        counts[f"{kind} id(s) that are texts, numbered here"] += texts
    for record, key in zip(with_ids, keys, strict=True):
        record |= {NAMED: record["id"], "id": numbers[key]} if texts else {"id": key}
    return {key: numbers.get(key, key) for key in keys}


def _image(image: Record, home: Path) -> Record:
    """The fields of an image that are written otherwise here."""
    sides = {side: whole(image[side]) for side in ("width", "height") if side in image}
    name = image.get("file_name")
    return sides | ({"file_name": _relative(name, home)} if isinstance(name, str) else {})


def _relative(name: str, home: Path) -> str:
    """A file's name with slashes, without the data directory where it begins with that."""
    path = PurePosixPath(name.replace("\\", "/"))
    for root in (home.absolute().as_posix(), home.resolve().as_posix()):
        if path.is_absolute() and path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    if len(path.parts) > 1 and path.parts[0] == home.resolve().name and not (home / path).exists():
        return PurePosixPath(*path.parts[1:]).as_posix()
    return path.as_posix()


def _is_sized(image: Record) -> bool:
    sides = [image.get(side) for side in ("width", "height")]
    return type(image.get("id")) is int and all(type(side) is int and side > 0 for side in sides)


def _merged(images: list[Any], counts: Counts) -> tuple[list[Any], Ids]:
    """The images without those whose file was there before under another id, and the id that each of these gets."""
    times = Counter(image.get("id") for image in _objects(images) if _is_sized(image))
    first: dict[str, int] = {}
    same: Ids = {}
    kept = []
    for image in images:
        usable = isinstance(image, dict) and _is_sized(image) and times[image["id"]] == 1
        name = image.get("file_name") if usable else None
        if isinstance(name, str) and first.setdefault(name, image["id"]) != image["id"]:
            same[image["id"]] = first[name]
            counts["image(s) listed again under another id, taken as one"] += 1
        else:
            kept.append(image)
    return kept, same


def _annotation(record: Any, parts: _Parts, counts: Counts) -> Any:
    """An annotation in the form that is checked, or None if it lies outside its image."""
    if not isinstance(record, dict):
        return record
    for key, numbers in parts.ids.items():
        if key in record:
            name = f"annotation {shown(record['id'])}" if "id" in record else "an annotation without id"
            parts.file.check_member(name, key, _key(record[key]), numbers)
            record[key] = numbers[_key(record[key])]
    number = parts.same.get(record.get("image_id", 0), record.get("image_id", 0))
    if number not in parts.sizes:
        return record
    tidy, remarks = tidied(record | {"image_id": number}, *parts.sizes[number])
    counts.update(remarks)
    return tidy


def _without_repeats(annotations: list[Any], merged: set[int], counts: Counts) -> list[Any]:
    """The annotations without those of images that were listed more than once which say the same again."""
    kept, seen = [], set()
    for record in annotations:
        content = ""
        if isinstance(record, dict) and record.get("image_id") in merged:
            content = json.dumps({key: record[key] for key in record if key != "id"}, sort_keys=True)
        if content and content in seen:
            counts["repeated record(s) in 'annotations', taken once"] += 1
            continue
        seen.add(content)
        kept.append(record)
    return kept


def _number_annotations(annotations: list[Any], counts: Counts) -> None:
    """Number annotations anew, in the order of the file, unless each has a whole number of its own."""
    objects = list(_objects(annotations))
    ids = [_key(record["id"]) if "id" in record else None for record in objects]
    times = Counter(ids)
    bad = sum(type(key) is not int or times[key] > 1 for key in ids)
    if bad:
        counts["annotation(s) without a number of their own as id, all numbered here"] += bad
    for place, (record, key) in enumerate(zip(objects, ids, strict=True), start=1):
        record |= ({NAMED: record["id"]} if "id" in record else {}) | {"id": place} if bad else {"id": key}
