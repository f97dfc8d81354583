"""ImageNet in its three layouts, and class folders of one's own, as small trees of real images."""

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from resnest_core import data
from resnest_core.data import imagenet
from resnest_core.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures"
JPEGS = sorted(FIXTURES.glob("*.jpg"))
SYNSETS = imagenet.synsets()
# Image i (from 1) of the small trees is of this synset; neither the order of the numbers nor that of the synsets.
IMAGES = ("n02119789", "n01440764", "n15075141", "n01440764", "n04067472")
KIT_ORDER = tuple(np.random.default_rng(0).permutation(SYNSETS).tolist())
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def put_image(number: int, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(JPEGS[number % len(JPEGS)], folder / f"ILSVRC2012_val_{number:08d}.JPEG"))


def write_meta(path: Path, order: tuple[str, ...] = KIT_ORDER) -> None:
    """A `meta.mat` as the development kit's: the classes, then inner nodes of WordNet with IDs above 1,000."""
    nodes = [*enumerate(order, 1), (1001, "n00001740"), (1002, "n00001930")]
    rows = np.zeros((len(nodes), 1), [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")])
    for row, (number, node) in zip(rows, nodes, strict=True):
        row[0] = (np.uint16(number), node, "some words", np.uint8(number > 1000))
    savemat(path, {"synsets": rows})


def class_folders(root: Path) -> Path:
    for number, synset in enumerate(IMAGES, 1):
        put_image(number, root / "val" / synset)
    return root


def flat(root: Path) -> Path:
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    write_meta(kit / "meta.mat")
    (kit / GROUND_TRUTH).write_text("".join(f"{KIT_ORDER.index(synset) + 1}\n" for synset in IMAGES))
    for number in range(1, len(IMAGES) + 1):
        put_image(number, root / "val")
    return root


def kaggle(root: Path) -> Path:
    for number in range(1, len(IMAGES) + 1):
        put_image(number, root / "ILSVRC" / "Data" / "CLS-LOC" / "val")
    with open(root / "LOC_val_solution.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageId", "PredictionString"])
        for number, synset in reversed(list(enumerate(IMAGES, 1))):
            rows.writerow([f"ILSVRC2012_val_{number:08d}", f"{synset} 111 108 431 279 {synset} 1 2 3 4 "])
    return root


LAYOUTS = {"class_folders": class_folders, "flat": flat, "kaggle": kaggle}
FOLDERS = {"class_folders": "val", "flat": "val", "kaggle": "ILSVRC/Data/CLS-LOC/val"}
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
Build = Callable[[Path], Path]


def test_classes_are_the_thousand_sorted_synsets() -> None:
    assert len(set(SYNSETS)) == 1000
    assert list(SYNSETS) == sorted(SYNSETS)
    # tench, goldfish, great white shark, kit fox, toilet tissue: places that any ImageNet model agrees on
    known = {"n01440764": 0, "n01443537": 1, "n01484850": 2, "n02119789": 278, "n15075141": 999}
    assert {synset: SYNSETS.index(synset) for synset in known} == known


@each_layout
@pytest.mark.parametrize("inside", [False, True], ids=["parent", "val itself"])
def test_every_layout_gives_each_image_its_class(layout: str, inside: bool, tmp_path: Path) -> None:
    root = LAYOUTS[layout](tmp_path)
    dataset = data.open_dataset("imagenet", root / FOLDERS[layout] if inside else root)
    assert dataset.classes == SYNSETS
    found = {
        int(Path(path).stem[-8:]): SYNSETS[target] for path, target in zip(dataset.paths, dataset.targets, strict=True)
    }
    assert found == dict(enumerate(IMAGES, 1))
    for path, index in zip(dataset.paths, range(len(dataset)), strict=True):
        original = JPEGS[int(Path(path).stem[-8:]) % len(JPEGS)]
        assert np.array_equal(np.asarray(dataset.load(index)), np.asarray(Image.open(original).convert("RGB")))


def test_later_kits_map_is_understood(tmp_path: Path) -> None:
    expected = data.open_dataset("imagenet", flat(tmp_path)).targets
    kit = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    (kit / "meta.mat").unlink()
    (kit / "map_clsloc.txt").write_text("".join(f"{synset} {i} a_name\n" for i, synset in enumerate(KIT_ORDER, 1)))
    assert np.array_equal(data.open_dataset("imagenet", tmp_path).targets, expected)


def test_labels_may_lie_among_the_images(tmp_path: Path) -> None:
    flat(tmp_path)
    for name in ("meta.mat", GROUND_TRUTH):
        shutil.move(tmp_path / "ILSVRC2012_devkit_t12" / "data" / name, tmp_path / "val" / name)
    report = data.check("imagenet", tmp_path / "val")
    assert (report.n, report.problems) == (5, [])


@each_layout
def test_a_smaller_tree_is_allowed_and_said_to_be_one(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = LAYOUTS[layout](tmp_path)
    data.open_dataset("imagenet", root)
    out = capsys.readouterr().out
    assert out.startswith("data: imagenet: 5 of 5 images, 4 classes, ")
    assert "49,995 of 50,000 images are missing" in out
    assert out.count("\n") == 1
    report = data.check("imagenet", root)
    assert (report.n, report.classes, report.complete, report.problems) == (5, 4, False, [])


@each_layout
def test_a_whole_tree_is_complete_and_then_an_image_is_missing(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet, "IMAGES", {"test": 5, "train": 5})
    monkeypatch.setattr(
        imagenet, "synsets", lambda: SYNSETS if layout != "class_folders" else tuple(sorted(set(IMAGES)))
    )
    root = LAYOUTS[layout](tmp_path)
    report = data.check("imagenet", root)
    assert report.complete
    assert str(report) == "imagenet: 5 images of 4 classes, complete, no problem"
    next(root.rglob("ILSVRC2012_val_00000004.JPEG")).unlink()
    report = data.check("imagenet", root)
    assert report.lacking == "1 of 5 images are missing: ILSVRC2012_val_00000004"


def test_missing_class_folders_are_counted_and_named(tmp_path: Path) -> None:
    lacking = data.check("imagenet", class_folders(tmp_path)).lacking
    assert lacking.startswith("49,995 of 50,000 images are missing: ILSVRC2012_val_00000006, ")
    assert (
        "996 of 1,000 class folders are missing: n01443537, n01484850, n01491361, n01494475, n01496331 and 991 more"
        in lacking
    )


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-2000]), "truncated"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "page": (lambda path: path.write_bytes(b"<html>404</html>"), "not an image"),
}


@each_layout
@pytest.mark.parametrize("damage", DAMAGE)
def test_bad_images_are_named_and_never_skipped(layout: str, damage: str, tmp_path: Path) -> None:
    root = LAYOUTS[layout](tmp_path)
    bad = next(root.rglob("ILSVRC2012_val_00000003.JPEG"))
    spoil, reason = DAMAGE[damage]
    spoil(bad)
    report = data.check("imagenet", root)
    assert report.n == 5
    assert len(report.problems) == 1
    assert bad.name in report.problems[0]
    assert reason in report.problems[0]
    dataset = data.open_dataset("imagenet", root)
    index = next(i for i, path in enumerate(dataset.paths) if path.endswith(bad.name))
    with pytest.raises(InputError, match=f"image '.*{bad.name}' cannot be read \\(.*{reason}") as error:
        dataset.load(index)
    assert "\n" not in str(error.value)


def test_an_image_that_vanishes_is_named(tmp_path: Path) -> None:
    dataset = data.open_dataset("imagenet", class_folders(tmp_path))
    next(tmp_path.rglob("ILSVRC2012_val_00000002.JPEG")).unlink()
    with pytest.raises(InputError, match=r"ILSVRC2012_val_00000002.JPEG' cannot be read \(the file is missing\)"):
        dataset.load(0)


def test_a_file_that_is_no_image_is_a_problem_in_any_place(tmp_path: Path) -> None:
    for name, build in LAYOUTS.items():
        root = build(tmp_path / name) if (tmp_path / name).mkdir() is None else tmp_path
        stranger = next(root.rglob("*_00000001.JPEG")).with_name("notes.txt")
        stranger.write_text("notes")
        problems = data.check("imagenet", root).problems
        assert len(problems) == 1
        assert "notes.txt" in problems[0]


def test_an_empty_class_folder_is_a_problem(tmp_path: Path) -> None:
    (class_folders(tmp_path) / "val" / "n01443537").mkdir()
    assert data.check("imagenet", tmp_path).problems == ["n01443537: a class folder without images"]


def test_a_limit_takes_classes_in_turn(tmp_path: Path) -> None:
    dataset = data.open_dataset("imagenet", class_folders(tmp_path), limit=4)
    assert [dataset.classes[target] for target in dataset.targets] == sorted(set(IMAGES))
    assert dataset.paths[0] == "n01440764/ILSVRC2012_val_00000002.JPEG"
    assert len(data.open_dataset("imagenet", tmp_path, limit=99)) == 5


def test_digest_follows_files_and_order(tmp_path: Path) -> None:
    digest = data.open_dataset("imagenet", class_folders(tmp_path)).digest
    assert digest == data.open_dataset("imagenet", tmp_path).digest
    assert digest != data.open_dataset("imagenet", tmp_path, limit=4).digest
    with open(tmp_path / "val" / IMAGES[0] / "ILSVRC2012_val_00000001.JPEG", "ab") as file:
        file.write(b"more")
    longer = data.open_dataset("imagenet", tmp_path).digest
    assert digest != longer
    put_image(6, tmp_path / "val" / "n01443537")
    assert longer != data.open_dataset("imagenet", tmp_path).digest


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    class_folders(tmp_path / "disk")
    (tmp_path / "link" / "val").mkdir(parents=True)
    for folder in (tmp_path / "disk" / "val").iterdir():
        (tmp_path / "link" / "val" / folder.name).symlink_to(folder)
    assert len(data.open_dataset("imagenet", tmp_path / "link")) == 5
    put_image(6, tmp_path / "more")
    (tmp_path / "disk" / "val" / IMAGES[0] / "more").symlink_to(tmp_path / "more")
    assert len(data.open_dataset("imagenet", tmp_path / "link")) == 6


def test_a_folder_that_cannot_be_read_is_not_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str | Path) -> object:
        if Path(path).name == IMAGES[0]:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    class_folders(tmp_path)
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match=IMAGES[0]):
        data.open_dataset("imagenet", tmp_path)


def test_training_folders_are_found_only_under_train(tmp_path: Path) -> None:
    class_folders(tmp_path)
    for root in (tmp_path, tmp_path / "val"):
        with pytest.raises(InputError, match="no ImageNet training folders in"):
            data.open_dataset("imagenet", root, split="train")
    put_image(1, tmp_path / "train" / "n01443537")
    dataset = data.open_dataset("imagenet", tmp_path, split="train")
    assert dataset.targets.tolist() == [1]
    assert "1,281,166 of 1,281,167 images are missing" in dataset.source


def test_strange_class_folders_are_refused(tmp_path: Path) -> None:
    put_image(1, class_folders(tmp_path) / "val" / "n99999999")
    with pytest.raises(InputError, match="holds 5 class folders, of which n99999999 are not among ImageNet's 1,000"):
        data.open_dataset("imagenet", tmp_path)


def spoil_kit(name: str, content: str) -> Build:
    def build(root: Path) -> Path:
        (flat(root) / "ILSVRC2012_devkit_t12" / "data" / name).write_text(content)
        return root

    return build


def without(name: str) -> Build:
    def build(root: Path) -> Path:
        next(flat(root).rglob(name)).unlink()
        return root

    return build


def small_kit(root: Path) -> Path:
    write_meta(flat(root) / "ILSVRC2012_devkit_t12" / "data" / "meta.mat", KIT_ORDER[:999])
    return root


def other_csv(content: str) -> Build:
    def build(root: Path) -> Path:
        (kaggle(root) / "LOC_val_solution.csv").write_text(content)
        return root

    return build


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (spoil_kit(GROUND_TRUTH, "1\n2\n1001\n"), "line 3 of '.*' is '1001'; valid: an ID from 1 to 1000"),
        (spoil_kit(GROUND_TRUTH, "1\n\x00\xff\n"), "line 2 of '.*'; valid: an ID"),
        (spoil_kit("meta.mat", "no matrix"), "meta.mat' cannot be read"),
        (small_kit, "has 999 classes; valid: ImageNet's 1,000 synsets"),
        (without("meta.mat"), "lacks the development kit's meta.mat"),
        (without(GROUND_TRUTH), "have no labels; put the development kit's"),
        (other_csv("a,b\n1,2\n"), "has columns .*; valid: ImageId, PredictionString"),
        (other_csv("ImageId,PredictionString\nILSVRC2012_val_00000001,n0 1\n"), "names 'n0', which is not among"),
        (other_csv("ImageId,PredictionString\nILSVRC2012_val_00000001,\n"), "names '\\?', which is not among"),
        (other_csv("ImageId,PredictionString\nother,n01440764 1\n"), "no image in '.*' is listed in"),
    ],
)
def test_wrong_labels_are_refused(build: Build, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        data.open_dataset("imagenet", build(tmp_path))
    assert "\n" not in str(error.value)


def own_tree(root: Path) -> Path:
    for split, count in {"train": 3, "test": 2}.items():
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                shutil.copy(JPEGS[i], root / split / name / f"{i}.jpg")
    return root


def test_own_class_folders(tmp_path: Path) -> None:
    own_tree(tmp_path)
    dataset = data.open_dataset("imagefolder", tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert dataset.paths == ["cat/0.jpg", "cat/1.jpg", "dog/0.jpg", "dog/1.jpg"]
    assert dataset.targets.tolist() == [0, 0, 1, 1]
    assert len(data.open_dataset("imagefolder", tmp_path, split="train")) == 6
    assert len(data.open_dataset("imagefolder", tmp_path / "train")) == 6
    report = data.check("imagefolder", tmp_path)
    assert str(report) == "imagefolder: 4 images of 2 classes, complete, no problem"


def test_a_split_is_never_taken_for_a_class(tmp_path: Path) -> None:
    shutil.rmtree(own_tree(tmp_path) / "test")
    with pytest.raises(InputError, match="no class folders for the test split"):
        data.open_dataset("imagefolder", tmp_path)


def test_own_folders_without_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match="hold no files; valid: images in them"):
        data.open_dataset("imagefolder", tmp_path)
