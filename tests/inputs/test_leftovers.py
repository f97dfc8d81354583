"""Leftovers of systems and editors, links in circles and links to nothing, in every data set."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs.sets import SETS, Row, each_set, photograph, save, write

from resnest_core import data
from resnest_core.cli.datasets import index
from resnest_core.data.listing import Tree, is_leftover
from resnest_core.errors import InputError
from resnest_core.evaluation.records import Parts
from resnest_core.explore.runs import find_runs
from resnest_core.study.layout import Layout

FILES = (".DS_Store", "._0.jpg", "Thumbs.db", "THUMBS.DB", "desktop.ini", "0.jpg:Zone.Identifier", "a.txt~", ".x.swp")
FOLDERS = ("__MACOSX", ".ipynb_checkpoints", "@eaDir", ".git")
# Nothing is listed here, so nothing is left out: the names of the images stand in annotations or in the list.
NAMED = {"coco", "coco_format", "coco_panoptic", "file_list"}
each_listed = pytest.mark.parametrize("row", [row for row in SETS if row.name not in NAMED], ids=lambda row: row.name)


def litter(folder: Path) -> int:
    """Leave things in a directory; returns how many."""
    for name in FILES:
        (folder / name).write_bytes(b"no image")
    for name in FOLDERS:
        save(folder / name / "0-checkpoint.jpg", photograph(name))
        save(folder / name / "0-checkpoint.png", photograph(name))
        write(folder / name / "instances_val2017.json", "{")
    return len(FILES) + len(FOLDERS)


def same(first: Any, second: Any) -> bool:
    targets = [getattr(dataset, "targets", np.zeros(1)) for dataset in (first, second)]
    labels = [getattr(dataset, "labels", None) for dataset in (first, second) if first.name in ("ade20k", "cityscapes")]
    return (
        list(first.paths) == list(second.paths)
        and first.classes == second.classes
        and np.array_equal(*targets)
        and (not labels or labels[0] == labels[1])
    )


@each_set
def test_leftovers_at_any_depth_are_left_out(row: Row, tmp_path: Path) -> None:
    root = row.make(tmp_path)
    before = row.open(root)
    for folder in sorted(path for path in tmp_path.rglob("*") if path.is_dir()):
        litter(folder)
    litter(tmp_path)
    after = row.open(root)
    assert same(before, after)
    report = data.check(row.name, root)
    assert report.problems == []
    [after.load(i) for i in range(len(after))]


@each_listed
def test_they_are_counted_and_named(row: Row, tmp_path: Path) -> None:
    root = row.make(tmp_path / "set")
    folder = next(iter(sorted((tmp_path / "set").glob(row.images)))).parent
    count = litter(folder)
    if row.name == "shards":
        (folder / "index.parquet").unlink()
        index(str(folder), None, "")
    source = row.open(root).source
    assert "left out" in source
    assert "left out" not in row.open(row.make(tmp_path / "clean")).source
    if row.name != "shards":  # which lists files alone
        assert f"{count} leftovers of systems or editors left out: " in source
        assert any(name in source for name in FILES)
        assert any("leftovers" in line for line in data.check(row.name, root).remarks)


def test_a_directory_of_leftovers_alone_is_empty(tmp_path: Path) -> None:
    litter(tmp_path)
    for row in SETS:
        with pytest.raises(InputError, match="is empty; give one that holds the data set"):
            row.open(tmp_path)


def test_what_a_user_has_is_no_leftover() -> None:
    for name in ("cat.jpg", "a~b.jpg", "thumbs.jpg", "desktop.ini.jpg", "IMAGE~1", "x.MACOSX", "n01440764", "~"):
        assert not is_leftover(name), name


OF_CLASSES = [row for row in SETS if row.task == "classification" and row.reads_files]


@pytest.mark.parametrize("row", OF_CLASSES, ids=lambda row: row.name)
def test_links_in_circles_end(row: Row, tmp_path: Path) -> None:
    root = row.make(tmp_path / "set")
    before = row.open(root)
    folder = next(iter(sorted((tmp_path / "set").glob(row.images)))).parent
    (folder / "self").symlink_to(folder)
    (folder / "up").symlink_to(folder.parent)
    (folder.parent / "all").symlink_to(tmp_path / "set")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").symlink_to(folder.parent)
    after = row.open(root)
    assert same(before, after)
    if row.name not in NAMED:
        assert "3 link(s) back to a folder above left out: " in after.source


def test_two_links_to_each_other_end(tmp_path: Path) -> None:
    save(tmp_path / "set/a/x.jpg", photograph("x"))
    save(tmp_path / "else/y.jpg", photograph("y"))
    (tmp_path / "set/a/there").symlink_to(tmp_path / "else")
    (tmp_path / "else/back").symlink_to(tmp_path / "set/a")
    tree = Tree(tmp_path / "set")
    assert tree.below("a") == ["a/there/y.jpg", "a/x.jpg"]
    assert list(tree.loops) == ["a/there/back"]


def test_a_folder_that_is_linked_is_read(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere/0.jpg", photograph("0"))
    (tmp_path / "set/val").mkdir(parents=True)
    for name in ("cat", "dog"):
        (tmp_path / "set/val" / name).symlink_to(tmp_path / "elsewhere")
    dataset = data.open_dataset("imagefolder", tmp_path / "set")
    assert dataset.paths == ["cat/0.jpg", "dog/0.jpg"]
    assert "left out" not in dataset.source


@pytest.mark.parametrize("target", ["nowhere.jpg", "0.png"], ids=["nowhere", "itself"])
def test_a_link_to_nothing_is_named(target: str, tmp_path: Path) -> None:
    row = next(row for row in SETS if row.name == "imagefolder")
    root = row.make(tmp_path)
    (root / "val/cat/0.png").symlink_to(root / "val/cat" / target)
    assert data.check("imagefolder", root).problems == ["cat/0.png: the link leads nowhere"]
    with pytest.raises(InputError, match=r"cat/0.png' cannot be read \(the link leads nowhere\)"):
        (dataset := row.open(root)).load(list(dataset.paths).index("cat/0.png"))


def test_leftovers_among_profiles_runs_and_parts_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "profiles/mine.yaml", "")
    litter(tmp_path / "profiles")
    write(tmp_path / "profiles/._mine.yaml", "")
    assert Layout("", tmp_path).stored_in("profiles", ".yaml") == ["mine"]
    write(tmp_path / "build/__MACOSX/a/result.json", "no result")
    write(tmp_path / "build/.ipynb_checkpoints/result.json", "no result")
    assert len(find_runs(tmp_path / "build")[1]) == 1  # that there is none
    write(tmp_path / "parts/.DS_Store", "")
    assert Parts(tmp_path / "parts", {}).rows == 0


def test_leftovers_in_tars_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "classes.txt", "cat\n")
    save(tmp_path / "in/0.jpg", photograph("0"))
    write(tmp_path / "in/0.cls", "0")
    litter(tmp_path / "in")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        archive.add(tmp_path / "in", ".")
    (tmp_path / "._0.tar").write_bytes(b"no tar")
    index(str(tmp_path), None, "")
    assert "leftover of systems or editors: " in capsys.readouterr().out
    dataset = data.open_dataset("shards", tmp_path)
    assert list(dataset.paths) == ["0.jpg"]
    assert "left out, leftover of systems or editors: " in dataset.source
