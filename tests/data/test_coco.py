"""COCO and data sets in its format, as small trees of real images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from resnest_core import data
from resnest_core.data import coco, coco_annotations
from resnest_core.data.coco_categories import THINGS
from resnest_core.errors import InputError

VAL = "annotations/instances_val2017.json"
# Width, height and mode of the images by id; the file lists them in this order, which is not that of the ids.
IMAGES = {42: (9, 7, "RGB"), 7: (5, 11, "L"), 900: (1, 1, "RGB"), 13: (13, 3, "CMYK")}
ORDER = [7, 13, 42, 900]
# A rectangle of 4 x 3 pixels in image 42, whose corner is at (2, 1).
RECTANGLE = [2, 1, 6, 1, 6, 4, 2, 4]
EMPTY_POLYGON = [[2.5, 3.5, 2.5, 3.5, 3.5, 3.5, 3.5, 3.5]]  # as of annotation 918 of COCO's training images


def rectangle_mask() -> np.ndarray:
    mask = np.zeros((7, 9), np.uint8)
    mask[1:4, 2:6] = 1
    return mask


def compressed(mask: np.ndarray) -> dict[str, Any]:
    found = run_lengths.encode(np.asfortranarray(mask))
    return {"size": found["size"], "counts": found["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    flat = np.concatenate([[0], mask.ravel(order="F"), [2]])
    edges = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff([0, *edges]).tolist()}


def annotation(number: int, image: int = 42, **changes: Any) -> dict[str, Any]:
    fields = {"id": number, "image_id": image, "category_id": 3, "bbox": [2, 1, 4, 3], "area": 12.5, "iscrowd": 0}
    return {**fields, "segmentation": [RECTANGLE], **changes}


def contents() -> dict[str, Any]:
    """What the file of the small tree says; image 13 has no object."""
    images = [
        {"id": number, "file_name": f"{number:012d}.png", "width": width, "height": height}
        for number, (width, height, _) in IMAGES.items()
    ]
    crowd = np.random.default_rng(0).integers(0, 2, (11, 5), np.uint8)
    annotations = [
        annotation(9, category_id=90),
        annotation(2, category_id=1, segmentation=compressed(rectangle_mask())),
        annotation(5, 7, category_id=1, bbox=[0, 0, 5, 11], segmentation=uncompressed(crowd), iscrowd=1),
        annotation(6, 900, category_id=13, bbox=[0, 0, 1, 1], segmentation=[[0, 0, 1, 0, 1, 1, 0, 1]]),
    ]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories(THINGS)}


def categories(names: dict[int, str]) -> list[dict[str, Any]]:
    return [{"supercategory": "any", "id": number, "name": name} for number, name in names.items()]


def put_image(path: Path, width: int, height: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    # PNG knows no CMYK; Pillow tells the format by what is inside.
    Image.fromarray(pixels).convert(mode).save(path, "TIFF" if mode == "CMYK" else "PNG")


def put(root: Path, said: Any, file: str = VAL) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(said))


def put_images(folder: Path) -> None:
    for number, (width, height, mode) in IMAGES.items():
        put_image(folder / f"{number:012d}.png", width, height, mode)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    put(tmp_path, contents())
    put_images(tmp_path / "val2017")
    return tmp_path


def changed(root: Path, change: Callable[[dict[str, Any]], object], file: str = VAL) -> None:
    said = json.loads((root / file).read_text())
    change(said)
    put(root, said, file)


def refused(message: str, root: Path | None, name: str = "coco", split: str = "test") -> str:
    with pytest.raises(InputError, match=message) as error:
        data.open_detection(name, root, split=split)
    assert "\n" not in str(error.value)
    return str(error.value)


def of_one(root: Path, **changes: Any) -> Any:
    """The objects of image 42 with one annotation alone."""
    changed(root, lambda said: said.update(annotations=[annotation(1, **changes)]))
    return data.open_detection("coco", root).load(2)[1]


@pytest.mark.parametrize("home", [".", "coco", "COCO"])
def test_coco_is_found_and_in_order_of_ids(tmp_path: Path, home: str) -> None:
    put(tmp_path / home, contents())
    put_images(tmp_path / home / "val2017")
    dataset = data.open_detection("coco", tmp_path)
    assert (dataset.name, len(dataset), dataset.image_ids) == ("coco", 4, ORDER)
    assert dataset.paths == [f"val2017/{number:012d}.png" for number in ORDER]
    assert dataset.category_ids == tuple(THINGS)
    assert dataset.classes == tuple(THINGS.values())
    assert (len(dataset.classes), dataset.classes[0], dataset.classes[79]) == (80, "person", "toothbrush")


def test_images_are_rgb_at_their_own_size(tree: Path) -> None:
    dataset = data.open_detection("coco", tree)
    for index, number in enumerate(ORDER):
        image, _ = dataset.load(index)
        assert (image.mode, image.size) == ("RGB", IMAGES[number][:2])
        stored = Image.open(tree / dataset.paths[index]).convert("RGB")
        assert np.array_equal(np.asarray(image), np.asarray(stored))


def test_objects_are_those_of_the_image_in_order_of_ids(tree: Path) -> None:
    dataset = data.open_detection("coco", tree)
    grey, none, two, one = (dataset.load(index)[1] for index in range(4))
    assert [len(objects) for objects in (grey, none, two, one)] == [1, 0, 2, 1]
    assert two.labels.tolist() == [0, 79]
    assert two.boxes.tolist() == [[2, 1, 4, 3]] * 2
    assert (two.areas.tolist(), two.crowd.tolist()) == ([12.5, 12.5], [False, False])
    assert (grey.crowd.tolist(), grey.labels.tolist()) == ([True], [0])
    assert one.labels.tolist() == [list(THINGS).index(13)]
    assert run_lengths.decode(list(one.masks)).tolist() == [[[1]]]


def test_an_image_without_objects_has_empty_arrays(tree: Path) -> None:
    objects = data.open_detection("coco", tree).load(1)[1]
    arrays = (objects.boxes, objects.labels, objects.areas, objects.crowd)
    assert [array.shape for array in arrays] == [(0, 4), (0,), (0,), (0,)]
    assert [array.dtype for array in arrays] == [np.float64, np.int64, np.float64, np.bool_]
    assert objects.masks == ()


def test_a_file_without_any_annotation_opens(tree: Path) -> None:
    changed(tree, lambda said: said.update(annotations=[]))
    dataset = data.open_detection("coco", tree)
    assert [len(dataset.load(index)[1]) for index in range(4)] == [0] * 4


def form(kind: str) -> Any:
    forms = {"polygon": lambda mask: [RECTANGLE], "compressed": compressed, "uncompressed": uncompressed}
    return forms[kind](rectangle_mask())


@pytest.mark.parametrize("kind", ["polygon", "compressed", "uncompressed"])
def test_masks_of_every_form_are_the_same_run_lengths(tree: Path, kind: str) -> None:
    (mask,) = of_one(tree, segmentation=form(kind)).masks
    assert mask["size"] == [7, 9]
    assert isinstance(mask["counts"], bytes)
    assert np.array_equal(run_lengths.decode(mask), rectangle_mask())


def test_polygons_of_one_object_are_one_mask(tree: Path) -> None:
    far = [[0, 0, 1, 0, 1, 2, 0, 2], RECTANGLE, [7, 5, 9.4, 5, 9.4, 7.4, 7, 7.4]]
    (mask,) = of_one(tree, segmentation=far).masks
    expected = rectangle_mask()
    expected[0:2, 0:1] = 1
    expected[5:7, 7:9] = 1
    assert np.array_equal(run_lengths.decode(mask), expected)


@pytest.mark.parametrize("seed", range(20))
def test_both_run_lengths_agree_on_random_masks(tree: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.random((7, 9)) < rng.random()).astype(np.uint8)
    for segmentation in (compressed(mask), uncompressed(mask)):
        assert np.array_equal(run_lengths.decode(of_one(tree, segmentation=segmentation).masks[0]), mask)


@pytest.mark.parametrize("seed", range(5))
def test_compressed_run_lengths_of_large_masks_are_accepted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.integers(0, 2, (9, 7)), np.ones((100, 73))).astype(np.uint8)
    mask ^= rng.random(mask.shape) < 0.001
    counts = compressed(mask)["counts"]
    assert coco_annotations._decompressed(counts) == uncompressed(mask)["counts"]


def test_crowd_and_area_may_be_missing(tree: Path) -> None:
    bare = annotation(1, bbox=[2, 1, 4.5, 3])
    del bare["iscrowd"], bare["area"]
    changed(tree, lambda said: said.update(annotations=[bare]))
    objects = data.open_detection("coco", tree).load(2)[1]
    assert (objects.areas.tolist(), objects.crowd.tolist()) == ([12], [False])
    del bare["segmentation"]
    changed(tree, lambda said: said.update(annotations=[bare]))
    objects = data.open_detection("coco", tree).load(2)[1]
    assert objects.areas.tolist() == [13.5]


@pytest.mark.parametrize("none", [[], None, "missing"])
def test_a_data_set_of_boxes_has_no_masks(tree: Path, none: Any) -> None:
    def strip(said: dict[str, Any]) -> None:
        for record in said["annotations"]:
            record["segmentation"] = none
            if none == "missing":
                del record["segmentation"]

    changed(tree, strip)
    objects = data.open_detection("coco", tree).load(2)[1]
    assert (len(objects), objects.masks) == (2, ())


def test_masks_of_some_objects_alone_are_refused(tree: Path) -> None:
    changed(tree, lambda said: said["annotations"][0].pop("segmentation"))
    refused(r"annotation 9 has no segmentation \(1 of 4 have none\); valid: one for all or for none", tree)


def test_coco_s_own_oddities_are_accepted(tree: Path) -> None:
    objects = of_one(tree, bbox=[2.5, 3.5, 1.03, 0.0], segmentation=EMPTY_POLYGON, area=0.0)
    assert objects.areas.tolist() == [0]
    assert run_lengths.area(objects.masks[0]) == 0
    objects = of_one(tree, bbox=[-1, -0.5, 11, 8.5])
    assert objects.boxes.tolist() == [[-1, -0.5, 11, 8.5]]


BAD_ANNOTATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "image": ({"image_id": 8}, "annotation 9 has image_id 8, which no image has; valid: one of .*7, 13, 42, 900"),
    "category": ({"category_id": 12}, "annotation 9 has category_id 12, which no category has; valid: one of .*1, 2"),
    "no box": ({"bbox": None}, "annotation 9 has bbox None; valid: a list as bbox"),
    "text": ({"id": "9"}, "annotation '9' has id '9'; valid: a whole number as id"),
    "boolean": ({"image_id": True}, "annotation 9 has image_id True; valid: a whole number as image_id"),
    "three": ({"bbox": [1, 2, 3]}, r"annotation 9 has bbox \[1, 2, 3\], not 4 finite numbers; valid: x, y, width"),
    "nan": ({"bbox": [1, 2, 3, float("nan")]}, r"bbox \[1, 2, 3, nan\], not 4 finite numbers; valid"),
    "infinite": ({"bbox": [1, 2, float("inf"), 3]}, "not 4 finite numbers; valid"),
    "letters": ({"bbox": [1, 2, "3", 4]}, "not 4 finite numbers; valid"),
    "enormous": ({"bbox": [1, 2, 10**400, 4]}, "not 4 finite numbers; valid"),
    "width": ({"bbox": [1, 2, -3, 4]}, r"bbox \[1, 2, -3, 4\], a side is negative; valid: x, y, width"),
    "height": ({"bbox": [1, 2, 3, -0.1]}, "a side is negative; valid"),
    "outside": ({"bbox": [20, 1, 2, 2]}, r"bbox \[20, 1, 2, 2\], outside its image of 9 x 7 pixels; valid"),
    "just outside": ({"bbox": [9.1, 1, 0.5, 2]}, "outside its image of 9 x 7 pixels; valid: .*at most 1 pixel beyond"),
    "above": ({"bbox": [0, -3, 2, 2]}, "outside its image of 9 x 7 pixels; valid"),
    "right": ({"bbox": [8, 1, 2.1, 2]}, "partly outside its image of 9 x 7 pixels; valid"),
    "left": ({"bbox": [-1.1, 1, 3, 2]}, "partly outside its image of 9 x 7 pixels; valid"),
    "below": ({"bbox": [2, 1, 3, 7.1]}, "partly outside its image of 9 x 7 pixels; valid"),
    "crowd": ({"iscrowd": 2}, "annotation 9 has iscrowd 2; valid: 0 or 1"),
    "area": ({"area": -1}, "annotation 9 has area -1; valid: a number of pixels, not negative"),
    "area's type": ({"area": "12"}, "annotation 9 has area '12'; valid: a number of pixels"),
    "name": (
        {"segmentation": "mask.png"},
        "annotation 9 has segmentation 'mask.png', neither polygons nor run lengths",
    ),
    "flat": ({"segmentation": RECTANGLE}, "with no valid polygon; valid: polygons .* of 3 points or more"),
    "points": ({"segmentation": [[1, 1, 2, 2]]}, "with no valid polygon; valid"),
    "odd": ({"segmentation": [[1, 1, 2, 2, 3, 3, 4]]}, "with no valid polygon; valid"),
    "coordinates": ({"segmentation": [[1, 1, 2, 2, 3, "3"]]}, "with no valid polygon; valid"),
    "far": ({"segmentation": [RECTANGLE, [0, 0, 1e9, 0, 1e9, 3]]}, "with no valid polygon; valid: .*beyond the image"),
    "low": ({"segmentation": [[0, 0, 3, 0, 3, 8.1]]}, "with no valid polygon; valid"),
    "turned": ({"segmentation": compressed(rectangle_mask().T)}, r"of another size than its image, \[7, 9\]; valid"),
    "no size": ({"segmentation": {"counts": [63]}}, r"of another size than its image, \[7, 9\]; valid"),
    "no counts": ({"segmentation": {"size": [7, 9]}}, "not run lengths of 63 pixels; valid: .*of the whole image"),
    "short": ({"segmentation": {"size": [7, 9], "counts": [3, 2]}}, "not run lengths of 63 pixels; valid"),
    "negative": ({"segmentation": {"size": [7, 9], "counts": [70, -7]}}, "not run lengths of 63 pixels; valid"),
    "fraction": ({"segmentation": {"size": [7, 9], "counts": [62.5, 0.5]}}, "not run lengths of 63 pixels; valid"),
    "cut": (
        {"segmentation": {"size": [7, 9], "counts": compressed(rectangle_mask())["counts"][:-1]}},
        "not run lengths of 63 pixels; valid",
    ),
    "characters": ({"segmentation": {"size": [7, 9], "counts": "¯1"}}, "not run lengths of 63 pixels; valid"),
    "unended": ({"segmentation": {"size": [7, 9], "counts": "o1o"}}, "not run lengths of 63 pixels; valid"),
}


@pytest.mark.parametrize("case", BAD_ANNOTATIONS)
def test_bad_annotations_are_named(tree: Path, case: str) -> None:
    changes, message = BAD_ANNOTATIONS[case]
    changed(tree, lambda said: said["annotations"][0].update(changes))
    refused(f"^annotations '{tree / VAL}': .*{message}", tree)


BAD_FILES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "image twice": (lambda said: said["images"][0].update(id=7), "image 7 occurs 2 times; valid: each id once"),
    "annotation twice": (lambda said: said["annotations"][0].update(id=2), "annotation 2 occurs 2 times; valid"),
    "category twice": (lambda said: said["categories"].append(said["categories"][0]), "category 1 occurs 2 times"),
    "no id": (lambda said: said["images"][1].pop("id"), "image number 2 has no id; valid: a whole number as id"),
    "no file": (
        lambda said: said["images"][1].pop("file_name"),
        "image 7 has no file_name; valid: a text as file_name",
    ),
    "no width": (lambda said: said["images"][1].pop("width"), "image 7 has no width; valid: a whole number as width"),
    "no bbox": (lambda said: said["annotations"][1].pop("bbox"), "annotation 2 has no bbox; valid: a list as bbox"),
    "no name": (lambda said: said["categories"][2].pop("name"), "category 3 has no name; valid: a text as name"),
    "no pixel": (lambda said: said["images"][0].update(width=0), "image 42 has 0 x 7 pixels; valid: 1 x 1 or more"),
    "no object": (lambda said: said["images"].append(5), "image number 5 is 5; valid: an object with id, file_name"),
    "up": (
        lambda said: said["images"][0].update(file_name="a/../../b.png"),
        "image 42 has file_name 'a/../../b.png', outside the folder; valid: a path inside the folder",
    ),
    "absolute": (lambda said: said["images"][0].update(file_name="/etc/passwd"), "image 42 has .*outside the folder"),
    "no images": (lambda said: said.update(images=[]), "the list 'images' is empty; valid: one image or more"),
    "no categories": (lambda said: said.update(categories=[]), "the list 'categories' is empty; valid: one category"),
    "lists": (lambda said: said.pop("annotations"), "no list 'annotations'; valid: an object with the lists images, "),
    "object": (lambda said: said.update(images={}), "no list 'images'; valid"),
    "renamed": (
        lambda said: said["categories"][2].update(name="auto"),
        "category 3 is 'auto', in COCO 2017 'car'; valid: the 80 categories of COCO 2017",
    ),
    "missing": (lambda said: said["categories"].pop(), "category 90 is absent, in COCO 2017 'toothbrush'; valid"),
    "further": (
        lambda said: said["categories"].append({"id": 12, "name": "street sign"}),
        "category 12 is 'street sign', in COCO 2017 absent; valid",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_named(tree: Path, case: str) -> None:
    change, message = BAD_FILES[case]
    changed(tree, change)
    refused(f"^annotations '{tree / VAL}': {message}", tree)


@pytest.mark.parametrize("content", [b"", b'{"images": [', b"\xff\xfe\x00", b"[" * 100_000])
def test_damaged_files_are_named(tree: Path, content: bytes) -> None:
    (tree / VAL).write_bytes(content)
    refused(f"annotations '{tree / VAL}' cannot be read .*; valid: a file of JSON", tree)


def test_a_file_of_another_shape_is_named(tree: Path) -> None:
    put(tree, [1, 2])
    refused("no list 'images'; valid: an object with the lists images, annotations, categories", tree)


def test_missing_images_are_counted_and_named(tree: Path) -> None:
    (tree / "val2017/000000000013.png").unlink()
    refused(f"1 of 4 images are missing in '{tree}': 'val2017/000000000013.png'; valid: every image", tree)
    numbers = range(1000, 1010)

    def more(said: dict[str, Any]) -> None:
        said["images"] += [{"id": n, "file_name": f"{n}.png", "width": 1, "height": 1} for n in numbers]

    changed(tree, more)
    message = refused("11 of 14 images are missing", tree)
    assert "'val2017/000000000013.png', 'val2017/1000.png', 'val2017/1001.png', 'val2017/1002.png', " in message
    assert "1003.png', ...; valid" in message


def test_an_image_of_another_size_is_named(tree: Path) -> None:
    dataset = data.open_detection("coco", tree)
    path = tree / "val2017/000000000042.png"
    put_image(path, 7, 9)
    with pytest.raises(InputError, match=f"image '{path}' has 7 x 9 pixels, by its annotation 9 x 7; valid: an image"):
        dataset.load(2)
    path.write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"cannot be read \(not an image\)"):
        dataset.load(2)
    dataset.load(1)


@pytest.mark.parametrize("name", ["coco", "coco_format"])
def test_check_reads_every_image(tree: Path, name: str) -> None:
    report = data.check(name, tree)
    assert (report.name, report.n, report.classes, report.problems) == (name, 4, 80, [])
    put_image(tree / "val2017/000000000042.png", 7, 9)
    (tree / "val2017/000000000007.png").write_bytes(b"")
    problems = data.check(name, tree).problems
    assert len(problems) == 2
    assert "000000000007.png' cannot be read (the file is empty)" in problems[0]
    assert "has 7 x 9 pixels" in problems[1]


def test_a_part_of_coco_is_said_to_be_one(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data.open_detection("coco", tree)
    expected = f"4 of 4 images, 80 classes, {VAL} with images in val2017/ in {tree}; 4,996 of 5,000 images are missing"
    assert capsys.readouterr().out == f"data: coco: {expected}\n"
    assert not data.check("coco", tree).complete
    assert data.check("coco_format", tree).complete
    monkeypatch.setitem(coco.NUMBERS, "test", 4)
    assert data.check("coco", tree).complete
    assert coco.NUMBERS["train"] == 118_287


@pytest.mark.parametrize("name", ["coco", "coco_format"])
def test_training_images_are_taken_for_training_alone(tree: Path, name: str) -> None:
    refused("train", tree, name, "train")
    put(tree, {**contents(), "annotations": []}, "annotations/instances_train2017.json")
    put_images(tree / "train2017")
    train = data.open_detection(name, tree, split="train")
    assert train.paths[0] == "train2017/000000000007.png"
    assert data.open_detection(name, tree).paths[0] == "val2017/000000000007.png"
    assert train.digest != data.open_detection(name, tree).digest


@pytest.mark.parametrize("name", ["coco", "coco_format"])
def test_a_limit_takes_the_first_images(tree: Path, name: str) -> None:
    dataset = data.open_detection(name, tree, limit=3)
    assert (len(dataset), dataset.image_ids) == (3, [7, 13, 42])
    assert "3 of 4 images" in dataset.source
    assert len(dataset.load(2)[1]) == 2
    assert len(data.open_detection(name, tree, limit=99)) == 4


def test_digest_follows_annotations_and_images(tree: Path) -> None:
    def digest(limit: int = 0) -> str:
        return data.open_detection("coco", tree, limit=limit).digest

    seen = [digest(), digest(2)]
    changed(tree, lambda said: said["annotations"][0].update(category_id=2))
    seen += [digest(), digest(2)]
    with open(tree / "val2017/000000000042.png", "ab") as file:
        file.write(b"more")
    seen.append(digest())
    assert len(set(seen)) == 5
    assert (digest(), digest(2)) == (seen[4], seen[3])


def own(parent: Path, file: str, folder: str) -> Path:
    put(parent, {**contents(), "categories": categories({90: "b", 13: "c", 1: "a"})}, file)
    put_images(parent / folder)
    return parent


@pytest.mark.parametrize(
    ("file", "folder", "split"),
    [
        ("annotations.json", "images", "test"),
        ("annotations.json", "val", "test"),
        ("annotations.json", "test", "test"),
        ("annotations.json", "train", "train"),
        ("annotations.json", ".", "train"),
        ("annotations/instances_val.json", "val", "test"),
        ("annotations/instances_val2024_b.json", "val2024_b", "test"),
        ("annotations/instances_val2024.json", "val", "test"),
        ("annotations/instances_test.json", "annotations", "test"),
        ("annotations/instances_train2.json", "train2", "train"),
    ],
)
def test_a_user_s_own_data_set_is_found(tmp_path: Path, file: str, folder: str, split: str) -> None:
    dataset = data.open_detection("coco_format", own(tmp_path, file, folder), split=split)
    assert (dataset.name, dataset.category_ids, dataset.classes) == ("coco_format", (1, 13, 90), ("a", "c", "b"))
    assert dataset.paths[0] == (Path(folder) / "000000000007.png").as_posix()
    assert dataset.load(2)[1].labels.tolist() == [0, 2]
    assert f"{file} with images in {folder}/" in dataset.source


def test_file_names_may_have_folders(tmp_path: Path) -> None:
    own(tmp_path, "annotations.json", "images/a b")

    def move(said: dict[str, Any]) -> None:
        for image in said["images"]:
            image["file_name"] = f"./a b/{image['file_name']}"

    changed(tmp_path, move, "annotations.json")
    assert data.open_detection("coco_format", tmp_path).paths[0] == "images/a b/000000000007.png"


def test_another_split_s_folder_is_not_taken(tmp_path: Path) -> None:
    own(tmp_path, "annotations/instances_val.json", "train")
    refused(
        f"no image of '.*instances_val.json' is there; valid: all in one of the folders images, val, annotations in "
        f"'{tmp_path}'",
        tmp_path,
        "coco_format",
    )


def test_two_candidates_are_named(tmp_path: Path) -> None:
    own(tmp_path, "annotations/instances_val.json", "val")
    put_images(tmp_path / "images")
    refused("images of '.*instances_val.json' are in images and in val; valid: all in one", tmp_path, "coco_format")
    put(tmp_path, contents(), "annotations/instances_test.json")
    put(tmp_path, contents(), "annotations.json")
    refused(
        r"3 files of annotations \(annotations/instances_test.json, annotations/instances_val.json, annotations.json\) "
        f"of the test split in '{tmp_path}'; valid: one of annotations/instances_test",
        tmp_path,
        "coco_format",
    )


def test_wrong_layouts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    message = refused(
        f"no {VAL} in '{tmp_path}'; valid: a directory that holds it and the images in val2017/", tmp_path
    )
    assert "coco or COCO" in message
    assert "https://cocodataset.org" in message
    refused(f"no annotations of the test split in '{tmp_path}'; valid: one of annotations/", tmp_path, "coco_format")


@pytest.mark.parametrize("name", ["coco", "coco_format", "coco_panoptic"])
def test_bad_requests_are_refused(tmp_path: Path, name: str) -> None:
    refused(f"data set '{name}' needs a data directory, and none was given; valid: --data DIR", None, name)
    refused("data directory '.*' is empty", tmp_path, name)
    refused("data directory '.*absent' does not exist", tmp_path / "absent", name)
    refused("unknown split 'val'.*; valid: test, train", tmp_path, name, "val")
    with pytest.raises(InputError, match="limit -1 is not possible"):
        data.open_detection(name, tmp_path, limit=-1)


def test_names_by_the_common_door() -> None:
    assert data.DETECTION_DATASETS == ("scenes", "coco", "coco_format", "coco_panoptic")
    refused(
        r"unknown data set 'cocoa' .did you mean 'coco'.*; valid: coco, coco_format, coco_panoptic, scenes",
        None,
        "cocoa",
    )
