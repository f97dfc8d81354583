"""`python -m benchmarks.million`: memory and speed of writing, reading and evaluating shards, by number of images.

Each step runs in a process of its own, as what counts is the most memory that it ever held.
"""

import hashlib
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from resnest_core.cli import run_command
from resnest_core.cli.options import number, path
from resnest_core.data import open_dataset
from resnest_core.data.batches import evaluation_batches
from resnest_core.data.shard_writer import write_shards
from resnest_core.data.stored import StoredImages
from resnest_core.data.strings import Strings
from resnest_core.data.transforms import Preprocessing
from resnest_core.evaluation.classification import Protocol, evaluate_classifier
from resnest_core.files import output_directory, write_json
from resnest_core.memory import process_peak_memory
from resnest_core.models import create_model
from resnest_core.provenance import Stopwatch

PREPROCESSING = Preprocessing("resize_then_crop", 28, ratio=1.0)
BATCH_SIZE = 256
SIZES = [10_000, 100_000]


def main(
    out: Annotated[Path, typer.Option(parser=path, help="File for the measurements.")],
    images: Annotated[list[int], number("images", "Images in a set; may be given several times.")] = SIZES,
    most_evaluated: Annotated[int, number("most_evaluated", "Larger sets are read, and not evaluated.")] = 1_000_000,
    model: Annotated[str, typer.Option(help="The classifier.")] = "mini_resnest11",
    workers: Annotated[int, number("workers", "Processes that decode images.")] = 1,
) -> None:
    """Measure sets of small images made of Fashion-MNIST; write JSON, print the rows."""
    watch = Stopwatch()
    output_directory(out.parent)
    rows = [row for n in images for row in _rows(n, n <= most_evaluated, model, workers)]
    settings = {"model": model, "workers": workers, "batch_size": BATCH_SIZE, "crop_size": PREPROCESSING.crop_size}
    write_json(out, {"settings": settings, "rows": rows, "provenance": watch.provenance()})
    print(json.dumps(rows, indent=1))


def _rows(n: int, evaluated: bool, model: str, workers: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "set"
        rows = [_alone(_write, 0, root, n), _alone(_read, workers, root)]
        if evaluated:
            rows.append(_alone(_evaluate, workers, root, model))
        size = sum(path.stat().st_size for path in root.iterdir())
    return [{"images": n, "bytes": size, **row, "images_per_second": n / row["seconds"]} for row in rows]


def _alone(step: Callable[..., None], workers: int, *arguments: Any) -> dict[str, Any]:
    """Seconds and bytes of a step in a fresh process, and the bytes of the largest of its workers, if it has any."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, step, workers, *arguments).result()


def _measured(step: Callable[..., None], workers: int, *arguments: Any) -> dict[str, Any]:
    torch.set_num_threads(1)
    start = time.perf_counter()
    step(workers, *arguments)
    seconds = time.perf_counter() - start
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 if workers else None
    return {
        "step": step.__name__.removeprefix("_"),
        "seconds": seconds,
        "peak_memory": process_peak_memory(),
        "peak_memory_of_a_worker": largest,
    }


def _write(_: int, root: Path, n: int) -> None:
    write_shards(Repeated(n), root)


def _read(workers: int, root: Path) -> None:
    images = open_dataset("shards", root)
    print(images.digest)
    for _ in evaluation_batches(images, PREPROCESSING, batch_size=BATCH_SIZE, workers=workers):
        pass


def _evaluate(workers: int, root: Path, model: str) -> None:
    torch.manual_seed(0)
    protocol = Protocol(batch_size=BATCH_SIZE, device="cpu", workers=workers)
    evaluate_classifier(create_model(model), open_dataset("shards", root), PREPROCESSING, root.parent / "out", protocol)


@dataclass(frozen=True)
class Repeated(StoredImages):
    """The 10,000 test images of Fashion-MNIST as PNG, again and again until there are `n`."""

    n: int
    name: str = "repeated"
    place: str = "in memory"
    upright: bool = True
    files: list[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        clothes = open_dataset("fashion_mnist")
        paths = Strings.of(f"{i // 10_000:04d}/{i % 10_000:05d}.png" for i in range(self.n))
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "files", [clothes.content(i) for i in range(len(clothes))])
        object.__setattr__(self, "classes", clothes.classes)
        object.__setattr__(self, "targets", np.resize(clothes.targets, self.n))
        object.__setattr__(self, "available", self.n)

    def content_digests(self) -> Iterator[str]:
        return (hashlib.sha256(self.content(i)).hexdigest() for i in range(self.n))

    def contents(self, indices: Sequence[int]) -> list[bytes]:
        return [self.files[index % len(self.files)] for index in indices]


if __name__ == "__main__":
    run_command(main)
