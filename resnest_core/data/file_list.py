"""Images that a list names with their classes: a text, a CSV or a parquet file, beside a `classes.txt`.

A line of text is a path, then a tab, a comma or a space, then a class: its name or its place in `classes.txt`, from 0
(the name alone where classes are called by numbers). CSV may begin with the header `path,class`; parquet has these
columns. Paths are relative to the list's directory, or to DIR where the text begins with `# root: DIR`, or absolute.
"""

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resnest_core.data import storage
from resnest_core.data.base import LayoutError, Report, check_request, check_selection, select
from resnest_core.data.contents import file_digests
from resnest_core.data.imagenet import of_a_user
from resnest_core.data.listing import alike, some
from resnest_core.data.shard_index import CLASSES, read_classes
from resnest_core.data.stored import StoredImages
from resnest_core.data.strings import CHUNK, Strings
from resnest_core.errors import InputError
from resnest_core.texts import composed, encoding_of

NAME = "file_list"
SUFFIXES = (".txt", ".csv", ".tsv", ".parquet")
COLUMNS = ["path", "class"]
STEMS = {"test": ("test", "val", "validation"), "train": ("train",)}
_ROOT = "# root:"
_VALID = "a path and a class, with a tab, a comma or a space between"
Line = tuple[int, str, str]  # number, path, class


@dataclass(frozen=True)
class FileList(StoredImages):
    """The images of the list at `list_place`; `paths` are relative to `root` or absolute."""

    list_place: str
    root: str
    classes: tuple[str, ...]
    paths: Strings
    targets: np.ndarray
    available: int
    remarks: tuple[str, ...] = ()
    name: str = NAME

    @property
    def place(self) -> str:
        return f"listed in {self.list_place}"

    @property
    def upright(self) -> bool:
        return of_a_user(self.classes)

    def content_digests(self) -> Iterator[str]:
        return file_digests((storage.join(self.root, path) for path in self.paths), len(self))

    def contents(self, indices: Sequence[int]) -> list[bytes]:
        return storage.read_all([(storage.join(self.root, self.paths[index]), 0, None) for index in indices])


def open_list(root: str | Path | None, split: str, limit: int) -> FileList:
    """The list `root`; of a directory, its list called `test`, `val`, `validation` or `train`."""
    check_selection(split, limit)
    if root is None:
        raise InputError(f"data set '{NAME}' needs a list, and none was given; valid: --data with a file or a URL")
    place = _list_place(str(root), split)
    classes = read_classes(storage.join(_directory(place), CLASSES))
    paths, targets, directory = _read(place, classes)
    _check_first(storage.join(directory, paths[0]), place)
    shared = _shared(str(root), paths, directory, classes) if split == "train" else ()
    chosen = select(targets, limit)
    available = len(paths)
    if len(chosen) < available:
        paths, targets = paths.take(chosen), targets[chosen]
    return FileList(place, directory, classes, paths, targets, available, (*alike(classes), *shared))


def check(root: str | Path | None, split: str) -> Report:
    """Decode every file; list what is missing or unreadable."""
    images = open_list(root, split, 0)
    classes = len(np.unique(images.targets))
    return Report(NAME, images.source, len(images), classes, problems=images.problems(), remarks=images.remarks)


def _list_place(root: str, split: str) -> str:
    if root.lower().endswith(SUFFIXES):
        if split == "train":
            raise InputError(
                f"'{root}' is one list, of the test split; valid for training: a directory with a train.csv"
            )
        return root
    if not storage.is_url(root):
        check_request(root, split, 0)
    found = _list_in(root, split)
    if found is None:
        names = ", ".join(_names(split))
        raise LayoutError(f"no list for the {split} split in '{root}'; valid: a file, or a directory with {names}")
    return found


def _names(split: str) -> list[str]:
    return [f"{stem}{suffix}" for stem in STEMS[split] for suffix in SUFFIXES]


def _list_in(root: str, split: str) -> str | None:
    return next((place for name in _names(split) if _exists(place := storage.join(root, name))), None)


def _shared(root: str, paths: Strings, directory: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    """A line on training images that are in the test list of `root`, too."""
    if (test := _list_in(root, "test")) is None:
        return ()
    others, _, elsewhere = _read(test, classes)
    if elsewhere != directory:
        paths, others = (_places(*pair) for pair in ((directory, paths), (elsewhere, others)))
    found = paths.take(np.flatnonzero(pc.is_in(paths.array, others.array).to_numpy(zero_copy_only=False)))
    return (f"{len(found):,} of these images are in {test}, too: {some(list(found[:6]))}",) if len(found) else ()


def _places(directory: str, paths: Strings) -> Strings:
    return Strings.of(storage.join(directory, path) for path in paths)


def _exists(place: str) -> bool:
    try:
        return bool(storage.sizes([place]))
    except storage.MissingError:
        return False


def _directory(place: str) -> str:
    return place.rpartition("/")[0] if "/" in place else "."


def _read(place: str, classes: tuple[str, ...]) -> tuple[Strings, np.ndarray, str]:
    """Paths, targets (n,) int64, and what the paths are relative to.

    InputError with the line's number for a class or a path that cannot be.
    """
    encoding = "" if place.lower().endswith(".parquet") else encoding_of(storage.opened(place), place)
    known = {name: i for i, name in enumerate(classes)}
    if not any(name.isdecimal() for name in classes):
        known |= {str(i): i for i in range(len(classes))}
    targets, numbers = array("q"), array("q")

    def paths() -> Iterator[str]:
        for number, path, label in _lines(place, encoding):
            label = composed(label)
            if label not in known:
                raise InputError(
                    f"line {number} of '{place}' has unknown class '{label}'; "
                    f"valid: those in {CLASSES}, as '{classes[0]}'"
                )
            targets.append(known[label])
            numbers.append(number)
            yield path

    names = Strings.of(paths())
    if not len(names):
        raise InputError(f"list '{place}' is empty; valid: lines of {_VALID}")
    if len(again := names.repeats()):
        raise InputError(f"line {numbers[again[0]]} of '{place}' has '{names[again[0]]}' again; valid: each path once")
    return names, np.frombuffer(targets, np.int64), _root(place, encoding)


def _lines(place: str, encoding: str) -> Iterator[Line]:
    if not encoding:
        yield from _parquet_lines(place)
        return
    lines = _csv_lines if place.lower().endswith(".csv") else _text_lines
    with io.TextIOWrapper(storage.opened(place), encoding, newline="") as text:
        try:
            for number, fields in lines(text):
                path, label = [field.strip() for field in fields] if len(fields) == 2 else ("", "")
                if not path or not label:
                    raise InputError(
                        f"line {number} of '{place}' is malformed: '{' '.join(fields)[:80]}'; valid: {_VALID}"
                    )
                yield number, path, label
        except csv.Error as error:
            raise InputError(f"list '{place}' cannot be read ({error}); valid: lines of {_VALID}") from None


def _csv_lines(text: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text)
    for row in reader:
        if row and not row[0].startswith("# ") and (reader.line_num > 1 or row != COLUMNS):
            yield reader.line_num, row


def _text_lines(text: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text, 1):
        if line.strip() and not line.startswith("# "):
            separator = next((mark for mark in "\t," if mark in line), None)
            yield number, line.strip().rsplit(separator, 1)


def _parquet_lines(place: str) -> Iterator[Line]:
    """As if the first row was line 1."""
    try:
        file = pq.ParquetFile(storage.opened(place))
        if missing := set(COLUMNS) - set(file.schema_arrow.names):
            raise InputError(f"list '{place}' has no column '{min(missing)}'; valid: columns {' and '.join(COLUMNS)}")
        rows = (
            row for batch in file.iter_batches(CHUNK, columns=COLUMNS, use_threads=False) for row in batch.to_pylist()
        )
        for number, row in enumerate(rows, 1):
            if None in row.values():
                raise InputError(f"line {number} of '{place}' is malformed: a value is missing; valid: {_VALID}")
            yield number, str(row["path"]), str(row["class"])
    except pa.ArrowException as error:
        raise InputError(f"list '{place}' cannot be read ({error}); valid: a whole parquet file") from None


def _root(place: str, encoding: str) -> str:
    """What the paths are relative to."""
    directory = _directory(place)
    if encoding:
        with io.TextIOWrapper(storage.opened(place), encoding) as text:
            first = text.readline()
        if first.startswith(_ROOT):
            return storage.join(directory, first.removeprefix(_ROOT).strip())
    return directory


def _check_first(image: str, place: str) -> None:
    """That one is there: a wrong root should not show after an hour."""
    if not _exists(image):
        raise InputError(f"the first image of '{place}' is missing: '{image}'; say where from in a line '{_ROOT} DIR'")
