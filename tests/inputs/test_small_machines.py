"""Machines with little: room on the disk, shared memory, a home directory, places to run programs from."""

import errno
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from inputs.sets import photograph, save
from safetensors.torch import save_file

from resnest_core import checkpoints, compiling, diagnosis, modes, programs
from resnest_core.errors import InputError
from resnest_core.files import replacing
from resnest_core.study import environment
from resnest_core.study.layout import Layout
from resnest_core.study.run import identity

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = np.random.default_rng(0).integers(0, 2**31, 200_000)
CPU = torch.device("cpu")


def draw(path: Path) -> None:
    figure = plt.figure()
    figure.figimage(np.random.default_rng(0).random((600, 600)))
    figure.savefig(path, format="png", dpi=200)
    plt.close(figure)


def pack(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("image.jpg")
        entry.size = NUMBERS.nbytes
        archive.addfile(entry, io.BytesIO(NUMBERS.tobytes()))


def save_rows(path: Path) -> None:
    with pq.ParquetWriter(path, pa.schema([("a", pa.int64())])) as writer:
        writer.write_table(pa.table({"a": NUMBERS}))


def save_arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=NUMBERS)


WRITERS: dict[str, Callable[[Path], object]] = {
    "state of a training": lambda path: torch.save({"a": torch.from_numpy(NUMBERS)}, path),
    "weights": lambda path: save_file({"a": torch.from_numpy(NUMBERS)}, path),
    "records": save_rows,
    "tables": lambda path: pd.DataFrame({"a": NUMBERS}).to_parquet(path, index=False),
    "curves": lambda path: pd.DataFrame({"a": NUMBERS}).to_csv(path, index=False),
    "result": lambda path: path.write_text(json.dumps(NUMBERS.tolist())),
    "examples": save_arrays,
    "picture": draw,
    "shard": pack,
}


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file can grow beyond `most` bytes, which writers are told as they are of a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def fill(path: Path, write: Callable[[Path], object]) -> None:
    with small_files(100_000), replacing(path) as temporary:
        write(temporary)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_one_line_and_leaves_the_old_file(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    assert programs.outcome(lambda: fill(target, WRITERS[kind])) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith(("error: No space left on device (", "error: File too large ("))
    assert f"MB are free in '{tmp_path}'; make room there, or write elsewhere): {target}" in line
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_other_errors_of_a_writer_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file"):
        _ = 1 / 0
    with pytest.raises(InputError, match="image 1"), replacing(tmp_path / "file"):
        raise InputError("image 1 cannot be read")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with a number and nothing else, as containers have them."""

    def absent(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "RESNEST_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", absent)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_published_weights_need_a_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no home directory to keep weights in; set RESNEST_WEIGHTS"):
        checkpoints.resolve("published", "resnest50")
    assert diagnosis._weights().text.startswith("this user has no home directory")
    monkeypatch.setenv("RESNEST_WEIGHTS", str(tmp_path))
    assert diagnosis._weights().good


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_study_lends_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout("default")
    assert identity(layout) == {"HOME": str(layout.plans / "home"), "USER": f"user{os.getuid()}"}
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("USER", "somebody")
    assert identity(layout) == {}


def test_a_checkout_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(environment, "lacking", lambda *_: ["torch"])
    assert programs.outcome(lambda: bool(environment.ready_python(tmp_path, tests=False))) == 2
    assert capsys.readouterr().err == f"error: Read-only file system: {tmp_path}/.venv\n"


def test_programs_are_not_compiled_where_they_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert compiling.unloadable() == ""
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_flag=os.ST_NOEXEC))
    network = torch.nn.Conv2d(3, 4, 1).eval()
    said = rf"puts its programs into '{tmp_path}', which is mounted noexec; set TMPDIR .*, or give --mode exact"
    with pytest.raises(InputError, match=said):
        modes.Runner(network, CPU, modes.Execution(compiled="default"), torch.zeros(1, 3, 8, 8))


def test_auto_tries_what_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "can_compile", lambda device: True)
    monkeypatch.setattr(modes, "unloadable", lambda: "mounted noexec")
    network, images = torch.nn.Conv2d(3, 4, 1).eval(), torch.rand(1, 3, 8, 8)
    chosen = modes.choose(
        "auto", "fp32", CPU, lambda way: modes.Runner(network, CPU, way, images), lambda: (images, 10**9), seconds=0.0
    )
    assert {trial.execution.compiled for trial in chosen.trials} == {""}


PRIVATE = ("unshare", "--mount", "bash", "-c", 'mount -t tmpfs -o size=300k tmpfs /dev/shm && exec "$@"', "bash")


def can_mount() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run([*PRIVATE, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs the right to mount a small /dev/shm, as root has it")
def test_little_shared_memory_names_workers(tmp_path: Path) -> None:
    for i in range(64):  # a batch of 600 kB
        save(tmp_path / "set" / "train" / f"class{i % 2}" / f"{i}.jpg", photograph(str(i)))
    shutil.copytree(tmp_path / "set" / "train", tmp_path / "set" / "val")
    place = ["--dataset", "imagefolder", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "resnest_core", "train", "mini_resnest11", *place, "--batch-size", "64"]
    done = subprocess.run([*PRIVATE, *command, "--workers", "2"], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: a process that reads images could not pass them on (")
    assert "give --workers 0, or the system more shared memory" in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
