"""Records: one row per image, written in parts so that an interrupted evaluation can go on."""

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.compute import list_flatten
from tqdm.auto import tqdm

from resnest_core import distributed
from resnest_core.errors import InputError
from resnest_core.files import output_directory, replacing, write_json

CLASSIFICATION = pa.schema(
    [
        ("index", pa.int64()),
        ("image", pa.string()),
        ("target", pa.int64()),
        ("predicted", pa.int64()),
        ("correct", pa.bool_()),
        ("rank", pa.int64()),
        ("loss", pa.float64()),
        ("top5", pa.list_(pa.int64())),
        ("top5_probability", pa.list_(pa.float32())),
    ]
)
LOGITS = pa.field("logits", pa.list_(pa.float32()))
SEGMENTATION = pa.schema(
    [
        ("index", pa.int64()),
        ("image", pa.string()),
        ("height", pa.int64()),
        ("width", pa.int64()),
        ("intersections", pa.list_(pa.int64())),  # of pixels, by class; as the two below
        ("unions", pa.list_(pa.int64())),
        ("pixels", pa.list_(pa.int64())),  # labelled as the class
    ]
)
DETECTED_IMAGES = pa.schema(
    [("index", pa.int64()), ("image", pa.string()), ("height", pa.int64()), ("width", pa.int64())]
)
_OBJECT = [
    ("index", pa.int64()),  # of the image
    ("category", pa.int64()),  # COCO's number
    *((side, pa.float64()) for side in ("x", "y", "width", "height")),  # pixels
]
_MASK = ("mask", pa.string())  # the counts of pycocotools' compressed run lengths, or null
TRUTHS = pa.schema([*_OBJECT, ("area", pa.float64()), ("crowd", pa.bool_()), _MASK])
DETECTIONS = pa.schema([*_OBJECT, ("score", pa.float64()), _MASK])
SEGMENTS = pa.schema(
    [
        ("index", pa.int64()),  # of the image
        ("category", pa.int64()),  # COCO's number
        ("tp", pa.int64()),  # segments that match, that are false, and that are missing
        ("fp", pa.int64()),
        ("fn", pa.int64()),
        ("iou", pa.float64()),  # sum over the matches
    ]
)
SECONDS_BETWEEN_PARTS = 20.0
_MAKER = b"resnest_core"  # the key of metadata of a part
GROUP_ROWS, GROUP_BYTES = 100_000, 2**28  # of a file that is merged; as many rows as fit into both


class Parts:
    """The rows of an evaluation so far, as part files in `directory`, which all its processes share.

    `identity` is what the rows depend on: parts that were written under another identity are removed, not continued.
    `done` are the indices that were there at the beginning.
    """

    def __init__(self, directory: Path, identity: dict[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self._root, self._maker = directory, "{}"
        self._directory = directory / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.done = distributed.of_first(self._begin)
        if not self._directory.is_dir():
            raise InputError(
                f"'{self._directory}', which the first process has made, is not there for process "
                f"{distributed.rank()}; all need the same output directory, settings, weights and data"
            )

    @property
    def rows(self) -> int:
        """How many rows were there at the beginning."""
        return len(self.done)

    def fill(self, tables: Iterable[pa.Table], n: int, maker: Mapping[str, Any]) -> None:
        """Add `tables`, in which this process's rows of `n` images come, and write a part every now and then.

        `maker` is what they are made by, which is kept with them.
        """
        self._maker = json.dumps(maker, sort_keys=True)
        waiting, written = [], time.monotonic()
        hidden = not distributed.is_first()
        with tqdm(total=self.rows + n, initial=self.rows, desc="evaluating", unit="image", disable=hidden) as bar:
            for table in tables:
                waiting.append(table)
                bar.update(table.num_rows)
                if time.monotonic() - written > SECONDS_BETWEEN_PARTS:
                    self.append(pa.concat_tables(waiting))
                    waiting, written = [], time.monotonic()
        if waiting:
            self.append(pa.concat_tables(waiting))

    def settled(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gave in the first process when the evaluation was begun, for all processes and continuations."""
        file = self._directory / "settled.json"

        def first() -> dict[str, Any]:
            if not file.exists():
                write_json(file, make())
            return dict(json.loads(file.read_text()))

        return distributed.of_first(first)

    def append(self, table: pa.Table) -> None:
        """Write rows as a part, called by the first of their indices, which is in no other part."""
        if table.num_rows:
            with replacing(self._directory / f"{table['index'][0].as_py():09d}.parquet") as temporary:
                pq.write_table(table.replace_schema_metadata({_MAKER: self._maker}), temporary)

    def made_by(self) -> list[dict[str, Any]]:
        """What rows were made by, each with the number of `images` that are its own."""
        found: Counter[bytes] = Counter()
        for part in self._parts():
            stored = pq.read_metadata(part)
            found[(stored.metadata or {}).get(_MAKER, b"{}")] += stored.num_rows
        return [{"images": rows, **json.loads(maker)} for maker, rows in found.items()]

    def merge(self, path: Path, n: int, tables: Collection[str] = ()) -> None:
        """Write all rows, by index, to `path`; each index of 0 to n - 1 must be there once.

        The columns `tables`, in which each value is a list of rows, go to files of their own beside it. However many
        rows there are, no more than a row group is held at once.
        """
        self._check(n)
        source = ds.dataset(self._parts(), format="parquet")
        length = self._group_length()
        with ExitStack() as stack:
            write = {
                name: stack.enter_context(_writing(path.with_name(f"{name}.parquet"), schema))
                for name, schema in _nested(source.schema, tables).items()
            }
            rows = pa.schema([column for column in source.schema if column.name not in write])
            write_rows = stack.enter_context(_writing(path, rows))
            for first in range(0, n, length):
                within = (ds.field("index") >= first) & (ds.field("index") < first + length)
                group = source.to_table(filter=within).sort_by("index")
                write_rows(group.select(rows.names))
                for name in write:
                    write[name](_flat(group[name]))

    def remove(self) -> None:
        """Remove the parts, when all that was to be made of them is there."""
        shutil.rmtree(self._root)

    def _begin(self) -> NDArray[np.int64]:
        for other in self._root.glob("*"):
            if other != self._directory and other.is_dir():  # a system may leave files of its own
                shutil.rmtree(other)
        output_directory(self._directory)
        return self._indices()

    def _parts(self) -> list[Path]:
        return sorted(self._directory.glob("[0-9]*.parquet"))

    def _indices(self) -> NDArray[np.int64]:
        found = [pq.read_table(part, columns=["index"])["index"].to_numpy() for part in self._parts()]
        return np.sort(np.concatenate([np.empty(0, np.int64), *found]))

    def _check(self, n: int) -> None:
        indices = self._indices()
        if not np.array_equal(indices, np.arange(n)):
            missing = np.setdiff1d(np.arange(n), indices)
            raise InputError(
                f"records in '{self._directory}' are not one per image: {len(indices)} rows for {n} images, "
                f"{len(missing)} missing; remove that directory and evaluate again"
            )

    def _group_length(self) -> int:
        """How many rows make a row group."""
        files = [pq.read_metadata(part) for part in self._parts()]
        size = sum(file.row_group(i).total_byte_size for file in files for i in range(file.num_row_groups))
        return max(min(GROUP_ROWS, GROUP_BYTES * sum(file.num_rows for file in files) // size), 1)


def _nested(schema: pa.Schema, names: Collection[str]) -> dict[str, pa.Schema]:
    """The schemas of the rows that are in the columns `names`."""
    return {name: pa.schema(schema.field(name).type.value_type.fields) for name in names}


def _flat(column: pa.ChunkedArray) -> pa.Table:
    """The rows that are in a column of lists."""
    return pa.Table.from_struct_array(list_flatten(column))


@contextmanager
def _writing(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """What writes the next row group of the file `path`, which is there when all are."""
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        yield writer.write_table
