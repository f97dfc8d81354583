"""COCO's panoptic annotations: every pixel belongs to a segment, which is one thing or one kind of stuff.

`annotations/panoptic_val2017.json` lists the segments of each image, `annotations/panoptic_val2017/*.png` shows them: a
colour is the number of a segment, R + 256 G + 65536 B. The images are in `val2017/`. That is the split "test";
`train2017` is "train".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as run_lengths

from resnest_core.data.base import Objects, Report, read_image
from resnest_core.data.coco import (
    SPLITS,
    AnnotatedImages,
    check_there,
    find_published,
    inside,
    lacking,
    report_on,
)
from resnest_core.data.coco_annotations import (
    AnnotationFile,
    Record,
    check_published,
    images_of,
    read_annotations,
    shown,
)
from resnest_core.data.coco_categories import STUFF, THINGS
from resnest_core.errors import InputError

VOID = 0  # the number of pixels that belong to no segment
_PLACES = (1, 256, 256**2)  # of red, green and blue in a segment's number
_HIGHEST = 256**3 - 1


@dataclass(frozen=True)
class PanopticImages(AnnotatedImages):
    """Images with segments: `classes` are the things; `annotations[i]` is a record with `file_name`, `segments_info`.

    `stuff_categories` are names by number; `maps` is the folder of the PNG files, relative to `root`.
    """

    stuff_categories: dict[int, str]
    maps: str

    @property
    def stuff(self) -> tuple[str, ...]:
        """Names of the stuff, in order of the categories' ids."""
        return tuple(self.stuff_categories.values())

    @property
    def files(self) -> list[str]:
        return [*self.paths, *(inside(self.maps, record["file_name"]) for record in self.annotations)]

    def load(self, index: int) -> tuple[Image.Image, Objects]:
        """Image `index` in RGB and its things; raises InputError naming a file that cannot be read or does not fit.

        Boxes are the least that hold the masks.
        """
        image, (seen, segments) = self.picture(index), self.segments(index)
        things = [segment for segment in segments if segment["category_id"] in self.categories]
        masks = tuple(run_lengths.encode(np.asfortranarray(seen == segment["id"], np.uint8)) for segment in things)
        boxes = np.array([run_lengths.toBbox(mask) for mask in masks], np.float64).reshape(-1, 4)
        areas = np.array([segment["area"] for segment in things], np.float64)
        crowd = np.array([segment["iscrowd"] for segment in things], bool)
        return image, Objects(boxes, self.labels(things), areas, crowd, masks)

    def segments(self, index: int) -> tuple[NDArray[np.int64], list[Record]]:
        """The number (H, W) of the segment at each pixel, 0 for none, and the segments of image `index`.

        A segment is `id`, `category_id`, `iscrowd` and `area` in pixels. Raises InputError if the file does not show
        the segments that are listed.
        """
        record = self.annotations[index]
        path = self.root / inside(self.maps, record["file_name"])
        seen = np.asarray(read_image(path), np.int64) @ np.array(_PLACES)
        _check_size(path, seen.shape, self.images[index])
        ids, areas = np.unique(seen, return_counts=True)
        shown_areas = dict(zip(ids.tolist(), areas.tolist(), strict=True))
        shown_areas.pop(VOID, None)
        _check_same(path, shown_areas, [segment["id"] for segment in record["segments_info"]])
        return seen, [_segment(segment, shown_areas[segment["id"]]) for segment in record["segments_info"]]


def open_panoptic(root: str | Path | None, split: str, limit: int) -> PanopticImages:
    """COCO 2017 in `root`, or there in `coco` or `COCO`; `limit` takes the first images in order of ids (0: all)."""
    name = "coco_panoptic"
    home, path = find_published(name, "panoptic", root, split, limit)
    file, folder, maps = read_annotations(home / path), SPLITS[split], path.removesuffix(".json")
    things, stuff = _categories(file)
    images = images_of(file)
    annotations = _annotations(file, images, {**things, **stuff})
    lack, number = lacking(len(images), split), len(images)
    dataset = PanopticImages(
        name, home, path, file.sha256, folder, things, images, annotations, number, lack, stuff, maps
    )
    check_there(dataset)
    return dataset.first(limit)


def check_panoptic(root: str | Path | None, split: str) -> Report:
    """Read every image and its segments, and list the problem of each that is damaged or does not fit."""
    return report_on(open_panoptic(root, split, 0))


def _categories(file: AnnotationFile) -> tuple[dict[int, str], dict[int, str]]:
    """Things and stuff, names by number; InputError unless they are COCO's."""
    records = file.records("categories", {"id": int, "name": str, "isthing": int})
    things, stuff = ({r["id"]: r["name"] for r in records if r["isthing"] == isthing} for isthing in (1, 0))
    check_published(file, things, THINGS)
    check_published(file, stuff, STUFF)
    return things, stuff


def _annotations(file: AnnotationFile, images: list[Record], categories: Mapping[int, str]) -> list[Record]:
    """The annotations in order of their images, one for each."""
    found = file.records("annotations", {"image_id": int, "file_name": str, "segments_info": list})
    numbers = {image["id"]: image for image in images}
    for record in found:
        number = record["image_id"]
        name = f"the annotation of image {number}"
        file.check_member(name, "image_id", number, numbers)
        file.check_inside(name, record["file_name"])
        _check_segments(file, f"image {number}: segment", record["segments_info"], categories)
    if without := sorted({*numbers} - {record["image_id"] for record in found}):
        raise file.wrong(f"image {without[0]} has no annotation", "one annotation for each image")
    return found


def _check_segments(file: AnnotationFile, kind: str, segments: Sequence[Record], categories: Mapping[int, str]) -> None:
    for place, segment in enumerate(segments, start=1):
        file.check_fields(kind, place, segment, {"id": int, "category_id": int})
        name = f"{kind} {segment['id']}"
        if not VOID < segment["id"] <= _HIGHEST:
            raise file.wrong(f"{name} has an id that no colour means", f"1 to {_HIGHEST}")
        file.check_member(name, "category_id", segment["category_id"], categories)
        file.check_values(name, segment)
    file.check_unique(kind, [segment["id"] for segment in segments])


def _check_size(path: Path, shape: Sequence[int], image: Record) -> None:
    if shape != (image["height"], image["width"]):
        sizes = f"{shape[1]} x {shape[0]} pixels, its image {image['width']} x {image['height']}"
        raise InputError(f"segments '{path}' have {sizes}; valid: the size of the image")


def _check_same(path: Path, there: Mapping[int, int], listed: Sequence[int]) -> None:
    """InputError unless the segments of the file are those listed."""
    if hidden := sorted({*listed} - {*there}):
        raise InputError(f"segments '{path}' do not show segment {hidden[0]}; valid: {shown(sorted(listed))}, all")
    if more := sorted({*there} - {*listed}):
        raise InputError(f"segments '{path}' show segment {more[0]}, not listed; valid: {shown(sorted(listed))} or 0")


def _segment(segment: Record, area: int) -> Record:
    """A segment with all its fields; `area` is what the file shows."""
    kept = {key: segment[key] for key in ("id", "category_id")}
    return {**kept, "iscrowd": segment.get("iscrowd", 0), "area": segment.get("area", area)}
