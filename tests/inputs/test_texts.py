"""Text files in whatever encoding people have them, names of every kind, and terminals that lack characters."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs.sets import SETS, Row, each_set, photograph, save, write
from study.small_study import plant

from resnest_core import data, texts
from resnest_core.analyses.real_labels import read_real_labels
from resnest_core.cli import main
from resnest_core.data import imagenet_labels
from resnest_core.data.imagenet import synsets
from resnest_core.data.shard_index import make_index
from resnest_core.data.shard_writer import write_shards
from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol, evaluate_classifier
from resnest_core.models import create_model
from resnest_core.study.profiles import load_profile

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252")
ENDS = ("\n", "\r\n", "\r")
each_encoding = pytest.mark.parametrize("encoding", ENCODINGS)
each_end = pytest.mark.parametrize("end", ENDS, ids=["lf", "crlf", "cr"])


def recode(path: Path, encoding: str, end: str = "\n") -> None:
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", end).encode(encoding))


def umlauts(root: Path) -> Path:
    for name in ("Bär", "Zuñi"):
        save(root / f"bilder/{name}.png", photograph(name))
    write(root / "classes.txt", "Bär\nZuñi\n")
    write(root / "val.csv", '# root: bilder\n"Bär.png","Bär"\n"Zuñi.png","Zuñi"\n')
    write(root / "train.txt", "# root: bilder\nBär.png\tBär\nZuñi.png\tZuñi\n")
    return root


@each_encoding
@each_end
def test_lists_and_classes_are_read(encoding: str, end: str, tmp_path: Path) -> None:
    root = umlauts(tmp_path)
    for name in ("classes.txt", "val.csv", "train.txt"):
        recode(root / name, encoding, end)
    for split in ("test", "train"):
        dataset = data.open_dataset("file_list", root, split=split)
        assert dataset.classes == ("Bär", "Zuñi")
        assert list(dataset.paths) == ["Bär.png", "Zuñi.png"]
        dataset.load(1)


def test_windows_1252_is_said_once_with_what_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "classes.txt", "ant\nBär\n")
    recode(tmp_path / "classes.txt", "cp1252")
    for _ in range(2):
        assert texts.read_text(tmp_path / "classes.txt") == "ant\nBär\n"
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "classes.txt' is no UTF-8 and was read as Windows-1252, as in 'Bär'" in said


@pytest.mark.parametrize("content", [b"caf\x81", "Bär\n".encode("utf-16")[2:], b"\xff\xfeB\x00\xe4"], ids=str)
def test_what_is_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.txt' is no text in UTF-8; valid: text in UTF-8, or in UTF-16 with"):
        texts.read_text(tmp_path / "x.txt")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=2))
@settings(max_examples=200)
def test_any_text_in_utf_comes_back(text: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert texts.decode_text(text.encode(encoding), "x") == lines


@each_encoding
@each_end
def test_labels_of_imagenet_are_read(encoding: str, end: str, tmp_path: Path) -> None:
    images = tmp_path / "val"
    name = "ILSVRC2012_val_00000001"
    save(images / f"{name}.JPEG", photograph(name))
    write(images / imagenet_labels.KAGGLE, f"ImageId,PredictionString\n{name},{synsets()[7]} 1 2 3 4\n")
    recode(images / imagenet_labels.KAGGLE, encoding, end)
    assert data.open_dataset("imagenet", tmp_path).targets.tolist() == [7]
    (images / imagenet_labels.KAGGLE).unlink()
    write(images / imagenet_labels.MAP, "".join(f"{s} {i} name\n" for i, s in enumerate(synsets(), 1)))
    write(images / imagenet_labels.GROUND_TRUTH, "3\n")
    for file in (imagenet_labels.MAP, imagenet_labels.GROUND_TRUTH):
        recode(images / file, encoding, end)
    assert data.open_dataset("imagenet", tmp_path).targets.tolist() == [2]


@each_encoding
def test_json_and_profiles_and_splits_are_read(encoding: str, tmp_path: Path) -> None:
    write(tmp_path / "real.json", "[[1], []]")
    recode(tmp_path / "real.json", encoding)
    assert read_real_labels(tmp_path / "real.json") == [frozenset({1}), frozenset()]
    profile = "description: für Bär\nstudies: {base: {experiments: [{name: a}]}}\n"
    write(tmp_path / "p.yaml", profile)
    recode(tmp_path / "p.yaml", encoding, "\r\n")
    assert load_profile(tmp_path / "p.yaml").description == "für Bär"
    for row in SETS:
        if row.name in ("coco_format", "pcontext"):
            root = row.make(tmp_path / row.name)
            [recode(path, encoding) for path in tmp_path.glob(f"{row.name}/**/*.json")]
            [recode(path, encoding, "\r\n") for path in tmp_path.glob(f"{row.name}/**/*.txt")]
            assert len(row.open(root)) == 2


NAMES = [
    "with space",
    "{model}",
    "{",
    "a'b\"c",
    "Übung",
    "100%s",
    "[0-9]",
    "a\nb",
    "$x$",
    "-x",
    "a;b&c",
    "#1",
    "~",
    "\\n",
]


@each_set
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_place_may_have_any_name(row: Row, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = row.make(tmp_path / name)
    dataset = row.open(root)
    dataset.load(len(dataset) - 1)
    assert dataset.digest
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("data: ") for line in lines)


BYTES = os.fsdecode(b"b\xe4r")  # Latin-1's ä, which is no UTF-8


@pytest.mark.parametrize("name", [BYTES, "a\nb", "Ba\u0308r", *NAMES[:4]], ids=ascii)
def test_images_and_folders_of_any_name_are_read_and_recorded(name: str, tmp_path: Path) -> None:
    save(tmp_path / "x.png", photograph(""))
    picture = (tmp_path / "x.png").read_bytes()  # Pillow itself cannot write to such names
    for split in ("val", "train"):
        for folder in (name, "zebra"):
            (place := tmp_path / "set" / split / folder).mkdir(parents=True)
            (place / f"{name}.png").write_bytes(picture)
    dataset = data.open_dataset("imagefolder", tmp_path / "set")
    shown = texts.printable(name)
    assert set(dataset.classes) == {texts.composed(name), "zebra"}
    evaluated(dataset, tmp_path / "out")
    images = pq.read_table(tmp_path / "out/records.parquet")["image"].to_pylist()
    assert sorted(images) == sorted([f"{shown}/{shown}.png", f"zebra/{shown}.png"])
    json.loads((tmp_path / "out/result.json").read_text())
    write_shards(dataset, tmp_path / "shards")
    shards = data.open_dataset("shards", tmp_path / "shards")
    assert sorted(shards.paths) == sorted(images)
    assert shards.classes == dataset.classes
    assert make_index(str(tmp_path / "shards"), shards.classes).table.num_rows == 2


def evaluated(dataset: Any, out: Path) -> None:
    torch.manual_seed(0)
    model = create_model("mini_resnest11", num_classes=2)
    evaluate_classifier(model, dataset, Preprocessing(crop_size=32), out, Protocol(batch_size=2, device="cpu"))


def test_printable_names_are_told_apart_and_are_one_line() -> None:
    assert texts.printable("Übung {x} 日本.jpg") == "Übung {x} 日本.jpg"
    assert texts.printable(BYTES) == "b\\xe4r"
    assert texts.printable("a\nb\tc") == "a\\nb\\tc"
    assert texts.printable("\ud800") == "\\ud800"
    texts.printable(BYTES + "\n\ud800é").encode()


@pytest.mark.parametrize("say", [print, lambda text: print(text, file=sys.stderr)], ids=["stdout", "stderr"])
def test_a_terminal_of_ascii_gets_every_line(say: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), "ascii") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    texts.never_fail_to_print()
    say(f"Übung {BYTES} → 日本")
    [stream.flush() for stream in streams]
    assert b"\\xdcbung b\\udce4r \\u2192" in b"".join(stream.buffer.getvalue() for stream in streams)  # type: ignore


def test_the_program_prints_any_name_to_a_terminal_of_ascii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stderr", error)
    place = tmp_path / f"Übung\n{BYTES}"
    monkeypatch.setattr(
        sys, "argv", ["resnest-core", "index", "--data", str(place / "nothing"), "--out", str(tmp_path)]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    error.flush()
    said = error.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert ended.value.code == 2
    assert said.count("\n") == 1
    assert "\\xdcbung\\nb\\xe4r" in said


def test_a_study_runs_in_a_directory_of_any_name(tmp_path: Path) -> None:
    root = tmp_path / 'it\'s a {study} [of] "mine" ü 100%s'
    tree = plant(root)
    tree.set_profile("{name: a, parameters: {model: 'a {b} \"c\" ü'}}")
    (root / "python").symlink_to(sys.prefix)  # an environment inside, as ./run_all.sh makes it
    tree.environment["PATH"] = f"{root / 'python/bin'}:{os.environ['PATH']}"
    tree.environment["PYTHONIOENCODING"] = "ascii"
    tree.run()
    assert tree.results()["base/a/result.json"]["lines"] == 'a {b} "c" ü 0\n'
