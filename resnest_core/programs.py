"""How every program of the project ends: with one line for what went wrong, and without a thread that outlives it.

Standard library only, since `run_all.sh` begins with it.
"""

import argparse
import atexit
import os
import shlex
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from resnest_core import distributed
from resnest_core.errors import InputError, one_line
from resnest_core.files import FULL_WORDS
from resnest_core.texts import never_fail_to_print, printable

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
LONGEST = 300  # characters of an unforeseen error's message in its line
TOO_LITTLE_MEMORY = ("can't allocate memory", "out of memory")
# How torch says that a process of a loader could not pass on what it had read, or was killed.
TOO_LITTLE_SHARED = ("shared memory", "DataLoader worker (pid", "received 0 items of ancdata")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Run `main`, which returns a status or none for 0, and end this process."""
    end(outcome(main))


def outcome(main: Callable[[], int | None]) -> int:
    """The status of `main`; whatever it raises becomes a line on stderr.

    2 for bad input and the system's refusals, 130 for an interruption, 1 for what nobody foresaw: then the line says
    where the whole traceback is. Of several processes the first to fail says why.
    """
    never_fail_to_print()
    try:
        status = main() or 0
        sys.stdout.flush()
    except SystemExit as asked:
        return _asked(asked.code)
    except KeyboardInterrupt:
        return _told("interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever reads what is printed has enough, as `head` does
        return FAILED
    except Exception as error:
        sys.last_value = error  # what it holds is not taken apart, which could print more than the line
        foreseen = explained(error)
        if not distributed.is_first_to_fail():
            return REFUSED if foreseen else FAILED
        return _told(f"error: {foreseen}", REFUSED) if foreseen else _told(f"error: {_unforeseen(error)}", FAILED)
    return status


def explained(error: Exception) -> str | None:
    """What a user can do about an error, in a line; None for one that nobody foresaw."""
    if isinstance(error, InputError):
        return str(error)
    text = one_line(str(error))
    if isinstance(error, MemoryError) or any(words in text for words in TOO_LITTLE_MEMORY):
        return f"memory does not suffice ({text[:LONGEST] or 'none is left'}); give smaller batches, images or networks"
    if isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in TOO_LITTLE_SHARED):
        return (
            f"a process that reads images could not pass them on ({text[:LONGEST]}); give --workers 0, or the system "
            "more shared memory (docker run --shm-size 1g) and open files (ulimit -n 4096)"
        )
    if not isinstance(error, OSError) and any(words in text for words in FULL_WORDS):  # of torch.compile, say
        return f"{text[:LONGEST]}; make room there, or set TMPDIR to another directory"
    if isinstance(error, OSError):
        return f"{error.strerror or text}{f': {error.filename}' if error.filename else ''}"
    return None


def end(status: int) -> NoReturn:
    """End this process as Python does, but for taking itself apart.

    Threads of libraries (Arrow's, gloo's, tqdm's, fsspec's) run until the process is gone. One that lets go of a Python
    object when the interpreter is no more aborts the process: status 134 in place of the right one.
    """
    for finish in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):  # type: ignore[attr-defined]
        with suppress(Exception, KeyboardInterrupt):
            finish()
    os._exit(status)


def _asked(code: object) -> int:
    """The status of a SystemExit, whose text, if it has one, is printed as Python does."""
    return code if isinstance(code, int) else 0 if code is None else _told(str(code), FAILED)


def _told(line: str, status: int) -> int:
    with suppress(OSError, ValueError):  # nobody may be there to read it
        _close_bars()
        print(printable(line), file=sys.stderr, flush=True)
    return status


def _close_bars() -> None:
    """End the lines of the bars of progress that are still shown."""
    if "tqdm.std" in sys.modules:
        for bar in list(getattr(sys.modules["tqdm.std"].tqdm, "_instances", ())):
            bar.close()


def _unforeseen(error: Exception) -> str:
    kind, text = type(error).__name__, one_line(str(error))[:LONGEST]
    return f"unforeseen {kind}{f': {text}' if text else ''}; {_stored(error)}"


def _stored(error: Exception) -> str:
    """Where the traceback of `error` has been stored; if nowhere, the line of code that raised it."""
    content = [f"{shlex.join(sys.orig_argv)}\n", *traceback.format_exception(error)]
    try:
        handle, path = tempfile.mkstemp(prefix="resnest-core-", suffix=".txt", text=True)
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(content)
    except OSError as refusal:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"raised in {last.filename}, line {last.lineno} (the traceback cannot be stored: {refusal.strerror})"
    return f"the whole traceback is in {path}"
