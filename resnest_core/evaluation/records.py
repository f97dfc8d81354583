"""Records: one row per image, written in parts so that an interrupted evaluation can go on."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from resnest_core.errors import InputError
from resnest_core.files import output_directory, replacing

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


class Parts:
    """The rows of an evaluation so far, as part files in `directory`.

    `identity` is what the rows depend on: parts that were written under another identity are removed, not continued.
    """

    def __init__(self, directory: Path, identity: dict[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        for other in directory.glob("*"):
            if other.name != name:
                shutil.rmtree(other)
        self._root = directory
        self._directory = output_directory(directory / name)
        self.rows = sum(pq.read_metadata(part).num_rows for part in self._parts())

    def fill(self, tables: Iterable[pa.Table], n: int) -> None:
        """Add `tables`, in which the rows of `n` images come in order, and write a part every now and then."""
        waiting, written = [], time.monotonic()
        with tqdm(total=n, initial=self.rows, desc="evaluating", unit="image") as bar:
            for table in tables:
                waiting.append(table)
                bar.update(table.num_rows)
                if time.monotonic() - written > SECONDS_BETWEEN_PARTS:
                    self.append(pa.concat_tables(waiting))
                    waiting, written = [], time.monotonic()
        if waiting:
            self.append(pa.concat_tables(waiting))

    def append(self, table: pa.Table) -> None:
        """Add the rows that follow those already there."""
        with replacing(self._directory / f"{self.rows:09d}.parquet") as temporary:
            pq.write_table(table, temporary)
        self.rows += table.num_rows

    def merge(self, path: Path, n: int) -> pa.Table:
        """Write all rows, by index, to `path`, and remove the parts; each index of 0 to n - 1 must be there once."""
        table = pa.concat_tables([pq.read_table(part) for part in self._parts()]).sort_by("index")
        indices = table["index"].to_numpy()
        if not np.array_equal(indices, np.arange(n)):
            missing = np.setdiff1d(np.arange(n), indices)
            raise InputError(
                f"records in '{self._directory}' are not one per image: {len(indices)} rows for {n} images, "
                f"{len(missing)} missing; remove that directory and evaluate again"
            )
        with replacing(path) as temporary:
            pq.write_table(table, temporary)
        shutil.rmtree(self._root)
        return table

    def _parts(self) -> list[Path]:
        return sorted(self._directory.glob("[0-9]*.parquet"))
