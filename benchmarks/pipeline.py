"""From photograph to record: evaluation in this project's modes and in the authors' way, and where the time goes."""

import copy
import json
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import authors_way
from benchmarks.speed import CROP_SIZE, LITERAL, by_turns, quotient
from resnest_core.data.imagenet import ImageFiles, open_folder
from resnest_core.data.transforms import Preprocessing
from resnest_core.evaluation.classification import Protocol, evaluate_classifier
from resnest_core.evaluation.results import RESULT, rate
from resnest_core.models import create_model


def photographs(source: Path | None, scratch: Path, limit: int) -> ImageFiles:
    """`limit` photographs as a data set of 1000 classes, or JPEGs of smooth noise of a photograph's size.

    Those of `source` are taken again and again if they are too few.
    """
    folder = scratch / "photographs" / "any"
    folder.mkdir(parents=True)
    if source is None:
        rng = np.random.default_rng(0)
        for number in range(limit):
            coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number:04d}.jpg", quality=90)
    else:
        for number, path in zip(range(limit), cycle(sorted(source.iterdir())), strict=False):
            (folder / f"{number:04d}{path.suffix}").symlink_to(path.absolute())
    for number in range(999):
        (folder.parent / f"empty{number:03d}").mkdir()
    return open_folder(folder.parent, "test", 0)


def evaluations(
    name: str, files: ImageFiles, scratch: Path, device: torch.device, batch: int, rounds: int, workers: int
) -> list[dict[str, Any]]:
    """A row for each mode: images a second of the whole evaluation, of the network alone, and seconds by stage."""
    torch.manual_seed(0)
    model = create_model(name).eval()
    calls: dict[str, Callable[[], object]] = {}
    for mode in ("exact", "fast"):
        protocol = Protocol(batch_size=batch, device=str(device), workers=workers, mode=mode)
        given = files, Preprocessing(crop_size=CROP_SIZE), scratch / mode, protocol
        calls[mode] = partial(evaluate_classifier, model, *given)
    if device.type == "cpu":  # theirs has no other
        literal = authors_way.with_lists(copy.deepcopy(model))
        same: dict[str, Any] = {"crop_size": CROP_SIZE, "batch_size": batch, "workers": workers}
        calls[LITERAL] = partial(authors_way.evaluate, literal, files, **same)
    seconds = by_turns(calls, rounds, device)
    rows = []
    for way, taken in seconds.items():
        row: dict[str, Any] = {"network": name, "way": way, "batch_size": batch, "workers": workers}
        row["images_per_second"] = rate([len(files) / value for value in taken])
        if LITERAL in seconds:
            row["times_as_fast"] = quotient(seconds[LITERAL], taken)
        rows.append(row if way == LITERAL else row | _last(scratch / way, len(files), batch))
    return rows


def _last(out: Path, images: int, batch: int) -> dict[str, Any]:
    """What the last evaluation stored of itself: seconds by stage, its network's rate, and the share reached."""
    result = json.loads((out / RESULT).read_text())
    stages, own = result["provenance"]["stages"], result["metrics"]["images_per_second"]["value"]
    pipeline = (images - batch) / (stages["whole"] - stages["costs"])  # the first batch is spent on measuring costs
    return {
        "network_images_per_second": own,
        "share_of_network_rate": pipeline / own,
        "stages": stages,
        "execution": result["provenance"]["execution"],
        "peak_memory": result["provenance"]["peak_memory"],
    }
