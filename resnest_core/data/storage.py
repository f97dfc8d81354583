"""Bytes of files here (by path) and elsewhere, by the URLs that fsspec knows: s3://, https://, memory:// and more."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from fsspec.core import url_to_fs

from resnest_core.errors import InputError

RACY = 2e9  # nanoseconds: clocks of file systems are coarse, so that a file may change twice at what they call one time
# What servers tell of the version of a file, the surest first.
_VERSIONS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "generation", "content_md5"),
    *("Last-Modified", "LastModified", "last_modified", "mtime", "modified", "updated", "created"),
)
BUFFER = 2**22  # bytes of a file elsewhere that are fetched at once where it is read from end to end
Range = tuple[str, int, int | None]  # a place, the first byte, and the one after the last
Value = TypeVar("Value")


class Stamp(NamedTuple):
    """Size, version and more of a file in a text, and the nanoseconds at which it was written to and changed.

    A file elsewhere has no times that could be compared with this machine's.
    """

    text: str
    modified: int = 0
    changed: int = 0

    def is_settled(self, now: int) -> bool:
        """Whether a change after `now` would show; a time well ahead of the clock is not given again either."""
        return self.changed > 0 and self.changed < now - RACY and abs(self.modified - now) > RACY


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
    return read_all([(place, start, end)])[0]


def read_all(ranges: Sequence[Range]) -> list[bytes]:
    """As `read`, of many; those that follow each other in one scheme are asked for at once."""
    found = [
        content
        for scheme, group in groupby(ranges, lambda wanted: _scheme(wanted[0]))
        for content in (_read_elsewhere if scheme else _read_here)(list(group))
    ]
    for (place, start, end), content in zip(ranges, found, strict=True):
        if end is not None and len(content) != end - start:
            raise InputError(
                f"'{place}' gives {len(content):,} bytes where {end - start:,} were asked for, from byte {start:,}; "
                "valid: a whole file, on a server that gives ranges of bytes"
            )
    return found


def sizes(places: Sequence[str]) -> list[int]:
    """The bytes of each file; those that follow each other in one scheme are asked for at once."""
    groups = groupby(places, _scheme)
    return [size for scheme, group in groups for size in (_sizes_elsewhere if scheme else _sizes_here)(list(group))]


def stamps(places: Sequence[str]) -> list["Stamp"]:
    """What tells each file from what it was, and is had without reading it."""
    with ThreadPoolExecutor() as pool:
        groups = [(scheme, list(group)) for scheme, group in groupby(places, _scheme)]
        return [
            stamp
            for scheme, group in groups
            for stamp in (pool.map(_stamp_elsewhere, group) if scheme else map(_stamp_here, group))
        ]


def files(root: str) -> list[str]:
    """The names of the files in the directory `root`, sorted."""
    if not is_url(root):
        return sorted(entry.name for entry in Path(root).iterdir() if entry.is_file())
    listed = _asked(root, lambda: _filesystem(root).ls(*_paths([root])))
    return sorted(found["name"].rsplit("/", 1)[-1] for found in listed if found["type"] == "file")


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


def _scheme(place: str) -> str:
    return place.partition("://")[0] if is_url(place) else ""


def _read_here(ranges: list[Range]) -> list[bytes]:
    return [_asked(wanted[0], partial(_read_range, *wanted)) for wanted in ranges]


def _read_range(place: str, start: int, end: int | None) -> bytes:
    with open(place, "rb") as file:
        file.seek(start)
        return file.read(-1 if end is None else end - start)


def _read_elsewhere(ranges: list[Range]) -> list[bytes]:
    places = [place for place, _, _ in ranges]
    starts = [start or None for _, start, _ in ranges]
    ends = [end for _, _, end in ranges]
    answers = _asked(places[0], lambda: _filesystem(places[0]).cat_ranges(_paths(places), starts, ends))
    return [_asked(place, partial(_value, answer)) for place, answer in zip(places, answers, strict=True)]


def _value(answer: bytes | Exception) -> bytes:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _sizes_here(places: list[str]) -> list[int]:
    return [_asked(place, Path(place).stat).st_size for place in places]


def _sizes_elsewhere(places: list[str]) -> list[int]:
    try:
        found = _asked(places[0], lambda: _filesystem(places[0]).sizes(_paths(places)))
    except InputError:
        if len(places) == 1:
            raise
        return [size for place in places for size in _sizes_elsewhere([place])]  # to name the right one
    if None in found:
        raise InputError(f"the server of '{places[found.index(None)]}' does not tell its size; valid: one that does")
    return found


def _stamp_here(place: str) -> Stamp:
    found = _asked(place, partial(os.stat, place))
    text = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_dev} {found.st_ino}"
    return Stamp(text, found.st_mtime_ns, found.st_ctime_ns)


def _stamp_elsewhere(place: str) -> Stamp:
    told = _asked(place, lambda: _filesystem(place).info(_paths([place])[0]))
    version = next((f"{name} {told[name]}" for name in _VERSIONS if told.get(name)), "")
    return Stamp(f"{told.get('size')} {version}")


def _filesystem(place: str) -> Any:
    """That of a URL; fsspec gives each process its own, as connections do not fork."""
    return url_to_fs(place)[0]


def _paths(places: list[str]) -> list[str]:
    return [url_to_fs(place)[1] for place in places]


def _asked(place: str, ask: Callable[[], Value]) -> Value:
    """What `ask` returns; whatever it raises as an InputError, as each scheme's library has errors of its own."""
    try:
        return ask()
    except FileNotFoundError:
        raise MissingError(f"'{place}' does not exist; give a place that can be read") from None
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"'{place}' cannot be read ({reason}); give a place that can") from None
