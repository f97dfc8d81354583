"""`resnest-core weights`, as a user types it."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from resnest_core import checkpoints
from resnest_core.cli.weights import app
from resnest_core.errors import InputError
from tests.mirror import running, sends

UNDIGESTED = "faster_rcnn_resnest50_fpn_dcn"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNEST_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


def lines(*arguments: str, status: int = 0) -> list[str]:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == status, result.output
    return result.output.splitlines()


def line(name: str, text: list[str]) -> str:
    (found,) = [line for line in text if line.split()[:1] == [name]]
    return " ".join(found.split())


def put(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch, *, right: bool = True) -> Path:
    path = directory / checkpoints.published(name).file
    torch.save({"weight": torch.ones(3)}, path)
    if right:
        digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        monkeypatch.setitem(checkpoints.MANIFEST, name, replace(checkpoints.published(name), sha256=digits))
    return path


def test_list_shows_all_and_what_is_here(directory: Path) -> None:
    (directory / checkpoints.published("resnest101").file).touch()
    text = lines("list")
    assert line("resnest50", text) == "resnest50 classification top1 81.03 SHA-256 begins 528c19ca no"
    assert line("resnest101", text).endswith("SHA-256 begins 22405ba7 yes")
    assert line(UNDIGESTED, text) == f"{UNDIGESTED} object_detection box_AP 44.11 no published digest no"
    assert line("resnest50_detectron", text).split()[2] == "none"
    assert sum(row.endswith((" yes", " no")) for row in text) == 49
    assert str(directory) in text[-1]


def test_check_tells_right_wrong_and_absent(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("resnest50", directory, monkeypatch)
    wrong = put("resnest101", directory, monkeypatch, right=False)
    undigested = directory / checkpoints.published(UNDIGESTED).file
    torch.save({"weight": torch.ones(3)}, undigested)
    text = lines("check", "--offline", status=1)
    assert line("resnest50", text).startswith("resnest50 right SHA-256 begins")
    assert line("resnest101", text).startswith(f"resnest101 WRONG {wrong} has the SHA-256")
    assert line("resnest200", text) == "resnest200 absent"
    digest = hashlib.sha256(undigested.read_bytes()).hexdigest()
    size = undigested.stat().st_size
    assert line(UNDIGESTED, text) == f"{UNDIGESTED} readable no published digest; {size:,} bytes, SHA-256 {digest}"


def test_check_of_a_named_file_fails_where_it_is_absent(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("resnest50", directory, monkeypatch)
    assert len(lines("check", "resnest50", "--offline")) == 3
    lines("check", "resnest50", "resnest101", "--offline", status=1)
    lines("check", "--offline")


def test_check_asks_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as mirror:
        urls = (mirror.url("/a", sends(b"")), mirror.url("/b", sends(b"", status=403)))
        monkeypatch.setitem(checkpoints.MANIFEST, "resnest50", replace(checkpoints.published("resnest50"), urls=urls))
        text = lines("check", "resnest50", status=1)
    host = f"127.0.0.1:{mirror.port}"
    assert line(host, text) == f"{host} 1 of 2 403 Client Error: Forbidden"


def test_fetch_twice_then_elsewhere(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put("resnest50", directory, monkeypatch)
    content = path.read_bytes()
    path.unlink()
    with running() as mirror:
        urls = (mirror.url("/a", sends(content)),)
        monkeypatch.setitem(checkpoints.MANIFEST, "resnest50", replace(checkpoints.published("resnest50"), urls=urls))
        assert lines("fetch", "resnest50") == [f"resnest50: fetched and verified: {path}"]
        assert lines("fetch", "resnest50") == [f"resnest50: already here and right: {path}"]
        lines("fetch", "resnest50", "--directory", str(directory / "other"))
        assert len(mirror.requests) == 2
    assert (directory / "other" / path.name).read_bytes() == content


def test_fetch_goes_on_after_a_failure(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put("resnest50", directory, monkeypatch)
    with running() as mirror:
        record = replace(checkpoints.published("resnest101"), urls=(mirror.url("/a", sends(b"", status=403)),))
        monkeypatch.setitem(checkpoints.MANIFEST, "resnest101", record)
        text = lines("fetch", "resnest101", "resnest50", status=2)
    assert text[0].startswith("error: 'resnest101' could not be fetched (127.0.0.1:")
    assert "403" in text[0]
    assert text[1] == f"resnest50: already here and right: {path}"
    assert [p.name for p in directory.iterdir()] == [path.name]


@pytest.mark.parametrize("command", ["check", "fetch"])
def test_unknown_name_is_an_error_before_any_work(command: str) -> None:
    result = CliRunner().invoke(app, [command, "resnest50", "resnest5O"])
    assert isinstance(result.exception, InputError)
    assert "'resnest5O'" in str(result.exception)
    assert result.output == ""
