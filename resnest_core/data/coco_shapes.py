"""Boxes and masks of a user's own annotations: brought into the form that is checked, and cut at the image's border."""

from typing import Any

from resnest_core.data.coco_annotations import Record, box_problem, finite, is_near

LEAST = 6  # numbers of a polygon: three points
OUTSIDE = "object(s) outside the image, left out"
BOX_CUT = "box(es) cut at the border of the image"
POLYGON_CUT = "polygon(s) cut at the border of the image"
POLYGON_OUTSIDE = "polygon(s) outside the image, left out"
Remarks = list[str]


def number(value: Any) -> Any:
    """A number that was written as a text; all else as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def whole(value: Any) -> Any:
    """A whole number that was written as a float, a truth value or a text; all else as it is."""
    value = number(value) if isinstance(value, str) and value.strip().isdecimal() else value
    return int(value) if isinstance(value, bool | float) and value == value // 1 else value


def tidied(record: Record, width: int, height: int) -> tuple[Record | None, Remarks]:
    """An annotation of an image of so many pixels in the form that is checked, and what was changed.

    It is None if it lies outside its image. Fields that are None are left out; so are an area that is none, which
    follows from mask or box then, and that of a shape which was cut.
    """
    record = {key: value for key, value in record.items() if value is not None}
    remarks: Remarks = []
    mask = _segmentation(record.pop("segmentation", None), width, height, remarks)
    box = _box(record.pop("bbox", None), mask, width, height, remarks)
    if OUTSIDE in remarks:
        return None, remarks
    area = _area(record.pop("area", None), remarks)
    record |= {"iscrowd": whole(record["iscrowd"])} if "iscrowd" in record else {}
    shapes = {"bbox": box, "segmentation": mask, "area": area}
    return record | {key: value for key, value in shapes.items() if value is not None}, remarks


def _box(box: Any, mask: Any, width: int, height: int, remarks: Remarks) -> Any:
    if not box and isinstance(mask, list) and _is_valid(mask):
        remarks.append("box(es) that follow from the mask")
        return _around(mask)
    if not isinstance(box, list):
        return box
    box = [number(value) for value in box]
    if len(box) != 4 or not finite(box) or min(box[2:]) < 0:
        return box
    if box_problem(box, width, height):
        left, top, right, bottom = (
            max(box[0], 0),
            max(box[1], 0),
            min(box[0] + box[2], width),
            min(box[1] + box[3], height),
        )
        remarks.append(BOX_CUT if right > left and bottom > top else OUTSIDE)
        return [left, top, right - left, bottom - top]
    remarks += ["box(es) without area"] if 0 in box[2:] else []
    return box


def _segmentation(found: Any, width: int, height: int, remarks: Remarks) -> Any:
    """Polygons or run lengths, or None if there are none."""
    if isinstance(found, dict) and found:
        size, counts = found.get("size"), found.get("counts")
        lists = {"size": size, "counts": counts}
        return {**found, **{key: [*map(whole, value)] for key, value in lists.items() if isinstance(value, list)}}
    if not isinstance(found, list):
        return found or None
    polygons = [_cut(polygon, width, height, remarks) for polygon in _polygons(found, remarks)]
    return [polygon for polygon in polygons if polygon] or None


def _polygons(found: list[Any], remarks: Remarks) -> list[Any]:
    """The polygons, of three points or more; one may lie there flat, or as a list of points."""
    if found and not any(isinstance(value, list) for value in found):
        found = [found]
    elif len(found) > 2 and all(isinstance(value, list) and len(value) == 2 for value in found):
        found = [[place for point in found for place in point]]
    whole_ones = [p for p in found if not isinstance(p, list) or (len(p) >= LEAST and len(p) % 2 == 0)]
    remarks += ["polygon(s) of fewer than 3 points or with half a point, left out"] * (len(found) - len(whole_ones))
    return [[number(place) for place in p] if isinstance(p, list) else p for p in whole_ones]


def _is_valid(polygons: list[Any]) -> bool:
    return all(isinstance(polygon, list) and finite(polygon) for polygon in polygons)


def _around(polygons: list[list[float]]) -> list[float]:
    """The least box that holds the polygons."""
    x, y = ([place for polygon in polygons for place in polygon[axis::2]] for axis in (0, 1))
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _cut(polygon: Any, width: int, height: int, remarks: Remarks) -> Any:
    """What of a polygon lies in the image; [] if nothing does."""
    if not _is_valid([polygon]) or (is_near(polygon[::2], width) and is_near(polygon[1::2], height)):
        return polygon
    points = list(zip(map(float, polygon[::2]), map(float, polygon[1::2]), strict=True))
    for axis, limit in ((0, width), (1, height)):
        points = _on_one_side(_on_one_side(points, axis, 0, 1), axis, limit, -1)
    remarks.append(POLYGON_CUT if len(points) * 2 >= LEAST else POLYGON_OUTSIDE)
    return [place for point in points for place in point] if len(points) * 2 >= LEAST else []


def _on_one_side(points: list[tuple[float, float]], axis: int, limit: float, sign: int) -> list[tuple[float, float]]:
    """A polygon cut along a line (Sutherland and Hodgman 1974): `sign` is 1 to keep what lies above it, else -1."""
    kept: list[tuple[float, float]] = []
    for here, there in zip(points, points[1:] + points[:1], strict=True):
        inside, next_inside = (sign * (point[axis] - limit) >= 0 for point in (here, there))
        if inside:
            kept.append(here)
        if inside != next_inside:
            part = (limit - here[axis]) / (there[axis] - here[axis])
            crossing = [a + part * (b - a) for a, b in zip(here, there, strict=True)]
            crossing[axis] = limit
            kept.append((crossing[0], crossing[1]))
    return kept


def _area(area: Any, remarks: Remarks) -> Any:
    """The area as given, or None if it is to follow from the mask or the box."""
    area = number(area)
    if {BOX_CUT, POLYGON_CUT, POLYGON_OUTSIDE} & {*remarks}:
        return None
    if area is not None and (not finite([area]) or area < 0):
        remarks.append("area(s) that are none, computed here")
        return None
    return area
