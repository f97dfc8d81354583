"""Whatever fails ends with one line and its status; the traceback of what nobody foresaw is kept."""

import errno
import io
import re
import sys
from pathlib import Path

import pytest
import torch
from inputs.sets import SETS, Row

import resnest_core as rc
from resnest_core import cli, programs
from resnest_core.article.__main__ import main as article
from resnest_core.errors import InputError
from resnest_core.site.__main__ import main as site

Capture = pytest.CaptureFixture[str]


def said(error: BaseException, capsys: Capture) -> tuple[int, str]:
    """Status and line of a program that raises `error`."""

    def main() -> None:
        raise error

    status, line = programs.outcome(main), capsys.readouterr().err
    assert line.count("\n") == (line != "")
    return status, line.removesuffix("\n")


FORESEEN: dict[str, tuple[BaseException, int, str]] = {
    "input": (InputError("crop size 0 is not possible; valid: 1 or more"), 2, "error: crop size 0 is not possible; "),
    "file": (
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        2,
        "error: No such file or directory: x",
    ),
    "interrupted": (KeyboardInterrupt(), 130, "interrupted"),
    "pipe": (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
    "numpy's memory": (
        MemoryError("Unable to allocate 8 GiB\nfor an array"),
        2,
        "error: memory does not suff",
    ),
    "memory": (MemoryError(), 2, "error: memory does not suffice (none is left)"),
    "memory of a GPU": (
        torch.OutOfMemoryError("CUDA out of memory. Tried\nto"),
        2,
        "error: memory does not",
    ),
    "torch's memory": (
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
        2,
        "error: memory does not suffice",
    ),
    "a worker that was killed": (
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that shared memory"),
        2,
        "error: a process that reads images could not pass them on",
    ),
    "a worker without room": (
        RuntimeError(
            "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File\n"
            "RuntimeError: unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)\n"
        ),
        2,
        "error: a process that reads images could not pass them on (unable to allocate shared memory(shm) for file",
    ),
    "asked": (SystemExit("error: the run ended with status 2"), 1, "error: the run ended with status 2"),
}


@pytest.mark.parametrize("case", FORESEEN)
def test_what_can_happen_is_one_line(case: str, capsys: Capture) -> None:
    error, status, start = FORESEEN[case]
    found = said(error, capsys)
    assert found[0] == status
    assert found[1].startswith(start)


@pytest.mark.parametrize("error", [ValueError("a\nb"), RecursionError("deep"), AssertionError(), KeyError("x" * 9999)])
def test_the_traceback_of_anything_else_is_kept(
    error: Exception, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, line = said(error, capsys)
    assert status == 1
    assert len(line) < 600
    found = re.fullmatch(rf"error: unforeseen {type(error).__name__}.*; the whole traceback is in (.*\.txt)", line)
    assert found
    kept = Path(found[1]).read_text()
    assert "Traceback (most recent call last)" in kept
    assert "in main" in kept


def test_where_no_traceback_can_be_kept_the_line_says_where_it_was(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    status, line = said(ValueError("x"), capsys)
    assert status == 1
    assert re.search(r"raised in .*test_failures.py, line \d+ \(the traceback cannot be stored: No space left", line)


def test_of_several_processes_the_first_to_fail_speaks(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnest_core.distributed.is_first_to_fail", lambda: False)
    assert said(InputError("x"), capsys) == (2, "")
    assert said(ValueError("x"), capsys) == (1, "")


class Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_output_that_is_full_is_said(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    assert programs.outcome(lambda: None) == 2
    assert capsys.readouterr().err == "error: No space left on device\n"


def test_a_bar_of_progress_does_not_share_the_line(capsys: Capture) -> None:
    from tqdm.auto import tqdm

    def main() -> None:
        bar = tqdm(total=3, desc="reading")
        bar.update()
        raise InputError("image 1 is damaged")

    assert programs.outcome(main) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: image 1 is damaged"


def test_usage_is_one_line(capsys: Capture) -> None:
    for main in (article, site):
        assert main([]) == 2
        assert capsys.readouterr().err == "error: the following arguments are required: BUILD_DIR; see --help\n"


def command(row: Row, root: Path, out: Path) -> list[str]:
    """The evaluation of a set by weights that fit it."""
    options = {"detection": {"categories": ("nut", "bolt")} if row.classes == 2 else {}}
    given = options.get(row.task, {"num_classes": row.classes})
    weights = out.with_suffix(".pth")
    torch.manual_seed(0)
    torch.save(rc.create_model(row.model, **given).state_dict(), weights)
    place = ["--dataset", row.name, "--data", str(root), "--weights", str(weights)]
    return ["evaluate", row.model, *place, "--out", str(out), "--device", "cpu"]


# A set for each loader; that each set refuses a damaged image is tried without processes, which take seconds to start.
LOADERS = [row for row in SETS if row.name in ("imagefolder", "shards", "ade20k", "coco_format")]


@pytest.mark.parametrize("row", LOADERS, ids=lambda row: row.name)
def test_what_a_process_of_a_loader_refuses_is_one_line(
    row: Row, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = row.make(tmp_path / "set")
    damaged = sorted(root.glob(row.images if row.reads_files else "test/*.tar"))[-1]
    content = bytearray(damaged.read_bytes())
    content[100 if row.reads_files else 600 : len(content) // 2] = bytes(
        len(content) // 2 - (100 if row.reads_files else 600)
    )
    damaged.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["resnest-core", *command(row, root, tmp_path / "out"), "--workers", "2"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in line
    assert damaged.stem.split("_leftImg8bit")[0] in line or "dog" in line
    assert not list((tmp_path / "out").glob("*.parquet"))
    assert not (tmp_path / "out" / "result.json").exists()
