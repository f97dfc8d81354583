"""No image and no name is lost without a line that counts and names it."""

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs.sets import SETS, Row, each_set, photograph, save, write
from PIL import Image

from resnest_core import data
from resnest_core.cli.datasets import index
from resnest_core.data.imagenet import synsets
from resnest_core.data.imagenet_labels import KAGGLE
from resnest_core.data.shard_index import make_index
from resnest_core.errors import InputError

ROWS = {row.name: row for row in SETS}
NAME = "ILSVRC2012_val_00000001"
A_CLASS, ANOTHER = synsets()[0], synsets()[1]


def tar(path: Path, *names: str, link: str = "") -> None:
    save(path.parent / "x.png", photograph("x"))
    picture = (path.parent / "x.png").read_bytes()
    (path.parent / "x.png").unlink()
    with tarfile.open(path, "w") as archive:
        for name in names:
            content = b"0" if name.endswith("cls") else picture
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            if name == link:
                entry.type, entry.linkname, entry.size, content = tarfile.LNKTYPE, names[0], 0, b""
            archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize(
    ("names", "images", "said"),
    [
        ("a.x.jpg a.x.cls a.y.jpg a.y.cls b.jpg b.cls c.jpg c.cls", "a.x.jpg a.y.jpg b.jpg c.jpg", ""),
        ("a.v2.jpg a.cls b.jpg b.cls", "a.v2.jpg b.jpg", ""),
        ("d.1/a.jpg d.1/a.cls d.2/a.jpg d.2/a.cls", "d.1/a.jpg d.2/a.jpg", ""),
        ("a.JPG a.cls", "a.JPG", ""),
        (
            "a.jpg a.cls a.json b.jpg b.cls b.json README",
            "a.jpg b.jpg",
            "3 file(s) left out, neither image nor class: ",
        ),
        (
            "a.jpg a.cls a.mask.png b.jpg b.cls",
            "a.jpg b.jpg",
            "1 file(s) left out, another image or class of a key: a.m",
        ),
        ("a.jpg a.cls a.coarse.cls", "a.jpg", "1 file(s) left out, another image or class of a key: a.coarse.cls"),
    ],
    ids=lambda value: value if " " in value else None,
)
def test_every_image_in_tars_is_read_or_named(
    names: str, images: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "classes.txt", "cat\n")
    tar(tmp_path / "0.tar", *names.split())
    index(str(tmp_path), None, "")
    printed = capsys.readouterr().out
    dataset = data.open_dataset("shards", tmp_path)
    assert list(dataset.paths) == images.split()
    assert ("left out" in printed, "left out" in dataset.source) == (bool(said), bool(said))
    assert said in printed
    assert said in dataset.source
    assert [said in remark for remark in data.check("shards", tmp_path).remarks] == [True] * bool(said)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            "a.x.jpg a.x.cls a.y.jpg b.jpg b.cls",
            "key 'a' in .* has 2 images and 1 classes; .* there: a.x.jpg, a.x.cls, a.y",
        ),
        ("a.x.jpg a.y.jpg a.cls", "key 'a' in .* has 2 images and 1 classes"),
        ("a.jpg a.png a.cls", "key 'a' in .* has 2 images and 1 classes"),
        ("a.x.jpg b.jpg b.cls", "key 'a' in .* has 1 images and 0 classes"),
        ("a.jfif a.cls", "key 'a' in .* has 0 images and 1 classes"),
    ],
)
def test_images_in_tars_that_fit_no_class_are_refused(names: str, message: str, tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", *names.split())
    with pytest.raises(InputError, match=message):
        make_index(str(tmp_path), ("cat",))


def test_links_in_tars_are_refused(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", "a.jpg", "a.cls", "b.jpg", "b.cls", link="b.jpg")
    with pytest.raises(InputError, match=r"'b.jpg' in .* is a link; valid: a file \(tar --hard-dereference\)"):
        make_index(str(tmp_path), ("cat",))


def test_files_beside_the_tars_are_named(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", "a.jpg", "a.cls")
    shutil.copy(tmp_path / "0.tar", tmp_path / "1.tar.gz")
    assert make_index(str(tmp_path), ("cat",)).remarks == ("1 file(s) left out, neither image nor class: 1.tar.gz",)


@given(st.lists(st.from_regex(r"[ab](\.[xy]){0,2}\.(jpg|png|cls|txt)", fullmatch=True), unique=True, min_size=1))
@settings(max_examples=60, deadline=None)
def test_of_any_tar_each_image_is_read_named_or_refused(names: list[str]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        tar(Path(folder) / "0.tar", *sorted(names))
        try:
            made = make_index(folder, ("cat",))
        except InputError:
            return
    read = made.table["image"].to_pylist()
    counted = sum(int(remark.split()[0]) for remark in made.remarks)
    classes = sum(name.endswith("cls") for name in names)
    assert len(read) + min(classes, len(read)) + counted == len(names)


def flat(root: Path, rows: str, *images: str) -> Path:
    for name in images or (f"{NAME}.JPEG",):
        save(root / "val" / name, photograph(name))
    write(root / "val" / KAGGLE, f"ImageId,PredictionString\n{rows}")
    return root


def test_an_image_twice_in_kaggles_list(tmp_path: Path) -> None:
    again = data.open_dataset("imagenet", flat(tmp_path / "a", f"{NAME},{A_CLASS} 1 2 3 4\n" * 3))
    assert (len(again), f"2 lines of {KAGGLE} repeat an image: {NAME}, {NAME}" in again.source) == (1, True)
    with pytest.raises(InputError, match=rf"has {NAME} as {A_CLASS} and as {ANOTHER}; valid: one class for an image"):
        data.open_dataset("imagenet", flat(tmp_path / "b", f"{NAME},{A_CLASS} 1\n{NAME},{ANOTHER} 1\n"))


@pytest.mark.parametrize("other", [f"{NAME}.jpg", f"{NAME}.jpeg", f"{NAME}.JPG"])
def test_two_files_of_one_image_are_refused(other: str, tmp_path: Path) -> None:
    root = flat(tmp_path / "flat", f"{NAME},{A_CLASS} 1\n", f"{NAME}.JPEG", other)
    with pytest.raises(InputError, match=rf"image {NAME} is twice in .*: '.*' and '.*'; valid: each image once"):
        data.open_dataset("imagenet", root)
    for name, synset in ((f"{NAME}.JPEG", A_CLASS), (other, ANOTHER)):
        save(tmp_path / "folders/val" / synset / name, photograph(name))
    with pytest.raises(InputError, match=rf"image {NAME} is twice in "):
        data.open_dataset("imagenet", tmp_path / "folders")


def test_all_images_that_no_list_names_are_counted(tmp_path: Path) -> None:
    names = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 5)]
    dataset = data.open_dataset("imagenet", flat(tmp_path, f"{NAME},{A_CLASS} 1\n", *names))
    assert f"{names[1]}: not listed in {KAGGLE} (and 2 more problems)" in dataset.source


@pytest.mark.parametrize("name", ["imagefolder", "imagenet", "imagenet_v2"])
def test_images_beside_class_folders_are_counted(name: str, tmp_path: Path) -> None:
    root = ROWS[name].make(tmp_path)
    folder = next(iter(sorted(tmp_path.glob(ROWS[name].images)))).parent.parent
    for stray in ("x.jpg", "y.PNG"):
        save(folder / stray, photograph(stray))
    write(folder / "README.txt", "no image")
    assert "x.jpg: an image in no class folder (and 1 more problems)" in ROWS[name].open(root).source
    assert [problem[:6] for problem in data.check(name, root).problems] == ["x.jpg:", "y.PNG:"]


@pytest.mark.parametrize("name", ["imagefolder", "imagenet_v2"])
def test_one_stem_in_several_places_stays_several_images(name: str, tmp_path: Path) -> None:
    root = ROWS[name].make(tmp_path)
    before = len(ROWS[name].open(root))
    first = next(iter(sorted(tmp_path.glob(ROWS[name].images))))
    save(first.with_suffix(".png"), photograph("other"))
    (first.parent / "deeper").mkdir()
    shutil.copy(first, first.parent / "deeper" / first.name)
    assert len(ROWS[name].open(root)) == before + 2


@pytest.mark.parametrize("name", ["ade20k", "pcontext", "cityscapes"])
def test_images_of_other_forms_are_counted(name: str, tmp_path: Path) -> None:
    root = ROWS[name].make(tmp_path)
    first = next(iter(sorted(tmp_path.glob(ROWS[name].images))))
    for suffix in (".jpeg", ".JPG", ".webp"):
        shutil.copy(first, first.with_suffix(suffix))
    dataset = ROWS[name].open(root)
    assert "not of the form" in dataset.source
    assert "(and 2 more problems)" in dataset.source
    assert len(data.check(name, root).problems) == 3
    first.unlink()
    with pytest.raises(InputError, match=rf"1 of 2 images are missing .* \(not of this form: .*{first.stem}.JPG"):
        ROWS[name].open(root)


def test_a_split_list_may_repeat_a_name_but_says_so(tmp_path: Path) -> None:
    root = ROWS["pcontext"].make(tmp_path)
    listed = root / "ImageSets/SegmentationContext/val.txt"
    listed.write_text(listed.read_text() * 2)
    dataset = ROWS["pcontext"].open(root)
    assert len(dataset) == 2
    assert "2008_000000 is listed twice (and 1 more problems)" in dataset.source


def coded(values: list[int]) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        Image.fromarray(np.resize(np.array(values, np.uint8), (32, 40))).save(path)

    return put


@pytest.mark.parametrize(
    ("values", "right"),
    [
        ([0, 1, 18, 255], False),
        ([255], False),
        ([7, 13, 255], False),
        ([7, 26, 255], True),  # a car and its plate
        ([0, 7, 11], True),
        ([33], True),
    ],
)
def test_train_ids_in_files_of_ids_are_refused(values: list[int], right: bool, tmp_path: Path) -> None:
    root = ROWS["cityscapes"].make(tmp_path)
    for path in tmp_path.glob("gtFine/val/*/*_labelIds.png"):
        coded(values)(path)
    dataset = ROWS["cityscapes"].open(root)
    if right:
        dataset.load(0)
        return
    with pytest.raises(InputError, match=r"holds 255 and else only 0 to 18, which are train IDs; valid: IDs as its"):
        dataset.load(0)
    assert len(data.check("cityscapes", root).problems) == 2
    for path in tmp_path.glob("gtFine/*/*/*_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    ROWS["cityscapes"].open(root).load(0)


def test_an_image_in_both_lists_is_said(tmp_path: Path) -> None:
    root = ROWS["file_list"].make(tmp_path)
    assert "too: " not in ROWS["file_list"].open(root, "train").source
    with (root / "train.csv").open("a") as file:
        file.write("test/cat 0.jpg,cat\n")
    dataset = ROWS["file_list"].open(root, "train")
    assert len(dataset) == 7
    assert f"1 of these images are in {root}/test.csv, too: test/cat 0.jpg" in dataset.source
    (root / "test.csv").write_text("# root: test\ncat 0.jpg,cat\n")
    assert "too: " in ROWS["file_list"].open(root, "train").source


@pytest.mark.parametrize("name", ["imagefolder", "file_list", "shards"])
def test_classes_that_differ_in_capitals_alone_are_said(name: str, tmp_path: Path) -> None:
    if name == "file_list":
        write(tmp_path / "classes.txt", "cat\nCat\n")
        save(tmp_path / "x.jpg", photograph("x"))
        write(tmp_path / "val.csv", "x.jpg,Cat\n")
    elif name == "shards":
        write(tmp_path / "classes.txt", "cat\nCat\n")
        tar(tmp_path / "0.tar", "a.jpg", "a.cls")
        index(str(tmp_path), None, "")
    else:
        for folder in ("cat", "Cat"):
            save(tmp_path / "val" / folder / "x.jpg", photograph(folder))
    dataset = ROWS[name].open(tmp_path)
    assert len(dataset.classes) == 2
    assert "classes that differ in capitals alone: " in dataset.source


def test_two_folders_of_one_name_in_unicode_are_refused(tmp_path: Path) -> None:
    for folder in ("B\u00e4r", "Ba\u0308r"):
        save(tmp_path / "val" / folder / "x.jpg", photograph("x"))
    with pytest.raises(InputError, match="holds two folders of class 'Bär'; valid: one folder for each class"):
        data.open_dataset("imagefolder", tmp_path)


@each_set
def test_sound_sets_leave_nothing_out(row: Row, tmp_path: Path) -> None:
    root = row.make(tmp_path)
    assert "left out" not in getattr(row.open(root), "source", "")
    assert data.check(row.name, root).remarks == ()
