"""Programs end with their status and with one line, and no thread outlives them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def ended(body: str) -> subprocess.CompletedProcess[str]:
    """A program of the project that does `body`."""
    program = f"from resnest_core.programs import run_program\ndef main():\n    {body}\nrun_program(main)"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)


# A thread that is still at work in a library, and one that must not be cut off; what Python does at its end.
THREADS = (
    "import threading, time, atexit; atexit.register(print, 'at exit'); "
    "threading.Thread(target=time.sleep, args=[600], daemon=True).start(); "
    "threading.Thread(target=lambda: (time.sleep(0.2), print('finished'))).start(); "
)


@pytest.mark.parametrize(
    ("last", "status"), [("return 0", 0), ("raise SystemExit(3)", 3), ("raise KeyboardInterrupt", 130), ("1 / 0", 1)]
)
def test_an_end_waits_for_what_python_waits_for(last: str, status: int) -> None:
    done = ended(THREADS + last)
    assert done.returncode == status
    assert done.stdout == "finished\nat exit\n"
    assert done.stderr.count("\n") == (status in (1, 130))


def test_nothing_is_taken_apart_while_threads_run() -> None:
    """An object that a library's thread may let go of is not freed while the interpreter ends."""
    freed = "{'__del__': lambda self, write=os.write: write(1, b'freed')}"
    body = f"import os, __main__; __main__.held = type('Held', (), {freed})()"
    assert ended(body).stdout == ""


def test_every_program_ends_in_the_one_place() -> None:
    programs = [
        path
        for folder in ("resnest_core", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    ]
    assert len(programs) > 8
    kernels = {"ready.py", "ready_kernel.py"}  # forked, killed by the runner; without site-packages
    for path in programs:
        one_place = re.search(r"run_program\(|run_command\(main\)|program\(\)$", path.read_text(), re.MULTILINE)
        assert one_place or path.name in kernels, f"{path} ends by itself"


def test_arrow_reads_python_objects_without_threads() -> None:
    """Its threads would let go of them at a time of their own, which may be when Python ends."""
    for path in (ROOT / "resnest_core").rglob("*.py"):
        text = path.read_text()
        if "pq.ParquetFile(" in text:
            assert text.count("use_threads=False") == text.count("pq.ParquetFile("), path
