"""COCO's panoptic annotations, as small trees of real images and segments."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from resnest_core import data
from resnest_core.data import coco
from resnest_core.data.coco_categories import STUFF, THINGS
from resnest_core.data.coco_panoptic import PanopticImages, open_panoptic
from resnest_core.errors import InputError

FILE = "annotations/panoptic_val2017.json"
MAPS = "annotations/panoptic_val2017"
# Width and height of the images by id.
SIZES = {42: (9, 7), 7: (5, 11), 900: (1, 1)}
ORDER = [7, 42, 900]
# Of image 42: a person, grass, a crowd of cars and sky, whose numbers need all three colours.
SEGMENTS = [
    {"id": 5, "category_id": 1, "iscrowd": 0, "area": 6},
    {"id": 3 + 256 * 7, "category_id": 193, "iscrowd": 0, "area": 9},
    {"id": 1 + 256 * 2 + 65536 * 3, "category_id": 3, "iscrowd": 1, "area": 4},
    {"id": 256**3 - 1, "category_id": 187, "iscrowd": 0, "area": 14},
]


def numbers(image: int) -> np.ndarray:
    """The segments of an image, of which the rest is void."""
    width, height = SIZES[image]
    found = np.zeros((height, width), np.int64)
    if image == 42:
        for segment, place in zip(
            SEGMENTS, (np.s_[1:3, 2:5], np.s_[4:5, :], np.s_[5:7, 7:9], np.s_[5:7, :7]), strict=True
        ):
            found[place] = segment["id"]
    if image == 900:
        found[:] = 8
    return found


def put_numbers(path: Path, found: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.stack([found % 256, found // 256 % 256, found // 65536], axis=2)
    Image.fromarray(colours.astype(np.uint8)).save(path)


def put_image(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width).integers(0, 256, (height, width), np.uint8)
    Image.fromarray(pixels).save(path)


def contents() -> dict[str, Any]:
    segments = {42: SEGMENTS, 7: [], 900: [{"id": 8, "category_id": 90}]}
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": w, "height": h} for n, (w, h) in SIZES.items()],
        "annotations": [{"image_id": n, "file_name": f"{n}.png", "segments_info": segments[n]} for n in (900, 7, 42)],
        "categories": [
            {"id": number, "name": name, "isthing": isthing}
            for names, isthing in ((STUFF, 0), (THINGS, 1))
            for number, name in names.items()
        ],
    }


def put(root: Path, said: Any) -> None:
    (root / FILE).parent.mkdir(parents=True, exist_ok=True)
    (root / FILE).write_text(json.dumps(said))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    put(tmp_path, contents())
    for number, size in SIZES.items():
        put_image(tmp_path / f"val2017/{number}.jpg", *size)
        put_numbers(tmp_path / f"{MAPS}/{number}.png", numbers(number))
    return tmp_path


def opened(root: Path) -> PanopticImages:
    return open_panoptic(root, "test", 0)


def refused(message: str, root: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        data.open_detection("coco_panoptic", root)
    assert "\n" not in str(error.value)


def not_loaded(message: str, dataset: PanopticImages, index: int) -> None:
    with pytest.raises(InputError, match=message) as error:
        dataset.load(index)
    assert "\n" not in str(error.value)


def test_classes_are_the_things_and_stuff_stands_apart(tree: Path) -> None:
    dataset = opened(tree)
    assert (dataset.name, len(dataset), dataset.image_ids) == ("coco_panoptic", 3, ORDER)
    assert dataset.paths == [f"val2017/{number}.jpg" for number in ORDER]
    assert (dataset.category_ids, dataset.classes) == (tuple(THINGS), tuple(THINGS.values()))
    assert dataset.stuff == tuple(STUFF.values())
    assert (len(dataset.classes), len(dataset.stuff), dataset.stuff[0]) == (80, 53, "banner")


def test_segments_are_those_of_the_file(tree: Path) -> None:
    dataset = opened(tree)
    for index, number in enumerate(ORDER):
        seen, _ = dataset.segments(index)
        assert seen.dtype == np.int64
        assert np.array_equal(seen, numbers(number))
    assert dataset.segments(1)[1] == SEGMENTS
    assert dataset.segments(0)[1] == []


def test_area_and_crowd_may_be_missing(tree: Path) -> None:
    assert opened(tree).segments(2)[1] == [{"id": 8, "category_id": 90, "iscrowd": 0, "area": 1}]
    put(tree, json.loads((tree / FILE).read_text().replace('"area": 6', '"area": 6.5')))
    assert opened(tree).segments(1)[1][0]["area"] == 6.5


def test_objects_are_the_things(tree: Path) -> None:
    image, objects = opened(tree).load(1)
    assert (image.mode, image.size) == ("RGB", (9, 7))
    assert objects.labels.tolist() == [0, 2]
    assert objects.boxes.tolist() == [[2, 1, 3, 2], [7, 5, 2, 2]]
    assert (objects.areas.tolist(), objects.crowd.tolist()) == ([6, 4], [False, True])
    for mask, segment in zip(objects.masks, (SEGMENTS[0], SEGMENTS[2]), strict=True):
        assert np.array_equal(run_lengths.decode(mask), numbers(42) == segment["id"])


def test_images_of_void_and_of_one_pixel(tree: Path) -> None:
    void, one = (opened(tree).load(index)[1] for index in (0, 2))
    assert (len(void), void.boxes.shape, void.masks) == (0, (0, 4), ())
    assert (one.boxes.tolist(), one.labels.tolist(), one.areas.tolist()) == ([[0, 0, 1, 1]], [79], [1])


def test_things_follow_the_file_not_the_number(tree: Path) -> None:
    text = (tree / FILE).read_text().replace('"name": "person", "isthing": 1', '"name": "person", "isthing": 0')
    (tree / FILE).write_text(text)
    refused("category 1 is absent, in COCO 2017 'person'; valid: the 80 categories of COCO 2017", tree)


def segments(said: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of image 42."""
    return said["annotations"][2]["segments_info"]


BAD_FILES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "image": (
        lambda said: said["annotations"][2].update(image_id=8),
        "the annotation of image 8 has image_id 8, which no image has; valid: one of .*7, 42, 900",
    ),
    "none": (
        lambda said: said["annotations"].pop(),
        "image 42 has no annotation; valid: one annotation for each image",
    ),
    "two": (lambda said: said["annotations"][2].update(image_id=7), "annotation 7 occurs 2 times; valid: each id once"),
    "image twice": (lambda said: said["images"][0].update(id=7), "image 7 occurs 2 times; valid: each id once"),
    "up": (
        lambda said: said["annotations"][2].update(file_name="../42.png"),
        "the annotation of image 42 has file_name '../42.png', outside the folder; valid",
    ),
    "up for the image": (
        lambda said: said["images"][0].update(file_name="/42.jpg"),
        "image 42 has .*outside the folder",
    ),
    "no list": (
        lambda said: said["annotations"][2].pop("segments_info"),
        "annotation 42 has no segments_info; valid: a list as segments_info",
    ),
    "no file": (lambda said: said["annotations"][2].pop("file_name"), "annotation 42 has no file_name; valid: a text"),
    "no id": (lambda said: segments(said)[1].pop("id"), "image 42: segment number 2 has no id; valid: a whole number"),
    "no category": (lambda said: segments(said)[0].pop("category_id"), "image 42: segment 5 has no category_id; valid"),
    "no object": (lambda said: segments(said).append(8), "image 42: segment number 5 is 8; valid: an object with id"),
    "segment twice": (
        lambda said: segments(said)[1].update(id=5),
        "image 42: segment 5 occurs 2 times; valid: each id",
    ),
    "void": (
        lambda said: segments(said)[0].update(id=0),
        "image 42: segment 0 has an id that no colour means; valid: 1",
    ),
    "high": (
        lambda said: segments(said)[0].update(id=256**3),
        "image 42: segment 16777216 has .* no colour means; .*16777215",
    ),
    "category": (
        lambda said: segments(said)[0].update(category_id=12),
        "image 42: segment 5 has category_id 12, which no category has; valid: one of",
    ),
    "crowd": (
        lambda said: segments(said)[0].update(iscrowd="no"),
        "image 42: segment 5 has iscrowd 'no'; valid: 0 or 1",
    ),
    "area": (lambda said: segments(said)[0].update(area=-2), "image 42: segment 5 has area -2; valid: a number"),
    "thing": (lambda said: said["categories"][3].pop("isthing"), "category 100 has no isthing; valid: a whole number"),
    "renamed": (
        lambda said: said["categories"][0].update(name="flag"),
        "category 92 is 'flag', in COCO 2017 'banner'; valid: the 53 categories",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_named(tree: Path, case: str) -> None:
    change, message = BAD_FILES[case]
    said = json.loads((tree / FILE).read_text())
    change(said)
    put(tree, said)
    refused(f"^annotations '{tree / FILE}': {message}", tree)


def test_damaged_and_absent_files_are_refused(tree: Path) -> None:
    (tree / FILE).write_text('{"images":')
    refused("annotations '.*' cannot be read .*; valid: a file of JSON", tree)
    (tree / FILE).unlink()
    refused(f"no {FILE} in '{tree}'; valid: a directory that holds it", tree)


@pytest.mark.parametrize("path", ["val2017/42.jpg", f"{MAPS}/42.png"])
def test_missing_images_and_segments_are_named(tree: Path, path: str) -> None:
    (tree / path).unlink()
    refused(f"1 of 6 images are missing in '{tree}': '{path}'; valid: every image", tree)


def test_a_listed_segment_that_is_not_shown_is_named(tree: Path) -> None:
    found = numbers(42)
    found[found == 5] = 0
    put_numbers(tree / MAPS / "42.png", found)
    not_loaded(
        f"segments '{tree / MAPS / '42.png'}' do not show segment 5; valid: .*5, 1795, 197121, 1", opened(tree), 1
    )


def test_a_shown_segment_that_is_not_listed_is_named(tree: Path) -> None:
    found = numbers(42)
    found[0, 0] = 77
    put_numbers(tree / MAPS / "42.png", found)
    not_loaded(f"segments '{tree / MAPS / '42.png'}' show segment 77, not listed; valid: .*5, .* or 0", opened(tree), 1)


def test_files_that_do_not_fit_are_named(tree: Path) -> None:
    dataset = opened(tree)
    put_numbers(tree / MAPS / "42.png", numbers(42).T)
    not_loaded("segments '.*42.png' have 7 x 9 pixels, its image 9 x 7; valid: the size of the image", dataset, 1)
    (tree / MAPS / "42.png").write_bytes(b"")
    not_loaded(r"image '.*42.png' cannot be read \(the file is empty\)", dataset, 1)
    put_image(tree / "val2017/42.jpg", 7, 9)
    not_loaded("image '.*42.jpg' has 7 x 9 pixels, by its annotation 9 x 7; valid", dataset, 1)
    dataset.load(0)


def test_check_reads_every_image_and_its_segments(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = data.check("coco_panoptic", tree)
    assert (report.n, report.classes, report.problems) == (3, 80, [])
    assert report.lacking == "4,997 of 5,000 images are missing"
    monkeypatch.setitem(coco.NUMBERS, "test", 3)
    put_numbers(tree / MAPS / "7.png", numbers(7) + 1)
    (tree / "val2017/900.jpg").write_bytes(b"")
    report = data.check("coco_panoptic", tree)
    assert report.complete
    assert len(report.problems) == 2
    assert "show segment 1, not listed" in report.problems[0]
    assert "900.jpg' cannot be read (the file is empty)" in report.problems[1]


def test_a_limit_takes_the_first_images(tree: Path) -> None:
    dataset = data.open_detection("coco_panoptic", tree, limit=2)
    assert dataset.image_ids == ORDER[:2]
    assert len(dataset.load(1)[1]) == 2
    assert f"2 of 3 images, 80 classes, {FILE} with images in val2017/ in {tree}; " in dataset.source


def test_digest_follows_annotations_images_and_segments(tree: Path) -> None:
    seen = [opened(tree).digest, open_panoptic(tree, "test", 2).digest]
    for path in ("val2017/42.jpg", f"{MAPS}/42.png"):
        with open(tree / path, "ab") as file:
            file.write(b"more")
        seen.append(opened(tree).digest)
    (tree / FILE).write_text((tree / FILE).read_text().replace('"category_id": 90', '"category_id": 89'))
    seen.append(opened(tree).digest)
    assert len(set(seen)) == 5
    assert opened(tree).digest == seen[-1]
