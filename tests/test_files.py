"""Files are whole or absent, whatever goes wrong."""

import errno
import json
from pathlib import Path

import pytest

from resnest_core.errors import InputError, unknown
from resnest_core.files import output_directory, replacing, sha256, write_json


def test_replacing_leaves_the_old_file_and_nothing_else_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    target.write_text("old")

    def fill_the_disk() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fill_the_disk()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_replacing_gives_the_permissions_of_an_ordinary_new_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_text("")
    with replacing(tmp_path / "replaced") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "replaced").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_json_refuses_nan_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "result.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "result.json", {"value": 1.5})
    assert json.loads((tmp_path / "result.json").read_text()) == {"value": 1.5}


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_output_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"output directory '.*file/out' cannot be written \(Not a directory\)"):
        output_directory(tmp_path / "file" / "out")


def test_an_unknown_name_lists_the_valid_ones_and_the_closest() -> None:
    assert str(unknown("model", "resnst50", ["resnest50", "alexnet"])) == (
        "unknown model 'resnst50' (did you mean 'resnest50'?); valid: alexnet, resnest50"
    )
