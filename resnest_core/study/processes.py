"""Processes that end with their parent, and what a killed run left behind."""

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from resnest_core.errors import InputError

MARK = "RESNEST_STUDY_BUILD"  # in the environment of every process of a run: the directory that it writes to
PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Let the kernel kill this process as soon as its parent is gone (on Linux; elsewhere the next run does it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_leftovers(build: Path) -> None:
    """Kill every process that carries the mark of `build`, and wait until none is left.

    Only the holder of `sole_run(build)` may call it: then all of them belong to a run that is no more.
    """
    while found := [process for process in psutil.process_iter() if _belongs(process, build)]:
        for process in found:
            process.kill()
        _, alive = psutil.wait_procs(found, timeout=10)
        for process in alive:
            print(f"waiting for process {process.pid} of an earlier run to end", file=sys.stderr)


def _belongs(process: psutil.Process, build: Path) -> bool:
    try:
        alive = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
        return alive and process.environ().get(MARK) == str(build)
    except (psutil.Error, OSError):  # another user's, or gone
        return False


@contextmanager
def sole_run(build: Path) -> Iterator[None]:
    """Hold the lock of `build`, which the system lets go of however this process ends.

    Raises: InputError, naming the process, if another run has it.
    """
    with open(build / ".lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InputError(
                f"{build} is in use by another run (process {lock.read().strip()}); wait for it, or end it"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
