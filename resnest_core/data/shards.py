"""Images in tar shards, here or in object storage, each read by its bytes as the index of the set says."""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnest_core.data import storage
from resnest_core.data.base import LayoutError, Report, check_request, check_selection, select
from resnest_core.data.contents import SIZE, Part, range_digests
from resnest_core.data.imagenet import of_a_user
from resnest_core.data.listing import alike
from resnest_core.data.shard_index import BLOCK, INDEX, Index, make_index, read_index
from resnest_core.data.stored import StoredImages
from resnest_core.data.strings import Strings
from resnest_core.errors import InputError

NAME = "shards"
FOLDERS = {"test": ("", "test", "val", "validation"), "train": ("train",)}
_REMEDY = "make the index again with `resnest-core index`"


@dataclass(frozen=True)
class Shards(StoredImages):
    """Images in `tars` of the directory `root`: image i has `lengths[i]` bytes from `starts[i]` in tar `shards[i]`."""

    root: str
    classes: tuple[str, ...]
    tars: tuple[str, ...]
    shards: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray
    paths: Strings
    available: int
    remarks: tuple[str, ...] = ()
    name: str = NAME

    @property
    def place(self) -> str:
        return f"in {len(self.tars):,} tars in {self.root}"

    @property
    def upright(self) -> bool:
        return of_a_user(self.classes)

    def content_digests(self) -> Iterator[str]:
        order = np.argsort(self.shards, kind="stable")
        used, firsts = np.unique(self.shards[order], return_index=True)
        groups = np.split(order, firsts[1:])
        places = [storage.join(self.root, self.tars[i]) for i in used]
        parts = [Part(place, self.starts[own], self.lengths[own]) for place, own in zip(places, groups, strict=True)]
        found = np.empty((len(self), SIZE), np.uint8)
        for own, digests in zip(groups, range_digests(parts), strict=True):
            found[own] = digests
        return (row.tobytes().hex() for row in found)

    def contents(self, indices: Sequence[int]) -> list[bytes]:
        """The image files, if the tars have ones of their sizes there."""
        found = storage.read_all([self._range(index) for index in indices])
        for index, content in zip(indices, found, strict=True):
            if _size_in(content[:BLOCK]) != self.lengths[index]:
                tar = self._range(index)[0]
                raise InputError(f"image '{self.paths[index]}' is not in '{tar}' where the index has it; {_REMEDY}")
        return [content[BLOCK:] for content in found]

    def _range(self, index: int) -> storage.Range:
        """Of an image file and the header before it."""
        start, length = int(self.starts[index]), int(self.lengths[index])
        return storage.join(self.root, self.tars[self.shards[index]]), start - BLOCK, start + length


def open_shards(root: str | Path | None, split: str, limit: int) -> Shards:
    """The set whose index is in `root`, or in its folder `test`, `val`, `validation` or `train`."""
    check_selection(split, limit)
    if root is None:
        raise InputError(
            f"data set '{NAME}' needs a place, and none was given; valid: --data with a directory or a URL"
        )
    if not storage.is_url(str(root)):
        check_request(root, split, limit)
    return _chosen(_index(str(root), split), limit)


def check(root: str | Path | None, split: str) -> Report:
    """Read the headers of all tars again and decode every image; list what differs from the index or is unreadable."""
    images = open_shards(root, split, 0)
    problems = [*_differences(images), *images.problems()]
    classes = len(np.unique(images.targets))
    return Report(NAME, images.source, len(images), classes, problems=problems, remarks=images.remarks)


def _index(root: str, split: str) -> Index:
    for folder in FOLDERS[split]:
        try:
            return read_index(storage.join(root, folder) if folder else root)
        except storage.MissingError:
            continue
    raise LayoutError(
        f"no {INDEX} for the {split} split in '{root}'; make it once from the tars with `resnest-core index --data DIR`"
    )


def _chosen(index: Index, limit: int) -> Shards:
    targets = index.column("target").astype(np.int64)
    table, images = index.table, Strings(index.table["image"])
    chosen = select(targets, limit)
    if len(chosen) < len(targets):
        table, images, targets = table.take(chosen), images.take(chosen), targets[chosen]
    shards, starts, lengths = (table[name].to_numpy() for name in ("shard", "offset", "size"))
    _check_tars(index, np.unique(shards))
    place, remarks = (index.root, index.classes, index.tars), (*alike(index.classes), *index.remarks)
    return Shards(*place, shards, starts, lengths, targets, images, index.table.num_rows, remarks)


def _check_tars(index: Index, used: np.ndarray) -> None:
    places = [storage.join(index.root, index.tars[i]) for i in used]
    for i, place, size in zip(used, places, storage.sizes(places), strict=True):
        if size != index.bytes[i]:
            raise InputError(f"'{place}' has {size:,} bytes, and {index.bytes[i]:,} in the index; {_REMEDY}")


def _size_in(header: bytes) -> int:
    """The bytes of the file that a tar's header is of; -1 if it is no header."""
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size
    except tarfile.HeaderError:
        return -1


def _differences(images: Shards) -> list[str]:
    try:
        found = make_index(images.root, images.classes)
    except InputError as error:
        return [str(error)]
    listed = {"shard": images.shards, "offset": images.starts, "size": images.lengths, "target": images.targets}
    different = [name for name, values in listed.items() if not np.array_equal(found.column(name), values)]
    return [f"{name} of the images: the tars have another than the index; {_REMEDY}" for name in different]
