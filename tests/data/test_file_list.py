"""Lists of files with classes, in every format, and what is wrong with bad ones."""

from pathlib import Path

import fsspec
import pandas as pd
import pytest
from PIL import Image

from resnest_core import data
from resnest_core.errors import InputError

ROWS = [("b/one.png", 1), ("a/two words.png", 0), ("a/three.png", 2), ("b/four.png", 1)]
CLASSES = ("ant", "queen bee", "cat")


def images(root: Path) -> Path:
    """The images of `ROWS`, image i of grey i, and the names of the classes."""
    for grey, (name, _) in enumerate(ROWS):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 8), grey).save(root / name)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return root


def listed(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def check_content(place: Path | str) -> None:
    found = data.open_dataset("file_list", place)
    assert list(found.paths) == [name for name, _ in ROWS]
    assert found.targets.tolist() == [target for _, target in ROWS]
    assert found.classes == CLASSES
    assert [found.load(i).getpixel((0, 0)) for i in range(len(ROWS))] == [(i, i, i) for i in range(len(ROWS))]


def refused(match: str, place: Path | None, **options: str) -> None:
    with pytest.raises(InputError, match=match) as error:
        data.open_dataset("file_list", place, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("named", [True, False], ids=["names", "places"])
@pytest.mark.parametrize(("suffix", "separator"), [(".txt", "\t"), (".txt", ","), (".tsv", "\t"), (".csv", ",")])
def test_texts(suffix: str, separator: str, named: bool, tmp_path: Path) -> None:
    rows = [f"{name}{separator}{CLASSES[target] if named else target}\n" for name, target in ROWS]
    place = listed(images(tmp_path) / f"list{suffix}", "# a remark\n\n" + "".join(rows))
    check_content(place)


def test_a_space_before_a_class_without_one(tmp_path: Path) -> None:
    check_content(listed(images(tmp_path) / "l.txt", "".join(f"{name} {target}\r\n" for name, target in ROWS)))


@pytest.mark.parametrize("named", [True, False], ids=["names", "places"])
def test_tables(named: bool, tmp_path: Path) -> None:
    table = pd.DataFrame(ROWS, columns=["path", "class"])
    table["class"] = [CLASSES[target] for target in table["class"]] if named else table["class"]
    for suffix, write in ((".parquet", table.to_parquet), (".csv", table.to_csv)):
        place = images(tmp_path) / f"list{suffix}"
        write(place, index=False)
        check_content(place)


def test_images_that_lie_elsewhere(tmp_path: Path) -> None:
    root, rows = images(tmp_path / "images"), "".join(f"{name}\t{target}\n" for name, target in ROWS)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "classes.txt").write_text("\n".join(CLASSES))
    for line in ("# root: ../images", f"# root: {root}"):
        place = listed(tmp_path / "lists" / "list.txt", f"{line}\n{rows}")
        check_content(place)
        assert data.open_dataset("file_list", place).digest == data.open_dataset("file_list", place).digest
    absolute = "".join(f"{root / name}\t{target}\n" for name, target in ROWS)
    found = data.open_dataset("file_list", listed(tmp_path / "lists" / "absolute.txt", absolute))
    assert found.load(2).getpixel((0, 0)) == (2, 2, 2)


def test_a_list_and_its_images_in_another_storage(tmp_path: Path) -> None:
    root = images(tmp_path)
    listed(root / "test.txt", "".join(f"{name}\t{target}\n" for name, target in ROWS))
    fsspec.filesystem("memory").put(f"{root}/", "/lists/", recursive=True)
    for place in ("memory://lists", "memory://lists/test.txt"):
        check_content(place)
    there = data.open_dataset("file_list", "memory://lists")
    assert there.digest == data.open_dataset("file_list", "memory://lists").digest
    fsspec.filesystem("memory").rm("/lists/a/three.png")
    for request in (there.contents, lambda indices: [*there.content_digests()]):
        with pytest.raises(InputError, match=r"'memory://lists/a/three.png' does not exist"):
            request(range(4))


def test_splits_and_limits(tmp_path: Path) -> None:
    root = images(tmp_path)
    listed(root / "train.csv", "b/one.png,1\n")
    refused(r"no list for the test split in '.*'; valid: a file, or a directory with test.txt", root)
    listed(root / "val.csv", "".join(f"{name},{target}\n" for name, target in ROWS))
    assert len(data.open_dataset("file_list", root, split="train")) == 1
    assert len(data.open_dataset("file_list", root)) == 4
    first = data.open_dataset("file_list", root, limit=3)
    assert list(first.paths) == ["a/two words.png", "b/one.png", "a/three.png"]
    assert first.source == f"file_list: 3 of 4 images, 3 classes, listed in {root / 'val.csv'}"
    refused(r"val.csv' is one list, of the test split; valid for", root / "val.csv", split="train")


def test_numbers_are_names_where_classes_are_called_by_numbers(tmp_path: Path) -> None:
    root = images(tmp_path)
    (root / "classes.txt").write_text("1\n2\n10\n")
    place = listed(root / "list.txt", "b/one.png 10\na/three.png 1\n")
    assert data.open_dataset("file_list", place).targets.tolist() == [2, 0]
    listed(place, "b/one.png 10\na/three.png 0\n")
    refused("line 2 of '.*list.txt' has unknown class '0'; valid: those in classes.txt, as '1'", place)


BAD = {
    "class": ("b/one.png cat\nb/four.png dog\n", "line 2 of '.*list.txt' has unknown class 'dog'; valid: those in"),
    "place": ("b/one.png 3\n", "line 1 of '.*list.txt' has unknown class '3'"),
    "no class": ("# a remark\nb/one.png\n", "line 2 of '.*' is malformed: 'b/one.png'; valid: a path and a class"),
    "no path": ("\t0\n", "line 1 of '.*' is malformed: '0'"),
    "twice": (
        "b/one.png 1\n\na/three.png 1\nb/one.png 0\n",
        "line 4 of '.*list.txt' has 'b/one.png' again; valid",
    ),
    "empty": ("\n# a remark\n", "list '.*list.txt' is empty; valid: lines of a path and a class"),
    "absent": (
        "one.png 1\n",
        "the first image of '.*list.txt' is missing: '.*/one.png'; say where",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lists_are_refused(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    refused(message, listed(images(tmp_path) / "list.txt", text))


def test_other_bad_files(tmp_path: Path) -> None:
    root = images(tmp_path)
    refused("data set 'file_list' needs a list, and none was given", None)
    refused("'.*none.csv' does not exist", root / "none.csv")
    refused("line 2 of '.*.csv' is malformed: 'a b c'; valid", listed(root / "l.csv", "b/one.png,1\na,b,c\n"))
    (root / "l.txt").write_bytes(b"b/one.png\tcaf\x81\n")  # neither UTF-8 nor Windows-1252
    refused("'.*l.txt' is no text in UTF-8; valid: text in UTF-8", root / "l.txt")
    refused("list '.*l.parquet' cannot be read", listed(root / "l.parquet", "b/one.png,1\n"))
    pd.DataFrame({"path": ["b/one.png"], "label": [1]}).to_parquet(root / "l.parquet")
    refused("list '.*l.parquet' has no column 'class'; valid: columns path and class", root / "l.parquet")
    pd.DataFrame({"path": ["b/one.png", None], "class": [1, 1]}).to_parquet(root / "l.parquet")
    refused("line 2 of '.*l.parquet' is malformed: a value is missing", root / "l.parquet")
    place = listed(root / "l.txt", "b/one.png 1\n")
    for text, message in (("", "names no class"), ("ant\nant\n", "names a class twice")):
        (root / "classes.txt").write_text(text)
        refused(f"'.*classes.txt' {message}", place)
    (root / "classes.txt").unlink()
    refused("classes are missing: no file '.*classes.txt'; write one with the name of a class a line", place)


def test_check_and_evaluation_name_what_is_missing(tmp_path: Path) -> None:
    place = listed(images(tmp_path) / "list.csv", "".join(f"{name},{target}\n" for name, target in ROWS))
    assert str(data.check("file_list", place)) == "file_list: 4 images of 3 classes, complete, no problem"
    (tmp_path / "a" / "three.png").unlink()
    (tmp_path / "b" / "four.png").write_bytes(b"")
    problems = data.check("file_list", place).problems
    assert problems[0].startswith("a/three.png: '")
    assert problems[0].endswith("does not exist; give a place that can be read")
    assert problems[1:] == ["b/four.png: the file is empty"]
    with pytest.raises(InputError, match=r"'.*three.png' does not exist"):
        _ = data.open_dataset("file_list", place).digest
