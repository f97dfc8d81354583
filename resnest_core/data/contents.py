"""SHA-256 of what is in files, kept in a cache on disk so that a file that has not changed is not read again.

The cache says of a path, and of a range of bytes in it, what was there when the file had a certain size, inode and
times of change. A file elsewhere is not downloaded: its size and what the server tells of its version stand for it.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from resnest_core.data import storage
from resnest_core.data.strings import CHUNK

SIZE = 32  # bytes of a digest
WAIT = 10.0  # seconds for other processes that write into the cache
_TABLE = "CREATE TABLE IF NOT EXISTS contents (key BLOB PRIMARY KEY, stamp TEXT, digests BLOB) WITHOUT ROWID"
_GET = "SELECT digests FROM contents WHERE key = ? AND stamp = ?"
_PUT = "INSERT OR REPLACE INTO contents VALUES (?, ?, ?)"
Bytes = NDArray[np.uint8]


class Part(NamedTuple):
    """Ranges of bytes of a file, `starts` (n,) and `lengths` (n,), or the whole of it."""

    place: str
    starts: NDArray[np.int64] | None = None
    lengths: NDArray[np.int64] | None = None

    @property
    def key(self) -> bytes:
        ranges = b"" if self.starts is None or self.lengths is None else np.stack([self.starts, self.lengths]).tobytes()
        return _sha256(os.fsencode(os.path.abspath(self.place)), b"\0", ranges)

    def read(self) -> bytes:
        """The digests of the ranges, one after the other, or that of the whole file."""
        with storage.opened(self.place) as file:
            if self.starts is None or self.lengths is None:
                return hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]  # it has readinto
            found = bytearray()
            for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
                file.seek(start)
                found += _sha256(file.read(length))
            return bytes(found)

    def told(self, stamp: str) -> bytes:
        """The same for a file elsewhere, from what is known of it."""
        if self.starts is None or self.lengths is None:
            return _sha256(stamp.encode())
        return b"".join(_sha256(stamp.encode(), pair.tobytes()) for pair in np.stack([self.starts, self.lengths], 1))


def file_digests(places: Iterable[str], n: int) -> Iterator[str]:
    """The digest (hex) of each of `n` files, in order; InputError that names one which cannot be read."""
    return (digest.hex() for digest in _digests((Part(place) for place in places), n))


def file_digest(place: str | Path) -> str:
    """As `file_digests`, of one."""
    return next(file_digests([str(place)], 1))


def range_digests(parts: Sequence[Part]) -> Iterator[Bytes]:
    """The digests (n, 32) of the ranges of each part."""
    return (np.frombuffer(digests, np.uint8).reshape(-1, SIZE) for digests in _digests(iter(parts), len(parts)))


def _digests(parts: Iterator[Part], n: int) -> Iterator[bytes]:
    bar = tqdm(total=n, desc="comparing files", unit="file", delay=2, leave=False)
    with closing(_Cache()) as cache, ThreadPoolExecutor() as pool, bar:
        while some := list(islice(parts, CHUNK)):
            now, stamps = time.time_ns(), storage.stamps([part.place for part in some])
            found = cache.get(some, stamps)
            missing = [i for i in range(len(some)) if i not in found]
            read = pool.map(_made, [some[i] for i in missing], [stamps[i] for i in missing])
            bar.update(len(some) - len(missing))
            for i, digests in zip(missing, read, strict=True):
                found[i] = digests
                bar.update()
            cache.put([(some[i].key, stamps[i].text, found[i]) for i in missing if stamps[i].is_settled(now)])
            yield from (found[i] for i in range(len(some)))


def _made(part: Part, stamp: storage.Stamp) -> bytes:
    return part.told(stamp.text) if storage.is_url(part.place) else part.read()


class _Cache:
    """The cache on disk; where there is no place for it, or it is locked or damaged, nothing is known and nothing kept.

    One that is damaged is removed, so that the next process begins another.
    """

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._file = _place()
        with self._guarded():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # Only one thread uses it, but another may end it.
            self._connection = sqlite3.connect(self._file, WAIT, isolation_level=None, check_same_thread=False)
            self._connection.execute(_TABLE)

    def get(self, parts: Sequence[Part], stamps: Sequence[storage.Stamp]) -> dict[int, bytes]:
        """What is known of parts as they are now, by their places in the list."""
        found: dict[int, bytes] = {}
        with self._guarded():
            if self._connection:
                self._connection.execute("BEGIN")
                for i, (part, stamp) in enumerate(zip(parts, stamps, strict=True)):
                    if row := self._connection.execute(_GET, (part.key, stamp.text)).fetchone():
                        found[i] = row[0]
                self._connection.execute("COMMIT")
        return found

    def put(self, rows: Sequence[tuple[bytes, str, bytes]]) -> None:
        """Keep what was read: key, stamp and digests of parts, in place of what they were before."""
        with self._guarded():
            if self._connection and rows:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(_PUT, rows)
                self._connection.execute("COMMIT")

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.close()
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                with suppress(OSError):
                    self._file.unlink()


def _place() -> Path:
    """That of the cache; for a user without a home it cannot be made."""
    own = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(own if os.path.isabs(own) else os.devnull, "resnest_core", "contents.sqlite")


def _sha256(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()
