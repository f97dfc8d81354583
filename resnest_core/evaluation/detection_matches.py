"""Which detections COCO's matching finds right, as arrays from which scores of any resample of images follow."""

import io
from contextlib import redirect_stdout
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from resnest_core.errors import InputError, unknown
from resnest_core.run_lengths import areas

MOST_DETECTIONS = 100  # in an image
KINDS = {"bbox": "box", "segm": "mask"}
THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREAS = range(4)  # all, small, medium and large, as COCOeval orders them

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matches:
    """What COCO's matching found in `n` images, by "bbox" or "segm".

    The d detections stand by category and falling score: `image`, `category` (index into `categories`, the names) and
    `score` are (d,); `right` and `counted` (4, 10, d) say for each area and threshold whether a detection matches, and
    whether it counts at all. `truth_image` and `truth_category` are (t,), `truth_counted` (4, t).
    """

    kind: str
    n: int
    categories: tuple[str, ...]
    image: NDArray[np.int64]
    category: NDArray[np.int64]
    score: Floats
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    truth_image: NDArray[np.int64]
    truth_category: NDArray[np.int64]
    truth_counted: NDArray[np.bool_]


def matches(
    images: pd.DataFrame, truths: pd.DataFrame, detections: pd.DataFrame, categories: dict[int, str], kind: str
) -> Matches:
    """Match the detections with the truths in the `images`, whose rows are in the order of their index.

    `categories` names COCO's numbers; `kind` is "bbox" or "segm". Raises InputError for more than 100 detections in an
    image, for an image or category that is not there, and for masks that are missing.
    """
    true, found = _checked(images, truths, detections, categories, kind)
    with redirect_stdout(io.StringIO()):  # COCO tells of every step
        evaluated = COCOeval(*(_coco(images, table, categories, kind) for table in (true, found)), kind)
        evaluated.evaluate()
    numbers = sorted(categories)
    image, truth_image = (table["at"].to_numpy() for table in (found, true))
    category, truth_category = (np.searchsorted(numbers, table["category"]) for table in (found, true))
    right, counted, truth_counted = _flags(evaluated, len(true), len(found))
    names, score = tuple(categories[number] for number in numbers), found["score"].to_numpy(np.float64)
    unordered = Matches(
        kind, len(images), names, image, category, score, right, counted, truth_image, truth_category, truth_counted
    )
    return ordered(unordered, image)


def _checked(
    images: pd.DataFrame, truths: pd.DataFrame, detections: pd.DataFrame, categories: dict[int, str], kind: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Truths and detections with all columns that COCO needs."""
    if kind not in KINDS:
        raise unknown("kind of overlap", kind, KINDS)
    index = images["index"]
    if not index.is_monotonic_increasing or not index.is_unique:
        raise InputError("the images' index does not rise; valid: one row per image, in order")
    true = _located("truth", truths, images, categories, kind)
    found = _located("detection", detections, images, categories, kind)
    counts = found["index"].value_counts()
    if counts.max() > MOST_DETECTIONS:
        raise InputError(f"image {counts.idxmax()} has {counts.max()} detections; valid: at most {MOST_DETECTIONS}")
    return true, found.assign(crowd=False, area=_areas(found, kind))


def _located(
    what: str, table: pd.DataFrame, images: pd.DataFrame, categories: dict[int, str], kind: str
) -> pd.DataFrame:
    """The table with `at`, the row of the image, and `size`, its height and width."""
    at = pd.Index(images["index"]).get_indexer(pd.Index(table["index"]))
    _refuse(what, table, "index", at < 0, "the index of an image")
    _refuse(what, table, "category", ~table["category"].isin(list(categories)), str(sorted(categories)))
    if kind == "segm":
        _refuse(what, table, "mask", table["mask"].isna(), "compressed run lengths in every row")
    return table.assign(at=at, size=images[["height", "width"]].to_numpy()[at].tolist())


def _refuse(what: str, table: pd.DataFrame, column: str, bad: ArrayLike, valid: str) -> None:
    rows = np.flatnonzero(bad)
    if rows.size:
        raise InputError(f"{what} {rows[0]} has {column} {table[column].iloc[rows[0]]}; valid: {valid}")


def _areas(found: pd.DataFrame, kind: str) -> Floats:
    if kind == "bbox":
        return (found["width"] * found["height"]).to_numpy()
    return areas(_masks(found))


def _masks(table: pd.DataFrame) -> list[dict]:
    return [{"size": size, "counts": mask} for size, mask in zip(table["size"], table["mask"], strict=True)]


def _coco(images: pd.DataFrame, table: pd.DataFrame, categories: dict[int, str], kind: str) -> COCO:
    sizes = zip(images["height"], images["width"], strict=True)
    result = COCO()
    result.dataset = {
        "images": [{"id": i, "height": height, "width": width} for i, (height, width) in enumerate(sizes)],
        "categories": [{"id": number} for number in categories],
        "annotations": _annotations(table, kind),
    }
    result.createIndex()
    return result


def _annotations(table: pd.DataFrame, kind: str) -> list[dict]:
    """The rows as COCO has them; ids begin at 1, as COCOeval writes 0 for what is not matched."""
    names = {"at": "image_id", "category": "category_id", "area": "area", "crowd": "iscrowd", "score": "score"}
    chosen = table[[column for column in names if column in table]].rename(columns=names)
    rows: list[dict] = chosen.to_dict("records")
    shapes = _masks(table) if kind == "segm" else table[["x", "y", "width", "height"]].to_numpy().tolist()
    field = "segmentation" if kind == "segm" else "bbox"
    return [dict(row, id=i, **{field: shape}) for i, (row, shape) in enumerate(zip(rows, shapes, strict=True), 1)]


def _flags(evaluated: COCOeval, truths: int, detections: int) -> tuple[NDArray[np.bool_], ...]:
    """`right`, `counted` and `truth_counted` of `Matches`, in the order of the tables."""
    shape = len(AREAS), len(THRESHOLDS), detections
    right, counted, truth_counted = (np.zeros(size, bool) for size in (shape, shape, (len(AREAS), truths)))
    for found in filter(None, evaluated.evalImgs):
        area = evaluated.params.areaRng.index(found["aRng"])
        at = np.array(found["dtIds"], np.int64) - 1
        counted[area][:, at] = ~found["dtIgnore"]
        right[area][:, at] = ~found["dtIgnore"] & (found["dtMatches"] > 0)
        truth_counted[area][np.array(found["gtIds"], np.int64) - 1] = found["gtIgnore"] == 0
    return right, counted, truth_counted


def ordered(matches: Matches, image: NDArray[np.int64]) -> Matches:
    """With the detections by category, score and `image` (d,), then as they were, which is COCO's order too."""
    order = np.lexsort((image, -matches.score, matches.category))
    columns = {name: getattr(matches, name)[..., order] for name in ("image", "category", "score", "right", "counted")}
    return replace(matches, **columns)
