"""ADE20K, PASCAL Context and Cityscapes as small trees of real images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnest_core import data
from resnest_core.data import segmentation
from resnest_core.errors import InputError

# Width and height of image i (from 1) of the small trees.
SIZES = ((9, 7), (5, 11), (13, 3))
# Where a tree lies below its parent, and the files of pair i in it.
HOMES = {"ade20k": "ADEChallengeData2016", "pcontext": "VOCdevkit/VOC2010", "cityscapes": "cityscapes"}
IMAGES = {
    "ade20k": "images/validation/ADE_val_{:08d}.jpg",
    "pcontext": "JPEGImages/2008_{:06d}.jpg",
    "cityscapes": "leftImg8bit/val/ulm/ulm_{:06d}_000019_leftImg8bit.png",
}
LABELS = {
    "ade20k": "annotations/validation/ADE_val_{:08d}.png",
    "pcontext": "SegmentationClassContext/2008_{:06d}.png",
    "cityscapes": "gtFine/val/ulm/ulm_{:06d}_000019_gtFine_labelIds.png",
}
LIST = "ImageSets/SegmentationContext/val.txt"
# Values in the top left corner of every label, and their classes.
VALUES = {"ade20k": [0, 1, 150], "pcontext": [0, 1, 59], "cityscapes": [6, 7, 33]}
CLASSES = {"ade20k": [-1, 0, 149], "pcontext": [-1, 0, 58], "cityscapes": [-1, 0, 18]}
HIGHEST = {"ade20k": "0 to 150", "pcontext": "0 to 59", "cityscapes": "0 to 33 or 255"}
NUMBERS = {"ade20k": "2,000", "pcontext": "5,105", "cityscapes": "500"}
each_set = pytest.mark.parametrize("name", HOMES)


def put_image(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def put_label(path: Path, size: tuple[int, int], values: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    label = np.zeros((size[1], size[0]), np.uint8)
    label.flat[: len(values)] = values
    Image.fromarray(label).save(path)


def tree(name: str, parent: Path) -> Path:
    """A tree of three pairs, in its usual place below `parent`."""
    root = parent / HOMES[name]
    for number, size in enumerate(SIZES, 1):
        put_image(root / IMAGES[name].format(number), size)
        put_label(root / LABELS[name].format(number), size, VALUES[name])
    if name == "pcontext":
        (root / LIST).parent.mkdir(parents=True)
        (root / LIST).write_text("2008_000003\n2008_000001\n2008_000002\n")
    return root


def refused(message: str, name: str, root: Path | None, split: str = "test") -> str:
    with pytest.raises(InputError, match=message) as error:
        data.open_segmentation(name, root, split=split)
    assert "\n" not in str(error.value)
    return str(error.value)


def values_of(name: str, parent: Path, values: list[int]) -> list[int]:
    """The classes that values become."""
    put_image(parent / IMAGES[name].format(1), (len(values), 1))
    put_label(parent / LABELS[name].format(1), (len(values), 1), values)
    return data.open_segmentation(name, parent).load(0)[1][0].tolist()


def test_class_names_are_in_the_published_order() -> None:
    ade, pcontext, cityscapes = (segmentation.SETS[name].classes for name in HOMES)
    assert [len(set(names)) for names in (ade, pcontext, cityscapes)] == [150, 59, 19]
    assert [len(names) for names in (ade, pcontext, cityscapes)] == [150, 59, 19]
    # Numbers of objectInfo150, from 1.
    known = {1: "wall", 8: "bed", 23: "painting", 45: "chest of drawers", 68: "book", 90: "television receiver"}
    known |= {104: "ship", 117: "minibike", 131: "screen", 137: "traffic light", 149: "clock", 150: "flag"}
    assert {number: ade[number - 1] for number in known} == known
    assert list(pcontext) == sorted(pcontext)
    assert (pcontext[0], pcontext[3], pcontext[36], pcontext[58]) == ("aeroplane", "bedclothes", "person", "wood")
    assert (cityscapes[0], cityscapes[6], cityscapes[13], cityscapes[16]) == ("road", "traffic light", "car", "train")


@each_set
@pytest.mark.parametrize("inside", [False, True], ids=["parent", "own folder"])
def test_every_set_gives_its_images_and_classes(name: str, inside: bool, tmp_path: Path) -> None:
    root = tree(name, tmp_path)
    dataset = data.open_segmentation(name, root if inside else tmp_path)
    assert (dataset.name, len(dataset)) == (name, 3)
    assert dataset.paths == [IMAGES[name].format(number) for number in (1, 2, 3)]
    for index, (width, height) in enumerate(SIZES):
        image, classes = dataset.load(index)
        assert (image.mode, image.size) == ("RGB", (width, height))
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(root / dataset.paths[index])))
        assert (classes.dtype, classes.shape) == (np.int16, (height, width))
        assert classes.flat[:3].tolist() == CLASSES[name]
        assert (classes.flat[3:] == -1).all()


def test_voc2010_is_found_without_its_kit(tmp_path: Path) -> None:
    tree("pcontext", tmp_path / "kit").rename(tmp_path / "VOC2010")
    assert len(data.open_segmentation("pcontext", tmp_path)) == 3


@each_set
def test_training_images_are_taken_for_training_alone(name: str, tmp_path: Path) -> None:
    root = tree(name, tmp_path)
    refused(f"no {name} images of the train split in", name, tmp_path, "train")
    image, label = (
        files[name].format(4).replace("validation", "training").replace("/val/", "/train/")
        for files in (IMAGES, LABELS)
    )
    put_image(root / image, (3, 5))
    put_label(root / label, (3, 5), VALUES[name])
    if name == "pcontext":
        (root / LIST).with_name("train.txt").write_text("2008_000004\n")
    assert data.open_segmentation(name, tmp_path, split="train").paths == [image]
    assert len(data.open_segmentation(name, tmp_path)) == 3


def test_values_of_ade20k(tmp_path: Path) -> None:
    assert values_of("ade20k", tmp_path, [0, 1, 2, 22, 149, 150]) == [-1, 0, 1, 21, 148, 149]


def test_values_of_pascal_context(tmp_path: Path) -> None:
    (tmp_path / LIST).parent.mkdir(parents=True)
    (tmp_path / LIST).write_text("2008_000001\n")
    assert values_of("pcontext", tmp_path, [0, 1, 2, 22, 58, 59]) == [-1, 0, 1, 21, 57, 58]


def test_values_of_cityscapes(tmp_path: Path) -> None:
    counted = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert values_of("cityscapes", tmp_path, counted) == list(range(19))
    others = [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 255]
    assert values_of("cityscapes", tmp_path, others) == [-1] * 16


def test_cityscapes_train_ids_serve_where_there_are_no_others(tmp_path: Path) -> None:
    root = tree("cityscapes", tmp_path)
    for number, size in enumerate(SIZES, 1):
        ids = root / LABELS["cityscapes"].format(number)
        put_label(ids.with_name(ids.name.replace("labelIds", "labelTrainIds")), size, [255, 0, 18])
    both = data.open_segmentation("cityscapes", root)
    assert "labelIds.png" in both.source
    assert both.load(2)[1].flat[:4].tolist() == [-1, 0, 18, -1]
    for path in root.rglob("*labelIds.png"):
        path.unlink()
    dataset = data.open_segmentation("cityscapes", root)
    assert "labelTrainIds.png" in dataset.source
    assert dataset.load(2)[1].flat[:4].tolist() == [-1, 0, 18, 0]
    put_label(root / "gtFine/val/ulm/ulm_000001_000019_gtFine_labelTrainIds.png", SIZES[0], [19])
    with pytest.raises(InputError, match="holds the value 19; valid: 0 to 18 or 255"):
        dataset.load(0)


def test_cities_are_taken_in_order_of_their_names(tmp_path: Path) -> None:
    root = tree("cityscapes", tmp_path)
    put_image(root / IMAGES["cityscapes"].format(1).replace("ulm", "bonn"), (5, 3))
    put_label(root / LABELS["cityscapes"].format(1).replace("ulm", "bonn"), (5, 3), [7])
    paths = data.open_segmentation("cityscapes", root).paths
    assert [Path(path).parent.name for path in paths] == ["bonn", "ulm", "ulm", "ulm"]


def test_only_listed_images_of_pascal_context_are_members(tmp_path: Path) -> None:
    root = tree("pcontext", tmp_path)
    (root / LIST).write_text("2008_000003\n\n2008_000001\n")
    put_image(root / "JPEGImages/2007_000032.jpg", (4, 4))
    dataset = data.open_segmentation("pcontext", root)
    assert dataset.paths == ["JPEGImages/2008_000001.jpg", "JPEGImages/2008_000003.jpg"]
    (root / LIST).write_text("2008_000003\n2009_000009\n")
    refused("1 of 2 images are missing in '.*': JPEGImages/2009_000009.jpg; valid: an image", "pcontext", root)
    (root / LIST).write_text("")
    refused("no pcontext images of the test split", "pcontext", root)


@each_set
@pytest.mark.parametrize(("kind", "files"), [("images", IMAGES), ("labels", LABELS)])
def test_a_missing_half_of_a_pair_is_named(name: str, kind: str, files: dict[str, str], tmp_path: Path) -> None:
    root = tree(name, tmp_path)
    first, second = (files[name].format(number) for number in (1, 2))
    (root / second).unlink()
    refused(f"1 of 3 {kind} are missing in '{root}': {second}; valid: an image for every label", name, root)
    (root / first).unlink()
    refused(f"2 of 3 {kind} are missing in '{root}': {first}, {second}; valid", name, root)


def test_of_many_missing_files_the_first_are_named(tmp_path: Path) -> None:
    root = tree("ade20k", tmp_path)
    for number in range(4, 12):
        put_image(root / IMAGES["ade20k"].format(number), (4, 4))
    named = ", ".join(LABELS["ade20k"].format(number) for number in range(4, 9))
    refused(f"8 of 11 labels are missing in '.*': {named}, ...; valid", "ade20k", root)


def palette(path: Path) -> None:
    Image.open(path).convert("P").save(path)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16)).save(path)


def out_of_range(path: Path) -> None:
    label = np.asarray(Image.open(path)).copy()
    label[1, 2] = 200
    Image.fromarray(label).save(path)


DAMAGED_LABELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "out of range": (out_of_range, "holds the value 200; valid: {}$"),
    "size": (lambda path: put_label(path, (9, 6), [0]), "has 9 x 6 pixels, its image 9 x 7; valid"),
    "turned": (lambda path: put_label(path, (7, 9), [0]), "has 7 x 9 pixels, its image 9 x 7; valid"),
    "palette": (palette, "is an image of mode P; valid: L, one channel of 8-bit"),
    "16 bits": (sixteen_bits, "is an image of mode I;16; valid: L, one channel of 8-bit"),
    "colour": (lambda path: put_image(path, (9, 7)), "is an image of mode RGB; valid: L, one channel of 8-bit"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-30]), r"cannot be read \(.*truncated"),
    "empty": (lambda path: path.write_bytes(b""), r"cannot be read \(the file is empty\); valid: a whole 8-bit"),
    "page": (lambda path: path.write_bytes(b"<html>404</html>"), r"cannot be read \(not an image\); valid: a whole"),
    "vanished": (Path.unlink, r"cannot be read \(the file is missing\); valid: a whole 8-bit"),
}


@each_set
@pytest.mark.parametrize("damage", DAMAGED_LABELS)
def test_bad_labels_are_named(name: str, damage: str, tmp_path: Path) -> None:
    root = tree(name, tmp_path)
    spoil, message = DAMAGED_LABELS[damage]
    dataset = data.open_segmentation(name, root)
    bad = root / LABELS[name].format(1)
    spoil(bad)
    with pytest.raises(InputError, match=f"^label '{bad}' {message.format(HIGHEST[name])}") as error:
        dataset.load(0)
    assert "\n" not in str(error.value)
    dataset.load(1)


@each_set
def test_bad_images_are_named(name: str, tmp_path: Path) -> None:
    root = tree(name, tmp_path)
    dataset = data.open_segmentation(name, root)
    for index, content in enumerate([b"", (root / dataset.paths[1]).read_bytes()[:-30]]):
        (root / dataset.paths[index]).write_bytes(content)
        with pytest.raises(InputError, match=f"image '{root / dataset.paths[index]}' cannot be read .*(empty|trunc)"):
            dataset.load(index)


@each_set
def test_check_reads_every_pair_and_names_each_bad_one(name: str, tmp_path: Path) -> None:
    root = tree(name, tmp_path)
    report = data.check(name, tmp_path)
    assert (report.name, report.n, report.problems) == (name, 3, [])
    assert report.classes == {"ade20k": 150, "pcontext": 59, "cityscapes": 19}[name]
    out_of_range(root / LABELS[name].format(1))
    (root / IMAGES[name].format(3)).write_bytes(b"")
    problems = data.check(name, tmp_path).problems
    assert len(problems) == 2
    assert f"{LABELS[name].format(1)}' holds the value 200" in problems[0]
    assert f"{IMAGES[name].format(3)}' cannot be read (the file is empty)" in problems[1]


@each_set
def test_a_smaller_tree_is_allowed_and_said_to_be_one(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(name, tmp_path)
    data.open_segmentation(name, root)
    out = capsys.readouterr().out
    assert out.startswith(f"data: {name}: 3 of 3 images, ")
    assert f" in {root}; " in out
    assert f" of {NUMBERS[name]} images are missing\n" in out
    assert not data.check(name, root).complete
    small = segmentation.SETS[name]._replace(numbers={"test": 3, "train": 99})
    monkeypatch.setitem(segmentation.SETS, name, small)
    assert data.check(name, root).complete
    assert "missing" not in data.open_segmentation(name, root).source


def test_published_numbers_of_training_images() -> None:
    numbers = {name: published.numbers["train"] for name, published in segmentation.SETS.items()}
    assert numbers == {"ade20k": 20_210, "pcontext": 4_998, "cityscapes": 2_975}


@each_set
def test_a_file_that_is_no_image_is_a_problem(name: str, tmp_path: Path) -> None:
    root = tree(name, tmp_path)
    stranger = (root / IMAGES[name].format(1)).with_name("notes.txt")
    stranger.write_text("notes")
    report = data.check(name, root)
    assert report.n == 3
    assert len(report.problems) == 1
    assert report.problems[0].startswith(f"{stranger.relative_to(root)}: not of the form ")
    assert "notes.txt" in report.source


@each_set
def test_a_limit_takes_the_first_images(name: str, tmp_path: Path) -> None:
    root = tree(name, tmp_path)
    dataset = data.open_segmentation(name, root, limit=2)
    assert dataset.paths == [IMAGES[name].format(number) for number in (1, 2)]
    assert len(dataset) == 2
    assert f"{name}: 2 of 3 images" in dataset.source
    assert dataset.load(1)[1].shape == (11, 5)
    assert len(data.open_segmentation(name, root, limit=99)) == 3


@each_set
def test_digest_follows_images_and_labels(name: str, tmp_path: Path) -> None:
    root = tree(name, tmp_path)

    def digest(limit: int = 0) -> str:
        return data.open_segmentation(name, root, limit=limit).digest

    seen = [digest(), digest(2)]
    for pattern in (IMAGES, LABELS):
        with open(root / pattern[name].format(3), "ab") as file:
            file.write(b"more")
        seen.append(digest())
    for pattern in (IMAGES, LABELS):
        (root / pattern[name].format(3)).rename(root / pattern[name].format(4))
    if name == "pcontext":
        (root / LIST).write_text("2008_000001\n2008_000002\n2008_000004\n")
    seen.append(digest())
    assert len(set(seen)) == 5
    assert digest() == seen[-1]
    assert digest(2) == seen[1]


@each_set
def test_wrong_layouts_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    message = refused(f"no {name} images of the test split in '{tmp_path}'; valid: a directory of ", name, tmp_path)
    parts = {
        "ade20k": ["images/validation/*.jpg", "annotations/validation/*.png", "http://sceneparsing.csail.mit.edu"],
        "pcontext": ["JPEGImages/*.jpg", "SegmentationClassContext/*.png", LIST, "pascal-context", "mmsegmentation"],
        "cityscapes": ["leftImg8bit/val/*/*_leftImg8bit.png", "labelIds", "labelTrainIds", "cityscapes-dataset.com"],
    }
    for part in [*parts[name], HOMES[name]]:
        assert part in message
    for pattern in (IMAGES, LABELS):
        (tmp_path / pattern[name].format(1)).parent.mkdir(parents=True)
    refused(f"no {name} images of the test split", name, tmp_path)


@each_set
def test_bad_requests_are_refused(name: str, tmp_path: Path) -> None:
    needed = refused(f"data set '{name}' needs a data directory, and none was given; valid: --data DIR; ", name, None)
    assert needed.endswith(segmentation.SETS[name].source)
    refused("data directory '.*' is empty", name, tmp_path)
    refused("data directory '.*absent' does not exist", name, tmp_path / "absent")
    refused("unknown split 'val'.*; valid: test, train", name, tree(name, tmp_path), "val")
