"""Files that are either whole or absent."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resnest_core.errors import InputError

# How writers say that there is no room: errors of the system, and words of libraries with errors of their own.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_WORDS = (*map(os.strerror, FULL), *(f"os error {number}" for number in FULL), "inline_container.cc")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    Raises OSError that tells what is free where the disk is full, whatever the writer makes of that.
    """
    path = Path(path)
    with _room(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _room(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        if number in FULL or any(words in str(error) for words in FULL_WORDS):
            said = os.strerror(number if number in FULL else errno.ENOSPC)
            free = f"{shutil.disk_usage(path.parent).free / 1e6:,.1f} MB are free in '{path.parent}'"
            raise OSError(
                number or errno.ENOSPC, f"{said} ({free}; make room there, or write elsewhere)", str(path)
            ) from None
        raise


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all; NaN is refused."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def output_directory(path: str | Path) -> Path:
    """Make the directory `path`; raise InputError if it cannot be made or written."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise InputError(f"output directory '{path}' cannot be written ({error.strerror}); give one that can") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
