"""The index of a set of shards: where in which tar each image lies, so that any can be read by its bytes alone.

Shards are tars in the layout of the webdataset library: `KEY.jpg` (or another image) followed by `KEY.cls`, which
holds the number of its class. A key is a path up to the first dot of its last part. Other files of a key are left out.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from resnest_core.data import storage
from resnest_core.data.strings import CHUNK, Strings
from resnest_core.errors import InputError
from resnest_core.files import replacing

INDEX = "index.parquet"
CLASSES = "classes.txt"
SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm")
BLOCK = 512  # bytes: what everything in a tar is a multiple of
_VERSION = 1
_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("offset", pa.int64()),  # bytes before the image file in its tar
        ("size", pa.int64()),  # bytes
        ("target", pa.int32()),
        ("image", pa.large_string()),
    ]
)
_SAMPLE = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
_KEY = b"resnest_core"


@dataclass(frozen=True)
class Index:
    """Where images lie: `table` has a row an image; `tars` are names in `root`, of so many `bytes` each."""

    root: str
    classes: tuple[str, ...]
    tars: tuple[str, ...]
    bytes: tuple[int, ...]
    table: pa.Table

    def column(self, name: str) -> np.ndarray:
        """A column (n,) of numbers."""
        return self.table[name].to_numpy()


class _Member(NamedTuple):
    """A file in a tar."""

    key: str
    suffix: str
    name: str
    offset: int
    size: int
    content: bytes  # of a class file


def read_index(root: str) -> Index:
    """The index in the directory `root`; MissingError if there is none, InputError if it is damaged."""
    place = storage.join(root, INDEX)
    content = storage.read(place)
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        about = json.loads(file.schema_arrow.metadata[_KEY])
        if about["version"] == _VERSION and file.schema_arrow.equals(_SCHEMA):
            classes, tars, sizes = (tuple(about[key]) for key in ("classes", "tars", "bytes"))
            # A thread of Arrow's would let go of `content`, a Python object, at a time of its own.
            return _checked(Index(about["root"] or root, classes, tars, sizes, file.read(use_threads=False)), place)
    except (pa.ArrowException, OSError, KeyError, TypeError, json.JSONDecodeError):
        pass  # the reasons differ, the remedy does not
    raise InputError(f"'{place}' is no whole index of shards of version {_VERSION}; make it with `resnest-core index`")


def write_index(path: Path, index: Index, *, beside: bool) -> None:
    """Write the index whole or not at all; `beside` the tars, it holds whatever becomes of the directory."""
    root = "" if beside else index.root
    about = {"version": _VERSION, "root": root, "classes": index.classes, "tars": index.tars, "bytes": index.bytes}
    table = index.table.replace_schema_metadata({_KEY: json.dumps(about)})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["shard", "target"])


def check_renewal(directory: str, made: Index) -> None:
    """InputError if the index in `directory` is of other tars than the one `made`, or of the same with other labels.

    One that its tars do not fit any more may be replaced, as may one that cannot be read.
    """
    try:
        old = read_index(directory)
    except InputError:
        return
    if old.root != made.root:
        raise InputError(f"'{directory}' holds an index of the tars in '{old.root}'; give another --out or --overwrite")
    places = ["shard", "offset", "size"]
    same_tars = old.bytes == made.bytes and old.table.select(places) == made.table.select(places)
    if same_tars and (old.tars, old.classes, old.table) != (made.tars, made.classes, made.table):
        raise InputError(f"'{directory}' holds an index of these tars with other classes or names; valid: --overwrite")


def read_classes(place: str) -> tuple[str, ...]:
    """The names of classes in a text file, one a line; InputError if it is missing, empty or names one twice."""
    try:
        names = [line.strip() for line in storage.read(place).decode().splitlines() if line.strip()]
    except storage.MissingError:
        raise InputError(f"classes are missing: no file '{place}'; write one with the name of a class a line") from None
    except UnicodeDecodeError:
        raise InputError(f"'{place}' is no text in UTF-8; valid: the name of a class a line") from None
    if not names or len(set(names)) < len(names):
        raise InputError(f"'{place}' names {'a class twice' if names else 'no class'}; valid: each class once, a line")
    return tuple(names)


def make_index(root: str, classes: tuple[str, ...]) -> Index:
    """Read the headers of all tars in `root`, once; InputError for what is no set of images with a class each."""
    tars = tuple(storage.files(root, ".tar"))
    if not tars:
        raise InputError(f"no tar in '{root}'; valid: a place that lists its files, with shards called *.tar")
    bar = tqdm(tars, "reading headers", unit="tar", delay=2)
    tables = [table for i, tar in enumerate(bar) for table in _tables(storage.join(root, tar), i, len(classes))]
    sizes = tuple(storage.sizes([storage.join(root, tar) for tar in tars]))
    index = Index(root, classes, tars, sizes, pa.concat_tables([_SCHEMA.empty_table(), *tables]).combine_chunks())
    names = Strings(index.table["image"])
    if len(twice := names.repeats()):
        raise InputError(f"two images in the tars of '{root}' are called '{names[twice[0]]}'; valid: each name once")
    return _checked(index, root)


def _tables(tar: str, number: int, classes: int) -> Iterator[pa.Table]:
    """The rows of a tar's images, some at a time."""
    rows = _rows(tar, classes)
    while some := list(islice(rows, CHUNK)):
        offsets, sizes, targets, names = zip(*some, strict=True)
        yield pa.table([[number] * len(some), offsets, sizes, targets, names], schema=_SCHEMA)


def _rows(tar: str, classes: int) -> Iterator[tuple[int, int, int, str]]:
    """Offset, size, target and name of each image."""
    for key, group in groupby(_members(tar), attrgetter("key")):
        members = list(group)
        images = [member for member in members if member.suffix in SUFFIXES]
        labels = [member for member in members if member.suffix == "cls"]
        if not images and not labels:
            continue
        if len(images) != 1 or len(labels) != 1:
            raise InputError(
                f"key '{key}' in '{tar}' has {len(images)} images and {len(labels)} classes; valid: one image "
                f"({', '.join(SUFFIXES)}) and one .cls, side by side"
            )
        yield images[0].offset, images[0].size, _target(labels[0], tar, classes), images[0].name


def _target(label: _Member, tar: str, classes: int) -> int:
    text = label.content.decode("ascii", "replace").strip()
    if not text.isdecimal() or int(text) >= classes:
        raise InputError(f"'{label.name}' in '{tar}' says class '{text[:40]}'; valid: a number from 0 to {classes - 1}")
    return int(text)


def _members(tar: str) -> Iterator[_Member]:
    """The files in a tar whose names have a key and a suffix; InputError if the tar is cut or damaged."""
    try:
        with storage.opened(tar) as file, _open(file) as archive:
            while (entry := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps all, a kilobyte each
                if entry.isreg() and (match := _SAMPLE.fullmatch(entry.name.removeprefix("./"))):
                    yield _member(archive, entry, match)
            file.seek(archive.offset)
            rest = file.read(storage.BUFFER)
            if len(rest) < BLOCK or any(rest):
                raise InputError(f"'{tar}' is cut or damaged after byte {archive.offset:,}; valid: a whole tar")
    except tarfile.TarError as error:
        raise InputError(f"'{tar}' is cut or damaged ({error}); valid: a whole tar, not compressed") from None


def _open(file: BinaryIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r:", errors="backslashreplace")  # a name of another encoding stays unique


def _member(archive: tarfile.TarFile, entry: tarfile.TarInfo, match: re.Match[str]) -> _Member:
    suffix = match[2].lower()
    label = archive.extractfile(entry) if suffix == "cls" else None
    return _Member(match[1], suffix, match[0], entry.offset_data, entry.size, label.read() if label else b"")


def _checked(index: Index, place: str) -> Index:
    """The index, if its rows are of its tars and classes."""
    shard, target, offset = (index.column(name) for name in ("shard", "target", "offset"))
    bad = (shard < 0) | (shard >= len(index.tars)) | (target < 0) | (target >= len(index.classes)) | (offset < BLOCK)
    if not len(shard) or bad.any() or (offset + index.column("size") > np.array(index.bytes)[shard]).any():
        what = "lies beyond its tar or its classes" if len(shard) else "is there"
        which = f"image {int(bad.argmax())}" if bad.any() else "an image" if len(shard) else "no image"
        raise InputError(f"{which} of '{place}' {what}; make the index again with `resnest-core index`")
    return index
