"""Fetching weights from mirrors on the loopback address, most of which misbehave."""

import errno
import hashlib
import io
import socket
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from resnest_core import checkpoints, downloads
from resnest_core.errors import InputError
from tests.mirror import Answer, Mirror, hangs_up, running, sends

NAME, ZIPPED, UNDIGESTED = "resnest50", "resnest50_encoding", "faster_rcnn_resnest50_fpn_dcn"


def saved(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.full((1000,), seed)}, buffer)
    return buffer.getvalue()


RIGHT = saved()
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running() as mirror:
        yield mirror


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNEST_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def publish(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a record of the manifest these mirrors, and the digest of RIGHT."""

    def publish(*answers: Answer, name: str = NAME) -> checkpoints.Checkpoint:
        record = checkpoints.published(name)
        urls = tuple(mirror.url(f"/{number}/{name}.{record.format}", answer) for number, answer in enumerate(answers))
        digests: dict[str, Any] = {"sha256": hashlib.sha256(RIGHT).hexdigest()[:8]} if record.sha256 else {}
        digests = {"sha1": hashlib.sha1(RIGHT).hexdigest()} if record.sha1 else digests
        record = replace(record, urls=urls, **digests)
        monkeypatch.setitem(checkpoints.MANIFEST, name, record)
        return record

    return publish


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*"))


def refused_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_right_file(publish: Any, directory: Path, mirror: Mirror) -> None:
    record = publish(sends(RIGHT))
    assert downloads.fetch(NAME) == (directory / record.file, False)
    assert (directory / record.file).read_bytes() == RIGHT
    assert files(directory) == [record.file]
    assert checkpoints.resolve("published", NAME) == directory / record.file
    assert len(mirror.requests) == 1


def test_right_file_that_is_here_is_left_alone(publish: Any, directory: Path, mirror: Mirror) -> None:
    record = publish(sends(RIGHT))
    downloads.fetch(NAME)
    assert downloads.fetch(NAME) == (directory / record.file, True)
    assert len(mirror.requests) == 1


def test_wrong_file_that_is_here_is_replaced(publish: Any, directory: Path) -> None:
    record = publish(sends(RIGHT))
    (directory / record.file).write_bytes(RIGHT[:-5])
    assert not downloads.fetch(NAME).already_here
    assert (directory / record.file).read_bytes() == RIGHT


def test_other_directory_is_made(publish: Any, directory: Path) -> None:
    record = publish(sends(RIGHT))
    other = directory / "a" / "b"
    assert downloads.fetch(NAME, other).path == other / record.file
    assert files(other) == [record.file]


def without_length(body: bytes) -> Answer:
    def answer(request: Any) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(body)

    return answer


BAD = {
    "wrong digest": (sends(saved(1)), f"has the SHA-256 {hashlib.sha256(saved(1)).hexdigest()}, not "),
    "HTML": (sends(HTML), f"it has {len(HTML)} bytes and begins with b'<!DOCTYPE html><'"),
    "truncated": (sends(RIGHT[:3000], announced=len(RIGHT)), f"3000 bytes read, {len(RIGHT) - 3000} more expected"),
    "truncated, no length": (without_length(RIGHT[:3000]), "it has 3,000 bytes"),
    "empty": (sends(b""), "it has 0 bytes"),
    "403": (sends(b"quota", status=403), "403 Client Error: Forbidden); put "),
    "500": (sends(b"", status=500), "500 Server Error"),
    "dropped": (hangs_up, "1:{port}: Remote end closed connection without response); put "),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_mirror_leaves_nothing_and_says_why(kind: str, publish: Any, directory: Path, mirror: Mirror) -> None:
    answer, reason = BAD[kind]
    record = publish(answer)
    with pytest.raises(InputError) as error:
        downloads.fetch(NAME)
    text = str(error.value)
    assert record.urls[0] in text
    assert f"(127.0.0.1:{mirror.port}: " in text
    assert reason.replace("{port}", str(mirror.port)) in text
    assert files(directory) == []


@pytest.mark.parametrize("kind", BAD)
def test_next_mirror_is_asked_after_a_bad_one(kind: str, publish: Any, directory: Path, mirror: Mirror) -> None:
    record = publish(BAD[kind][0], sends(RIGHT), sends(RIGHT))
    assert downloads.fetch(NAME).path.read_bytes() == RIGHT
    assert files(directory) == [record.file]
    assert [path for _, path in mirror.requests] == [f"/0/{NAME}.pth", f"/1/{NAME}.pth"]


def test_bad_mirror_does_not_destroy_what_is_here(publish: Any, directory: Path) -> None:
    record = publish(BAD["HTML"][0])
    (directory / record.file).write_bytes(b"an older file")
    with pytest.raises(InputError):
        downloads.fetch(NAME)
    assert (directory / record.file).read_bytes() == b"an older file"


def test_no_network_tells_how_to_get_the_file_otherwise(
    directory: Path, monkeypatch: pytest.MonkeyPatch, mirror: Mirror
) -> None:
    port = refused_port()
    urls = (f"http://127.0.0.1:{port}/a.pth", f"http://127.0.0.1:{port}/b.pth")
    record = replace(checkpoints.published(NAME), urls=urls)
    monkeypatch.setitem(checkpoints.MANIFEST, NAME, record)
    with pytest.raises(InputError) as error:
        downloads.fetch(NAME)
    text = str(error.value)
    for part in (NAME, record.file, *urls, "SHA-256 begins 528c19ca", str(directory)):
        assert part in text
    assert text.count("Connection refused") == 2
    assert "\n" not in text
    assert "HTTPConnection" not in text
    assert files(directory) == []


def test_error_is_the_mirror_s_even_while_another_is_handled(publish: Any, directory: Path) -> None:
    publish(BAD["403"][0])
    try:
        raise KeyError("not this one")
    except KeyError:
        with pytest.raises(InputError, match="403 Client Error: Forbidden") as error:
            downloads.fetch(NAME)
    assert "not this one" not in str(error.value)


def zipped(content: bytes, member: str = "resnest50.pth") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return buffer.getvalue()


def test_zip_is_verified_inside_and_taken_out(publish: Any, directory: Path) -> None:
    record = publish(sends(zipped(RIGHT)), name=ZIPPED)
    assert downloads.fetch(ZIPPED).path == directory / record.file
    assert (directory / record.file).read_bytes() == RIGHT
    assert files(directory) == ["resnest50-fb9de5b3.pth"]
    assert downloads.fetch(ZIPPED).already_here


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (zipped(saved(1)), "has the SHA-1"),
        (zipped(RIGHT, "readme.txt"), "is a zip with 0 .pth files"),
        (zipped(RIGHT)[:-30], "has the SHA-1"),
        (HTML, "begins with b'<!DOCTYPE html><'"),
    ],
)
def test_bad_zip(body: bytes, reason: str, publish: Any, directory: Path) -> None:
    publish(sends(body), name=ZIPPED)
    with pytest.raises(InputError, match=f"what it sent {reason}|{reason}"):
        downloads.fetch(ZIPPED)
    assert files(directory) == []


def test_file_without_digest_must_be_readable(publish: Any, directory: Path) -> None:
    record = publish(sends(HTML), sends(RIGHT[:3000]), sends(RIGHT), name=UNDIGESTED)
    assert record.digest is None
    assert downloads.fetch(UNDIGESTED).path.read_bytes() == RIGHT
    assert files(directory) == [record.file]


def test_unwritable_directory(publish: Any, directory: Path, mirror: Mirror) -> None:
    publish(sends(RIGHT))
    (directory / "file").touch()
    with pytest.raises(InputError, match="file/weights' cannot be written"):
        downloads.fetch(NAME, directory / "file" / "weights")
    assert mirror.requests == [], "the directory is tried before the network"


def test_full_disk_is_not_blamed_on_the_mirror(
    publish: Any, directory: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = publish(sends(RIGHT), sends(RIGHT))

    class FullDisk(io.FileIO):
        def write(self, data: Any) -> int:
            super().write(bytes(data)[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", *rest: FullDisk(path, "w") if mode == "wb" else opened(path, mode, *rest)
    )
    with pytest.raises(InputError) as error:
        downloads.fetch(NAME)
    said = f"'{directory / record.file}' cannot be written: No space left on device ("
    assert str(error.value).startswith(said)
    assert str(error.value).endswith(f"MB are free in '{directory}'; make room there, or write elsewhere)")
    assert files(directory) == []
    assert len(mirror.requests) == 1


def test_interrupt_leaves_nothing(publish: Any, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    publish(sends(RIGHT))
    monkeypatch.setattr(checkpoints, "problem", interrupt)
    with pytest.raises(KeyboardInterrupt):
        downloads.fetch(NAME)
    assert files(directory) == []


def test_unknown_name_is_refused_before_anything_is_made(directory: Path) -> None:
    with pytest.raises(InputError, match="unknown published weights 'resnest51'"):
        downloads.fetch("resnest51", directory / "new")
    assert files(directory) == []


def test_hosts_are_asked_without_fetching(publish: Any, mirror: Mirror) -> None:
    publish(sends(RIGHT), sends(b"", status=403))
    host = f"127.0.0.1:{mirror.port}"
    assert downloads.ask_hosts([NAME]) == [downloads.HostAnswer(host, 2, 1, "403 Client Error: Forbidden")]
    assert {method for method, _ in mirror.requests} == {"HEAD"}


def test_silent_host_is_asked_once(publish: Any, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hangs_up, sends(RIGHT))
    dead = replace(checkpoints.published("resnest101"), urls=(f"http://127.0.0.1:{refused_port()}/x",))
    monkeypatch.setitem(checkpoints.MANIFEST, "resnest101", dead)
    silent, refused = downloads.ask_hosts([NAME, "resnest101"])
    assert (silent.files, silent.answered) == (2, 0)
    assert "Remote end closed" in silent.reason
    assert (refused.files, refused.answered) == (1, 0)
    assert "Connection refused" in refused.reason
    assert len(mirror.requests) == 1


def test_progress_is_shown_on_a_terminal(
    publish: Any, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = publish(sends(RIGHT))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    downloads.fetch(NAME)
    shown = capsys.readouterr().err
    assert record.file in shown
    assert "100%" in shown
