"""`python -m benchmarks`: this project's evaluation and block against the authors' way, as ratios within one run."""

import copy
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from tqdm import tqdm

from benchmarks import authors_way
from resnest_core.data.imagenet import ImageFiles, open_folder
from resnest_core.data.transforms import Preprocessing
from resnest_core.evaluation.classification import Protocol, evaluate_classifier
from resnest_core.files import output_directory, write_json
from resnest_core.models import create_model
from resnest_core.models.split_attention import SplitAttentionConv2d
from resnest_core.provenance import Stopwatch

CROP_SIZE = 224
BLOCKS = [(64, 56), (128, 28), (256, 14), (512, 7)]  # channels and side of the map in the four stages at 224


def main(
    out: Annotated[Path, typer.Option(help="File for the measurements.")],
    images: Annotated[
        Path | None, typer.Option(help="Photographs to evaluate, in one folder; made if not given.")
    ] = None,
    model: Annotated[str, typer.Option(help="The classifier.")] = "resnest50",
    batch_size: int = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Each way once a round.")] = 5,
    limit: Annotated[int, typer.Option(min=1, help="Photographs in a round.")] = 64,
    workers: int = 0,
) -> None:
    """Measure evaluation from JPEG to record, its peak memory, and the block alone; write JSON, print ratios."""
    watch = Stopwatch()
    output_directory(out.parent)
    with tempfile.TemporaryDirectory() as scratch:
        files = _photographs(images, Path(scratch), limit)
        ways, memory = _evaluation(model, files, Path(scratch), batch_size, rounds, workers)
    measured = {"evaluation": ways, "blocks": [_block(channels, side, rounds) for channels, side in BLOCKS]}
    settings = {"model": model, "batch_size": batch_size, "images": len(files), "rounds": rounds, "workers": workers}
    content = {"settings": settings, **measured, "peak_memory": memory, "provenance": watch.provenance()}
    write_json(out, content)
    print(json.dumps({**measured, "peak_memory": memory}, indent=1))


def _photographs(source: Path | None, scratch: Path, limit: int) -> ImageFiles:
    """`limit` photographs as a data set of 1000 classes, or JPEGs of smooth noise of a photograph's size."""
    folder = scratch / "photographs" / "any"
    folder.mkdir(parents=True)
    if source is None:
        rng = np.random.default_rng(0)
        for number in range(limit):
            coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number:04d}.jpg", quality=90)
    else:
        for path in sorted(source.iterdir())[:limit]:
            (folder / path.name).symlink_to(path.absolute())
    for number in range(999):
        (folder.parent / f"empty{number:03d}").mkdir()
    return open_folder(folder.parent, "test", 0)


def _evaluation(name: str, files: ImageFiles, scratch: Path, batch_size: int, rounds: int, workers: int) -> tuple:
    """Seconds of each way, and the process's peak memory after ours alone."""
    torch.manual_seed(0)
    model = create_model(name).eval()
    literal = authors_way.with_lists(copy.deepcopy(model))
    protocol = Protocol(batch_size=batch_size, device="cpu", workers=workers)

    def ours() -> None:
        evaluate_classifier(model, files, Preprocessing(crop_size=CROP_SIZE), scratch / "out", protocol)

    def authors() -> None:
        authors_way.evaluate(literal, files, crop_size=CROP_SIZE, batch_size=batch_size, workers=workers)

    ours()
    memory = json.loads((scratch / "out" / "result.json").read_text())["provenance"]["peak_memory"]
    return ratio(ours, authors, rounds), memory


@torch.inference_mode()
def _block(channels: int, side: int, rounds: int) -> dict:
    block = SplitAttentionConv2d(channels, channels, radix=2).eval()
    literal = authors_way.ListSplitAttention(block)
    x = torch.randn(32, channels, side, side)
    difference = (block(x) - literal(x)).abs().max() / literal(x).std()
    speeds = ratio(lambda: block(x), lambda: literal(x), 4 * rounds)
    return {"channels": channels, "side": side, "difference_over_deviation": difference.item(), **speeds}


def ratio(ours: Callable[[], object], authors: Callable[[], object], rounds: int) -> dict:
    """Seconds of each way, by turns, and how many times as fast as the authors' way ours is, round by round."""
    seconds = []
    for _ in tqdm(range(rounds + 1), desc="rounds", leave=False):
        seconds.append([_time(ours), _time(authors)])
    table = np.array(seconds[1:])  # the first round warms up
    speed = table[:, 1] / table[:, 0]
    low, median, high = np.quantile(speed, [0.25, 0.5, 0.75])
    return {
        "seconds_ours": table[:, 0].tolist(),
        "seconds_authors": table[:, 1].tolist(),
        "times_as_fast": {"value": median, "low": low, "high": high, "n": rounds},
    }


def _time(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
