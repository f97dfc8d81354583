"""Bytes of files here (by path) and elsewhere, by the URLs that fsspec knows: s3://, https://, memory:// and more."""

import io
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fsspec.core import url_to_fs

from resnest_core.errors import InputError

BUFFER = 2**22  # bytes of a file elsewhere that are fetched at once where it is read from end to end
Value = TypeVar("Value")


class MissingError(InputError):
    """There is no such file."""


def is_url(place: str) -> bool:
    """Whether `place` is no path on this machine."""
    return "://" in place


def join(root: str, name: str) -> str:
    """The place of `name` in the directory `root`; a name that is a URL or an absolute path is its own place."""
    if is_url(name) or Path(name).is_absolute() or not root:
        return name
    return f"{root.rstrip('/')}/{name}"


def read(place: str, start: int = 0, end: int | None = None) -> bytes:
    """The bytes of a file from `start` to before `end`; InputError if there are fewer. Without `end`, all the rest."""
    found = _fetch(place, start, end) if is_url(place) else _asked(place, lambda: _read_here(place, start, end))
    if end is not None and len(found) != end - start:
        raise InputError(
            f"'{place}' gives {len(found):,} bytes where {end - start:,} were asked for, from byte {start:,}; "
            "valid: a whole file, on a server that gives ranges of bytes"
        )
    return found


def sizes(places: Sequence[str]) -> list[int]:
    """The bytes of each file; those that follow each other in one scheme are asked for at once."""
    groups = groupby(places, lambda place: place.partition("://")[0] if is_url(place) else "")
    return [size for scheme, group in groups for size in (_sizes_elsewhere if scheme else _sizes_here)(list(group))]


def files(root: str, suffix: str) -> list[str]:
    """The names of the files in the directory `root` that end in `suffix`, sorted."""
    if not is_url(root):
        return sorted(entry.name for entry in Path(root).iterdir() if entry.name.endswith(suffix) and entry.is_file())
    listed = _asked(root, lambda: _call(root, "ls", detail=False))
    return sorted(name for path in listed if (name := path.rstrip("/").rsplit("/", 1)[-1]).endswith(suffix))


def opened(place: str) -> BinaryIO:
    """The file, to be read from its beginning on; a file elsewhere comes in pieces of `BUFFER` bytes."""
    if is_url(place):
        return io.BufferedReader(_Elsewhere(place), BUFFER)
    return _asked(place, lambda: open(place, "rb"))


class _Elsewhere(io.RawIOBase):
    """A file by ranges."""

    def __init__(self, place: str) -> None:
        self._place, self._size, self._at = place, sizes([place])[0], 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        content = read(self._place, self._at, end) if self._at < end else b""
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _fetch(place: str, start: int, end: int | None) -> bytes:
    whole = start == 0 and end is None
    return _asked(place, lambda: _call(place, "cat_file", **({} if whole else {"start": start, "end": end})))


def _read_here(place: str, start: int, end: int | None) -> bytes:
    with open(place, "rb") as file:
        file.seek(start)
        return file.read(-1 if end is None else end - start)


def _sizes_here(places: list[str]) -> list[int]:
    return [_asked(place, Path(place).stat).st_size for place in places]


def _sizes_elsewhere(places: list[str]) -> list[int]:
    try:
        found = _asked(places[0], lambda: url_to_fs(places[0])[0].sizes(places))
    except InputError:
        if len(places) == 1:
            raise
        return [size for place in places for size in _sizes_elsewhere([place])]  # to name the right one
    if None in found:
        raise InputError(f"the server of '{places[found.index(None)]}' does not tell its size; valid: one that does")
    return found


def _call(place: str, method: str, **options: Any) -> Any:
    """What a method of the URL's file system returns; fsspec gives each process its own, as connections do not fork."""
    filesystem, path = url_to_fs(place)
    return getattr(filesystem, method)(path, **options)


def _asked(place: str, ask: Callable[[], Value]) -> Value:
    """What `ask` returns; whatever it raises as an InputError, as each scheme's library has errors of its own."""
    try:
        return ask()
    except FileNotFoundError:
        raise MissingError(f"'{place}' does not exist; give a place that can be read") from None
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"'{place}' cannot be read ({reason}); give a place that can") from None
