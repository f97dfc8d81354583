"""The index of a set of shards: where in which tar each image lies, so that any can be read by its bytes alone.

Shards are tars in the layout of the webdataset library: `KEY.jpg` (or another image) followed by `KEY.cls`, which
holds the number of its class. A key is a path up to the first dot of its last part. Where a key has several of both,
`KEY.a.jpg` belongs to `KEY.a.cls`. Other files are left out, which the index says.
"""

import json
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
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
from resnest_core.data.listing import is_leftover, some
from resnest_core.data.strings import CHUNK, Strings
from resnest_core.errors import InputError
from resnest_core.files import replacing
from resnest_core.texts import composed, decode_text

INDEX = "index.parquet"
UNFINISHED = "unfinished.json"
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
_LABEL = "cls"
# Key, dot, and a suffix of which the last part is one of these.
_SAMPLE = re.compile(rf"((?:.*/)?[^./]+)\.(?:[^/]*\.)?(?:{'|'.join([*SUFFIXES, _LABEL])})", re.IGNORECASE | re.DOTALL)
_NAMED = 5  # files that a line names
_KEY = b"resnest_core"


@dataclass(frozen=True)
class Index:
    """Where images lie: `table` has a row an image; `tars` are names in `root`, of so many `bytes` each.

    `remarks` say what was left out.
    """

    root: str
    classes: tuple[str, ...]
    tars: tuple[str, ...]
    bytes: tuple[int, ...]
    table: pa.Table
    remarks: tuple[str, ...] = ()

    def column(self, name: str) -> np.ndarray:
        """A column (n,) of numbers."""
        return self.table[name].to_numpy()


class _Member(NamedTuple):
    """A file in a tar."""

    key: str
    stem: str  # up to the last dot
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
            remarks = tuple(about.get("remarks", ()))  # which older versions did not write
            # A thread of Arrow's would let go of `content`, a Python object, at a time of its own.
            table = file.read(use_threads=False)
            return _checked(Index(about["root"] or root, classes, tars, sizes, table, remarks), place)
    except (pa.ArrowException, OSError, KeyError, TypeError, json.JSONDecodeError):
        pass  # the reasons differ, the remedy does not
    raise InputError(f"'{place}' is no whole index of shards of version {_VERSION}; make it with `resnest-core index`")


def write_index(path: Path, index: Index, *, beside: bool) -> None:
    """Write the index whole or not at all; `beside` the tars, it holds whatever becomes of the directory."""
    root = "" if beside else index.root
    about = {"version": _VERSION, "root": root, "classes": index.classes, "tars": index.tars, "bytes": index.bytes}
    about["remarks"] = index.remarks
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
        text = decode_text(storage.read(place), place)
    except storage.MissingError:
        raise InputError(f"classes are missing: no file '{place}'; write one with the name of a class a line") from None
    names = [composed(line.strip()) for line in text.split("\n") if line.strip()]
    if not names or len(set(names)) < len(names):
        raise InputError(f"'{place}' names {'a class twice' if names else 'no class'}; valid: each class once, a line")
    return tuple(names)


def make_index(root: str, classes: tuple[str, ...]) -> Index:
    """Read the headers of all tars in `root`, once; InputError for what is no set of images with a class each."""
    files, left = storage.files(root), _LeftOut()
    tars = tuple(name for name in files if name.endswith(".tar") and not is_leftover(name))
    if not tars:
        raise InputError(f"no tar in '{root}'; valid: a place that lists its files, with shards called *.tar")
    left.add(name for name in files if name not in {*tars, CLASSES, INDEX, UNFINISHED})
    bar = tqdm(tars, "reading headers", unit="tar", delay=2)
    tables = [table for i, tar in enumerate(bar) for table in _tables(storage.join(root, tar), i, len(classes), left)]
    sizes = tuple(storage.sizes([storage.join(root, tar) for tar in tars]))
    table = pa.concat_tables([_SCHEMA.empty_table(), *tables]).combine_chunks()
    index = Index(root, classes, tars, sizes, table, left.remarks)
    names = Strings(index.table["image"])
    if len(twice := names.repeats()):
        raise InputError(f"two images in the tars of '{root}' are called '{names[twice[0]]}'; valid: each name once")
    return _checked(index, root)


class _LeftOut:
    """The first names of what was left out, and how many there are: millions would take a gigabyte."""

    def __init__(self) -> None:
        self._counts, self._first = Counter[str](), defaultdict[str, list[str]](list)

    def add(self, names: Iterable[str], kind: str = "neither image nor class") -> None:
        """More of a `kind`, or leftovers by their names."""
        for name in names:
            own = "leftover of systems or editors" if any(map(is_leftover, name.split("/"))) else kind
            self._counts[own] += 1
            self._first[own] += [name] if self._counts[own] <= _NAMED else []

    @property
    def remarks(self) -> tuple[str, ...]:
        """A line for each kind."""
        more = {kind: ", ..." if n > _NAMED else "" for kind, n in self._counts.items()}
        return tuple(
            f"{n:,} file(s) left out, {kind}: {', '.join(self._first[kind])}{more[kind]}"
            for kind, n in self._counts.items()
        )


def _tables(tar: str, number: int, classes: int, left: _LeftOut) -> Iterator[pa.Table]:
    """The rows of a tar's images, some at a time."""
    rows = _rows(tar, classes, left)
    while some := list(islice(rows, CHUNK)):
        offsets, sizes, targets, names = zip(*some, strict=True)
        yield pa.table([[number] * len(some), offsets, sizes, targets, names], schema=_SCHEMA)


def _rows(tar: str, classes: int, left: _LeftOut) -> Iterator[tuple[int, int, int, str]]:
    """Offset, size, target and name of each image."""
    for key, group in groupby(_members(tar, left), attrgetter("key")):
        for image, label in _samples(key, list(group), tar, left):
            yield image.offset, image.size, _target(label, tar, classes), image.name


def _samples(key: str, members: list[_Member], tar: str, left: _LeftOut) -> list[tuple[_Member, _Member]]:
    """Image and class of each sample of a key: the one of the whole key, or one of each stem that has both.

    Beside a sample that is called by the key alone, what has no partner is left out; elsewhere it is an InputError.
    """
    images = [member for member in members if member.suffix in SUFFIXES]
    labels = [member for member in members if member.suffix == _LABEL]
    if len(images) == len(labels) == 1:
        return [(images[0], labels[0])]
    stems: dict[str, tuple[list[_Member], list[_Member]]] = {member.stem: ([], []) for member in members}
    for member in members:
        stems[member.stem][member.suffix == _LABEL].append(member)
    samples = [(some[0], own[0]) for some, own in stems.values() if len(some) == len(own) == 1]
    single = [member for found in stems.values() if not all(found) for kind in found for member in kind]
    several = any(len(kind) > 1 for found in stems.values() for kind in found)
    if several or (single and all(image.stem != key for image, _ in samples)):
        raise InputError(
            f"key '{key}' in '{tar}' has {len(images)} images and {len(labels)} classes; valid: one image "
            f"({', '.join(SUFFIXES)}) and one .cls, side by side; there: {some([member.name for member in members])}"
        )
    left.add((member.name for member in single), "another image or class of a key")
    return samples


def _target(label: _Member, tar: str, classes: int) -> int:
    text = label.content.decode("ascii", "replace").strip()
    if not text.isdecimal() or int(text) >= classes:
        raise InputError(f"'{label.name}' in '{tar}' says class '{text[:40]}'; valid: a number from 0 to {classes - 1}")
    return int(text)


def _members(tar: str, left: _LeftOut) -> Iterator[_Member]:
    """The images and classes in a tar; InputError if the tar is cut or damaged, or has a link in place of one."""
    try:
        with storage.opened(tar) as file, _open(file) as archive:
            while (entry := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps all, a kilobyte each
                name = entry.name.removeprefix("./")
                match = _SAMPLE.fullmatch(name)
                if entry.isdir():
                    continue
                if match is None or any(map(is_leftover, name.split("/"))):
                    left.add([name])
                elif entry.isreg():
                    yield _member(archive, entry, match)
                else:
                    raise InputError(f"'{name}' in '{tar}' is a link; valid: a file (tar --hard-dereference)")
            file.seek(archive.offset)
            rest = file.read(storage.BUFFER)
            if len(rest) < BLOCK or any(rest):
                raise InputError(f"'{tar}' is cut or damaged after byte {archive.offset:,}; valid: a whole tar")
    except tarfile.TarError as error:
        raise InputError(f"'{tar}' is cut or damaged ({error}); valid: a whole tar, not compressed") from None


def _open(file: BinaryIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r:", errors="backslashreplace")  # a name of another encoding stays unique


def _member(archive: tarfile.TarFile, entry: tarfile.TarInfo, match: re.Match[str]) -> _Member:
    stem, _, suffix = match[0].rpartition(".")
    label = archive.extractfile(entry) if suffix.lower() == _LABEL else None
    content = label.read() if label else b""
    return _Member(match[1], stem, suffix.lower(), match[0], entry.offset_data, entry.size, content)


def _checked(index: Index, place: str) -> Index:
    """The index, if its rows are of its tars and classes."""
    shard, target, offset = (index.column(name) for name in ("shard", "target", "offset"))
    bad = (shard < 0) | (shard >= len(index.tars)) | (target < 0) | (target >= len(index.classes)) | (offset < BLOCK)
    if not len(shard) or bad.any() or (offset + index.column("size") > np.array(index.bytes)[shard]).any():
        what = "lies beyond its tar or its classes" if len(shard) else "is there"
        which = f"image {int(bad.argmax())}" if bad.any() else "an image" if len(shard) else "no image"
        raise InputError(f"{which} of '{place}' {what}; make the index again with `resnest-core index`")
    return index
