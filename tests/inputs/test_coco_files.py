"""COCO-format sets as people have them: what is clipped, left out or numbered is counted; what is wrong is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inputs.sets import HEIGHT, SETS, WIDTH, photograph, save, write
from pycocotools import mask as run_lengths

from resnest_core import data
from resnest_core.data.coco import CocoImages
from resnest_core.data.coco_shapes import _cut
from resnest_core.errors import InputError
from resnest_core.evaluation.average_precision import detection_metrics

Said = dict[str, Any]
SQUARE = [4, 6, 14, 6, 14, 14, 4, 14]
OWN = next(row for row in SETS if row.name == "coco_format")


def said() -> Said:
    """Two images, three objects of two categories."""
    images = [{"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in (1, 2)]
    box = {"bbox": [4, 6, 10, 8], "area": 80, "iscrowd": 0, "segmentation": [SQUARE]}
    annotations = [
        {"id": i, "image_id": image, "category_id": 1 + i % 2, **box} for i, image in ((1, 1), (2, 2), (3, 2))
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "nut"}, {"id": 2, "name": "bolt"}],
    }


def opened(root: Path, content: Said) -> CocoImages:
    for i in (1, 2):
        save(root / "images" / f"{i}.jpg", photograph(f"{i}"))
    write(root / "annotations.json", json.dumps(content))
    dataset = data.open_detection("coco_format", root)
    assert isinstance(dataset, CocoImages)
    return dataset


def first(**changes: Any) -> Callable[[Said], None]:
    """A change of the first annotation."""
    return lambda content: content["annotations"][0].update(changes)


def without(key: str, field: str) -> Callable[[Said], None]:
    return lambda content: [record.pop(field, None) for record in content[key]] and None


def changed(key: str, field: str, change: Callable[[Any], Any]) -> Callable[[Said], None]:
    def all_changed(content: Said) -> None:
        for record in content[key]:
            record[field] = change(record[field])

    return all_changed


def in_order(*changes: Callable[[Said], None]) -> Callable[[Said], None]:
    def all_changed(content: Said) -> None:
        for change in changes:
            change(content)

    return all_changed


def text_ids(content: Said) -> None:
    for image in content["images"]:
        image["id"] = f"a{image['id']}"
    for record in content["annotations"]:
        record |= {"image_id": f"a{record['image_id']}", "id": f"x{record['id']}"}


def text_categories(content: Said) -> None:
    names = {1: "nut", 2: "bolt"}
    content["categories"] = [{"id": name, "name": name} for name in names.values()]
    for record in content["annotations"]:
        record["category_id"] = names[record["category_id"]]


def listed_again(content: Said) -> None:
    """The first image has a second entry with an object of its own, and one that the first had."""
    content["images"].append(content["images"][0] | {"id": 7})
    again = content["annotations"][0] | {"image_id": 7}
    content["annotations"] += [again | {"id": 8}, again | {"id": 9, "bbox": [0, 0, 4, 4]}]


SAME = [[4, 6, 10, 8]]
# What is changed, the boxes that the first image has then, and a remark that the source ends with or holds ("": none).
VALID: dict[str, tuple[Callable[[Said], None], list[list[float]], str]] = {
    "nothing": (lambda content: None, SAME, ""),
    "further lists": (lambda content: content.update(info={}, licenses=[], supercategory="x"), SAME, ""),
    "whole floats": (changed("images", "width", float), SAME, ""),
    "texts": (changed("images", "height", str), SAME, ""),
    "ids in floats": (in_order(changed("images", "id", float), changed("annotations", "id", float)), SAME, ""),
    "ids in digits": (changed("images", "id", str), SAME, ""),
    "references in digits": (changed("annotations", "image_id", str), SAME, ""),
    "file stems": (changed("images", "id", lambda i: f"{i:012d}"), SAME, ""),
    "ids in texts": (text_ids, SAME, "2 image id(s) that are texts, numbered here"),
    "categories in texts": (text_categories, SAME, "2 category id(s) that are texts, numbered here"),
    "no ids": (without("annotations", "id"), SAME, "3 annotation(s) without a number of their own as id"),
    "one id": (changed("annotations", "id", lambda i: 0), SAME, "3 annotation(s) without a number of their own as id"),
    "an id twice": (lambda content: content["annotations"][1].update(id=1), SAME, "2 annotation(s) without a number"),
    "no crowds": (without("annotations", "iscrowd"), SAME, ""),
    "crowds none": (changed("annotations", "iscrowd", lambda crowd: None), SAME, ""),
    "crowds true": (changed("annotations", "iscrowd", bool), SAME, ""),
    "no areas": (without("annotations", "area"), SAME, ""),
    "areas none": (changed("annotations", "area", lambda area: None), SAME, ""),
    "area that is none": (first(area=-1), SAME, "1 area(s) that are none, computed here"),
    "area of nan": (first(area=float("nan")), SAME, "1 area(s) that are none, computed here"),
    "box in texts": (first(bbox=["4", "6", "10", "8"]), SAME, ""),
    "no box": (first(bbox=None), SAME, "1 box(es) that follow from the mask"),
    "empty box": (first(bbox=[]), SAME, "1 box(es) that follow from the mask"),
    "box beyond": (first(bbox=[35, -9, 100, 20]), [[35, 0, 5, 11]], "1 box(es) cut at the border of the image"),
    "box a little beyond": (first(bbox=[-0.5, 0, 41, 32.3]), [[-0.5, 0, 41, 32.3]], ""),
    "box outside": (first(bbox=[400, 6, 10, 8]), [], "1 object(s) outside the image, left out"),
    "box without area": (first(bbox=[4, 6, 0, 8]), [[4, 6, 0, 8]], "1 box(es) without area"),
    "no polygons": (first(segmentation=[]), SAME, "masks do not count, as 1 of 3 objects have none"),
    "segmentation none": (first(segmentation=None), SAME, "masks do not count, as 1 of 3 objects have none"),
    "an empty polygon": (first(segmentation=[[]]), SAME, "1 polygon(s) of fewer than 3 points"),
    "no segmentations": (without("annotations", "segmentation"), SAME, ""),
    "short polygon": (first(segmentation=[SQUARE, [1, 1, 2, 2]]), SAME, "1 polygon(s) of fewer than 3 points"),
    "half a point": (first(segmentation=[[*SQUARE, 1], SQUARE]), SAME, "1 polygon(s) of fewer than 3 points"),
    "only short polygons": (first(segmentation=[[4, 6, 10, 8]]), SAME, "masks do not count, as 1 of 3"),
    "flat polygon": (first(segmentation=SQUARE), SAME, ""),
    "points": (first(segmentation=[[4, 6], [14, 6], [14, 14], [4, 14]]), SAME, ""),
    "polygon in texts": (first(segmentation=[[str(place) for place in SQUARE]]), SAME, ""),
    "polygon beyond": (first(segmentation=[[4, 6, 99, 6, 99, 14, 4, 14]]), SAME, "1 polygon(s) cut at the border"),
    "polygon outside": (first(segmentation=[[60, 6, 70, 6, 70, 14], SQUARE]), SAME, "1 polygon(s) outside the image"),
    "run lengths": (first(segmentation={"size": [32.0, 40.0], "counts": [1280.0]}), SAME, ""),
    "empty object": (first(segmentation={}), SAME, "masks do not count, as 1 of 3"),
    "unused category": (lambda content: content["categories"].append({"id": 9, "name": "washer"}), SAME, ""),
    "no objects": (lambda content: content.update(annotations=[]), [], ""),
    "image twice": (
        lambda content: content["images"].append(dict(content["images"][0])),
        SAME,
        "1 repeated record(s) in 'images', taken once",
    ),
    "annotation twice": (
        lambda content: content["annotations"].append(dict(content["annotations"][0])),
        SAME,
        "1 repeated record(s) in 'annotations', taken once",
    ),
    "image under two ids": (
        listed_again,
        [*SAME, [0, 0, 4, 4]],
        "1 image(s) listed again under another id, taken as one",
    ),
    "current folder": (changed("images", "file_name", lambda name: f"./{name}"), SAME, ""),
    "images folder": (changed("images", "file_name", lambda name: f"images/{name}"), SAME, ""),
    "backslashes": (changed("images", "file_name", lambda name: f".\\images\\{name}"), SAME, ""),
    "one image": (
        lambda content: content.update(images=content["images"][:1], annotations=content["annotations"][:1]),
        SAME,
        "1 other file(s) beside the images are not listed",
    ),
}


@pytest.mark.parametrize("case", VALID)
def test_valid_files_are_read_and_changes_counted(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, boxes, remark = VALID[case]
    content = said()
    change(content)
    dataset = opened(tmp_path, content)
    assert dataset.load(0)[1].boxes.tolist() == boxes
    assert (remark in dataset.source) if remark else (dataset.remarks == ())
    assert dataset.source in capsys.readouterr().out
    last = dataset.load(len(dataset) - 1)[1]
    masked = "segmentation" in content["annotations"][0] if content["annotations"] else False
    assert bool(last.masks) == (masked and "masks do not count" not in dataset.source)
    assert data.check("coco_format", tmp_path).problems == []


def test_labels_follow_the_categories_of_the_file(tmp_path: Path) -> None:
    content = said()
    text_categories(content)
    dataset = opened(tmp_path, content)
    assert dataset.classes == ("bolt", "nut")
    assert [dataset.classes[label] for label in dataset.load(1)[1].labels] == ["nut", "bolt"]


def test_absolute_names_and_the_name_of_the_set(tmp_path: Path) -> None:
    for start in (f"{tmp_path}/images/", f"{tmp_path.name}/images/", f"{tmp_path.name}\\images\\"):
        content = said()
        changed("images", "file_name", lambda name, start=start: start + name)(content)  # type: ignore[misc]
        assert opened(tmp_path, content).load(0)[1].boxes.tolist() == SAME


BAD: dict[str, tuple[Callable[[Said], None], str]] = {
    "two names": (
        lambda content: content["categories"][1].update(name="nut"),
        "categories 1, 2 are all 'nut'; valid: each name once",
    ),
    "box of nan": (first(bbox=[4, 6, float("nan"), 8]), "annotation 1 has bbox .*not 4 finite numbers"),
    "box of infinity": (first(bbox=[4, 6, float("inf"), 8]), "annotation 1 has bbox .*not 4 finite numbers"),
    "box of words": (first(bbox=["a", 6, 1, 8]), "annotation 1 has bbox .*not 4 finite numbers"),
    "negative side": (first(bbox=[4, 6, -1, 8]), "annotation 1 has bbox .*a side is negative"),
    "neither box nor mask": (first(bbox=None, segmentation=None), "annotation 1 has no bbox"),
    "polygon of nan": (first(segmentation=[[*SQUARE, float("nan"), 1]]), "with no valid polygon"),
    "no such image": (first(image_id=9), "annotation 1 has image_id 9, which no image has; valid: one of .*1, 2"),
    "no such category": (first(category_id="x"), "annotation 1 has category_id 'x', which no category has"),
    "number among texts": (in_order(text_ids, first(image_id=1)), "annotation 'x1' has image_id 1, which no image has"),
    "box of a text id": (in_order(text_ids, first(bbox=[1, 2])), "annotation x1 has bbox"),
    "two images of one id": (
        lambda content: content["images"].append(content["images"][1] | {"id": 1}),
        "image 1 occurs 2 times",
    ),
    "width of half pixels": (lambda content: content["images"][0].update(width=39.5), "image 1 has width 39.5"),
    "no width": (lambda content: content["images"][0].pop("width"), "image 1 has no width"),
    "above the folder": (lambda content: content["images"][0].update(file_name="../1.jpg"), "outside the folder"),
    "another place": (lambda content: content["images"][0].update(file_name="/data/1.jpg"), "outside the folder"),
    "run lengths of another size": (first(segmentation={"size": [40, 32], "counts": [1280]}), "of another size"),
    "no object": (lambda content: content["annotations"].append(3), "annotation number 4 is 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    change, message = BAD[case]
    content = said()
    change(content)
    with pytest.raises(InputError, match=message) as error:
        opened(tmp_path, content)
    assert str(error.value).startswith(f"annotations '{tmp_path / 'annotations.json'}': ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "row", [row for row in SETS if row.name in ("coco", "coco_panoptic")], ids=lambda row: row.name
)
def test_coco_itself_stays_strict(row: Any, tmp_path: Path) -> None:
    root = row.make(tmp_path)
    path = next(path for path in (root / "annotations").glob("*_val2017.json"))
    content = json.loads(path.read_text())
    content["images"][0]["width"] = float(WIDTH)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"image 1 has width 40.0; valid: a whole number as width"):
        row.open(root)


# Both of COCO's training annotations without a height (cocoapi issue 355), and a crowd as its files have it.
PUBLISHED = [
    {"bbox": [2.65, 8.33, 1.03, 0.0], "area": 0.0, "segmentation": [[2.65, 8.33, 2.65, 8.33, 3.68, 8.33, 3.68, 8.33]]},
    {
        "bbox": [9.98, 8.56, 5.54, 0.0],
        "area": 0.0,
        "segmentation": [[9.98, 8.56, 15.52, 8.56, 15.52, 8.56, 11.09, 8.56]],
    },
    {"iscrowd": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 640, 640]}},
    {"bbox": [0, 0, WIDTH + 0.3, HEIGHT], "segmentation": [[0, 0, WIDTH + 0.3, 0, WIDTH, HEIGHT + 0.2]]},
]


@pytest.mark.parametrize("name", ["coco", "coco_format"])
@pytest.mark.parametrize("published", PUBLISHED)
def test_what_coco_s_own_files_hold(name: str, published: Said, tmp_path: Path) -> None:
    row = next(row for row in SETS if row.name == name)
    root = row.make(tmp_path)
    path = next((root / "annotations").glob("*_val*.json"))
    content = json.loads(path.read_text())
    content["annotations"][0] |= published
    path.write_text(json.dumps(content))
    found = row.open(root).load(0)[1]
    assert found.boxes.tolist() == [content["annotations"][0]["bbox"]]
    assert len(found.masks) == 1


def test_names_that_differ_by_case_blanks_or_dots_keep_their_ap(tmp_path: Path) -> None:
    import pandas as pd

    categories = {1: "Nut", 2: "nut", 3: "nut ", 4: "nut.AP50", 5: "a.b.c"}
    box = {"x": 1.0, "y": 1.0, "width": 9.0, "height": 9.0, "mask": None}
    truths = pd.DataFrame([{"index": 0, "category": i, **box, "area": 81.0, "crowd": False} for i in categories])
    detections = pd.DataFrame([{"index": 0, "category": i, **box, "score": 0.9} for i in categories])
    images = pd.DataFrame([{"index": 0, "height": 20, "width": 20}])
    metrics = detection_metrics(images, truths, detections, categories, masks=False)
    assert {name for name in metrics if name.startswith("box_AP.")} == {
        f"box_AP.{name}" for name in categories.values()
    }


polygons = st.lists(st.tuples(st.floats(-30, 80), st.floats(-30, 80)), min_size=3, max_size=8).map(
    lambda points: [place for point in points for place in point]
)


@settings(max_examples=100, deadline=None)
@given(polygon=polygons)
def test_a_cut_polygon_covers_the_same_pixels(polygon: list[float]) -> None:
    """As the whole one on a larger image, but for rounding at the cut."""
    cut = _cut(polygon, WIDTH, HEIGHT, [])
    shifted = [place + 40 for place in polygon]
    whole = run_lengths.decode(run_lengths.frPyObjects([shifted], HEIGHT + 90, WIDTH + 90))[40:, 40:, 0]
    expected = whole[:HEIGHT, :WIDTH]
    found = (
        run_lengths.decode(run_lengths.frPyObjects([cut], HEIGHT, WIDTH))[..., 0] if cut else np.zeros_like(expected)
    )
    if cut:
        assert min(cut) >= -1
        assert max(cut[::2]) <= WIDTH + 1
        assert max(cut[1::2]) <= HEIGHT + 1
    assert (found != expected)[1:-1, 1:-1].mean() < 0.05


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_any_mixture_of_habits_is_read(drawn: Any, tmp_path: Path) -> None:
    cases = drawn.draw(st.lists(st.sampled_from([*VALID]), max_size=4, unique=True))
    content = said()
    for case in cases:
        try:
            VALID[case][0](content)
        except (KeyError, IndexError, TypeError, ValueError):
            return  # the habits exclude one another
    try:
        dataset = opened(tmp_path, content)
        loaded = [dataset.load(index)[1] for index in range(len(dataset))]
    except InputError:
        return  # as an object with neither box nor mask
    assert all(np.isfinite(found.boxes).all() and np.isfinite(found.areas).all() for found in loaded)
    assert OWN.name == dataset.name
