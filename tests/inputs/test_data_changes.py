"""Whatever an experiment reads decides whether it is stale: edits of every input, of equal size and time too."""

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from inputs.sets import SETS, Row, each_set
from PIL import Image
from small import Linear

from resnest_core import data
from resnest_core.data import contents, storage
from resnest_core.data.imagenet import ImageFiles
from resnest_core.data.shard_index import make_index, write_index
from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import InputError
from resnest_core.evaluation import records
from resnest_core.evaluation.classification import Protocol, evaluate_classifier
from resnest_core.experiments.finished import evaluated
from resnest_core.study.inputs import Inputs
from resnest_core.study.profiles import Experiment
from resnest_core.study.state import differences
from resnest_core.training.classification import Recipe, _Classification

# What a test split is read from: patterns below the directory of a row, and what they are.
FILES = {row.name: {"image or tar": row.images, **({"label": row.labels} if row.labels else {})} for row in SETS}
FILES["file_list"] |= {"class list": "classes.txt", "list": "test.csv"}
FILES["shards"] |= {"index": "set/test/index.parquet"}
FILES["coco_panoptic"] |= {"label": "annotations/*_val2017.json", "map": "annotations/*_val2017/*"}
FILES["pcontext"] |= {"list": "ImageSets/SegmentationContext/val.txt"}
KINDS = [(row, kind) for row in SETS for kind in FILES[row.name]]
each_kind = pytest.mark.parametrize(("row", "kind"), KINDS, ids=[f"{row.name}-{kind}" for row, kind in KINDS])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, in which files that were just made are remembered, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(storage, "RACY", 0)
    return tmp_path / "cache/resnest_core/contents.sqlite"


def edit(path: Path, keep_time: bool) -> None:
    """Change what is in a file, but not how much, nor what can be read of it."""
    before, content = path.stat(), path.read_bytes()
    if path.name == "index.parquet":
        index = make_index(str(path.parent), ("dog", "cat"))  # another order of the classes
        write_index(path, index, beside=True)
    elif path.suffix == ".json":
        path.write_bytes(content.replace(b": ", b" :", 1))
    elif "ImageSets" in path.parts:  # another image; their order is that of their names
        path.write_bytes(content.replace(b"2008_000000", b"2008_000002"))
    elif path.suffix in (".txt", ".csv"):
        path.write_bytes(b"".join(content.splitlines(keepends=True)[::-1]))
    elif path.suffix == ".tar":
        place = content.index(b"\xff\xd9")  # where the first photograph ends
        path.write_bytes(content[: place - 1] + bytes([content[place - 1] ^ 1]) + content[place:])
    else:
        path.write_bytes(content[:-20] + bytes(byte ^ 1 for byte in content[-20:]))
    assert path.name == "index.parquet" or path.stat().st_size == before.st_size
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def digest(row: Row, tmp_path: Path) -> str:
    return str(row.open(tmp_path / "set" / row.place).digest)


@each_kind
@pytest.mark.parametrize("keep_time", [False, True], ids=["size", "size-and-time"])
def test_an_edit_changes_the_digest(row: Row, kind: str, keep_time: bool, tmp_path: Path) -> None:
    row.make(tmp_path / "set")
    before = digest(row, tmp_path)
    edit(sorted((tmp_path / "set").glob(FILES[row.name][kind]))[0], keep_time)
    assert digest(row, tmp_path) != before


@each_set
def test_what_is_touched_copied_or_edited_back_is_the_same(row: Row, tmp_path: Path) -> None:
    root = row.make(tmp_path / "set")
    before = digest(row, tmp_path)
    for path in root.rglob("*"):
        os.utime(path)
    assert digest(row, tmp_path) == before
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    assert row.open(tmp_path / "copy" / row.place).digest == before
    image = sorted((tmp_path / "set").glob(row.images))[0]
    content = image.read_bytes()
    edit(image, keep_time=True)
    assert digest(row, tmp_path) != before
    image.write_bytes(content)
    assert digest(row, tmp_path) == before


@each_set
def test_what_has_not_changed_is_not_read_again(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row.make(tmp_path / "set")
    before, read = digest(row, tmp_path), []
    known = contents.Part.read
    monkeypatch.setattr(contents.Part, "read", lambda part: read.append(part.place) or known(part))
    assert digest(row, tmp_path) == before
    assert read == []
    edit(sorted((tmp_path / "set").glob(row.images))[0], keep_time=True)
    assert digest(row, tmp_path) != before
    assert len(read) == 1


@each_set
def test_the_plan_says_that_data_changed(row: Row, tmp_path: Path) -> None:
    root = row.make(tmp_path / "set")
    experiment = Experiment("s", "x", {})
    parameters = {"dataset": row.name, "data": str(root.relative_to(tmp_path)), "limit": 1, "weights": ""}
    parameters |= {"train_limit": 0} if row.trains else {"weights": "published"}

    def wanted() -> dict[str, Any]:
        return {"notebook": "", "parameters": {}, "versions": {}, "code": {}} | {
            "data": Inputs(tmp_path).of(experiment, parameters)
        }

    before = wanted()
    assert differences(before, wanted()) == []
    splits = ["test", "training"] if row.trains else ["test"]
    for split, what in zip(data.base.SPLITS, (f"{name} images" for name in splits), strict=False):
        images = row.open(root, split, limit=1)
        file = Path(images.root, images.tars[0] if row.name == "shards" else images.paths[0])
        edit(file, keep_time=True)
        assert differences(before, wanted()) == [f"data changed: {what}"]
        before = wanted()
    shutil.rmtree(root)
    assert set(wanted()["data"].values()) == {None}
    assert differences(before, wanted()) == [], "what is not there cannot be compared"
    root.mkdir()
    (root / "rest.txt").write_text("x")
    assert differences(before, wanted()) == [f"data changed: {', '.join(f'{name} images' for name in splits)}"]


FILES_OF_EXPERIMENTS = ["weights", "backbone", "real_labels", "image"]


@pytest.mark.parametrize("name", FILES_OF_EXPERIMENTS)
def test_other_files_of_an_experiment_count(name: str, tmp_path: Path) -> None:
    (tmp_path / "file.x").write_bytes(b"abcdef" * 10)
    inputs = Inputs(tmp_path)

    def found() -> dict[str, str | None]:
        return inputs.of(Experiment("s", "x", {}), {name: "file.x", "model": "x"})

    before = found()
    os.utime(tmp_path / "file.x")
    assert found() == before
    assert set(before) == {name}
    edit(tmp_path / "file.x", keep_time=True)
    assert found() != before
    (tmp_path / "file.x").unlink()
    assert found() == {name: None}


def test_runs_from_outside_count_with_their_images(tmp_path: Path) -> None:
    row = SETS[0]
    root, run = row.make(tmp_path / "set"), tmp_path / "run"
    run.mkdir()
    parameters = {"dataset": row.name, "data": str(root), "limit": 0, "train_limit": 0, "weights": ""}
    (run / "result.json").write_text(json.dumps({"parameters": parameters}))
    (run / "records.parquet").write_bytes(b"records of images " * 3)
    before = Inputs(tmp_path).of(Experiment("s", "x", {}), {"runs": ["run"]})
    assert set(before) == {"result.json of run", "records.parquet of run", "test images of run"}
    for path in (run / "records.parquet", sorted(root.glob(row.images))[0]):
        edit(path, keep_time=True)
        after = Inputs(tmp_path).of(Experiment("s", "x", {}), {"runs": ["run"]})
        assert sum(after[name] != before[name] for name in before) == 1
        before = after


class TestCache:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "file").write_bytes(b"content")
        return tmp_path / "file"

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        found, known = [], contents.Part.read
        monkeypatch.setattr(contents.Part, "read", lambda part: found.append(part.place) or known(part))
        return found

    def test_a_file_that_was_just_written_is_not_remembered(
        self, file: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(storage, "RACY", 2e9)
        for _ in range(2):
            contents.file_digest(file)
        assert len(reads) == 2

    @pytest.mark.parametrize("how", ["none", "no home", "relative", "file", "damaged", "read-only", "other table"])
    def test_without_a_cache_digests_are_computed(
        self, how: str, file: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = contents.file_digest(file)
        match how:
            case "no home":
                monkeypatch.delenv("XDG_CACHE_HOME")
                monkeypatch.setenv("HOME", "")
            case "relative":
                monkeypatch.setenv("XDG_CACHE_HOME", "here")
            case "file":
                monkeypatch.setenv("XDG_CACHE_HOME", str(file))
            case "damaged":
                own_cache.write_bytes(b"no database" * 1000)
            case "read-only":
                monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
            case "other table":
                with sqlite3.connect(own_cache) as connection:
                    connection.execute("DROP TABLE contents")
                    connection.execute("CREATE TABLE contents (other TEXT)")
        assert contents.file_digest(file) == expected
        assert contents.file_digest(file) == expected

    def test_a_locked_cache_is_not_waited_for_long(
        self, file: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = contents.file_digest(file)
        monkeypatch.setattr(contents, "WAIT", 0.1)
        connection = sqlite3.connect(own_cache, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        assert contents.file_digest(file) == expected
        connection.close()

    def test_a_damaged_cache_is_begun_again(self, file: Path, own_cache: Path, reads: list[str]) -> None:
        own_cache.parent.mkdir(parents=True)
        own_cache.write_bytes(b"no database" * 1000)
        for _ in range(3):
            contents.file_digest(file)
        assert len(reads) == 2

    @pytest.mark.parametrize("missing", ["gone", "a folder"])
    def test_what_cannot_be_read_is_named(self, missing: str, tmp_path: Path) -> None:
        (tmp_path / "a folder").mkdir()
        with pytest.raises(InputError, match=f"{missing}'"):
            contents.file_digest(tmp_path / missing)


def test_a_file_elsewhere_is_told_by_size_and_version() -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/contents/a", b"one")
    before = contents.file_digest("memory://contents/a")
    assert contents.file_digest("memory://contents/a") == before
    files.pipe("/contents/a", b"two")
    assert contents.file_digest("memory://contents/a") != before


def test_an_analysis_refuses_other_images(tmp_path: Path) -> None:
    row = SETS[0]
    root = row.make(tmp_path / "set")
    result = {"provenance": {"data_digest": row.open(root).digest}}
    assert evaluated(row.open(root), result, "run").name == row.name
    edit(sorted(root.glob(row.images))[0], keep_time=True)
    with pytest.raises(InputError, match="images of 'run' are not those that it was evaluated on; run it again"):
        evaluated(row.open(root), result, "run")


def test_an_interrupted_evaluation_does_not_resume_on_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = SETS[0]
    root, seen = row.make(tmp_path / "set"), []
    monkeypatch.setattr(records, "SECONDS_BETWEEN_PARTS", -1.0)
    load, protocol = ImageFiles.load, Protocol(batch_size=1, device="cpu")

    def evaluate(last: int) -> None:
        def noted(images: ImageFiles, index: int) -> Image.Image:
            seen.append(index)
            if index == last:
                raise KeyboardInterrupt
            return load(images, index)

        monkeypatch.setattr(ImageFiles, "load", noted)
        torch.manual_seed(0)
        evaluate_classifier(Linear(2), row.open(root), Preprocessing(crop_size=8), tmp_path / "out", protocol)

    for change in (lambda: None, lambda: shutil.copy(root / "val/dog/0.jpg", root / "val/cat/0.jpg")):
        with pytest.raises(KeyboardInterrupt):
            evaluate(3)
        change()
    seen.clear()
    evaluate(-1)
    assert set(seen) == set(range(8)), "of the rows that were made before the edit none is kept"


@pytest.mark.parametrize("changed", ["train", "val"])
def test_a_training_does_not_resume_on_other_images(changed: str, tmp_path: Path) -> None:
    root = SETS[0].make(tmp_path / "set")

    def identity() -> str:
        images = [SETS[0].open(root, split) for split in ("train", "test")]
        given = (Recipe(batch_size=4), Preprocessing(crop_size=28), "cpu", 0)
        return str(_Classification("mini_resnest11", *images, *given).identity)

    before = identity()
    assert identity() == before
    edit(root / changed / "cat/0.jpg", keep_time=True)
    assert identity() != before
