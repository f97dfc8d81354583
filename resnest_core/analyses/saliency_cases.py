"""A few images with their heat, stored for figures."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from resnest_core.evaluation.examples import EXAMPLES, load_images, save_images
from resnest_core.evaluation.results import RECORDS, RESULT
from resnest_core.figures.saliency import Case, Look

LARGEST = 160  # pixels: more than print shows


def save_cases(directory: Path, seen: Sequence[NDArray[np.float32]], heats: Sequence[tuple[NDArray, NDArray]]) -> None:
    """Write `examples.npz`: images as networks see them, (3, S, S), and heats (N, S, S) of N images, two a run.

    The images are stretched to all greys; the heats, 0 to 1, are of the predicted and of the true class.
    """
    pictures, side = [], min(LARGEST, max((image.shape[-1] for image in seen), default=LARGEST))
    for number, image in enumerate(seen):
        pictures.append(_grey(np.moveaxis(image, 0, -1), float(image.min()), float(np.ptp(image)), side))
        pictures += [_grey(heat[number], 0, 1, side) for pair in heats for heat in pair]
    save_images(directory / EXAMPLES, pictures)


def read_cases(directory: str | Path) -> list[Case]:
    """The images that the analysis in `directory` has stored, each with the look of the runs that stand beside it."""
    directory = Path(directory)
    result = json.loads((directory / RESULT).read_text(encoding="utf-8"))["parameters"]
    records = pd.read_parquet(directory / RECORDS).set_index(["run", "index"])
    pictures = [np.asarray(picture) for picture in load_images(directory / EXAMPLES)]
    runs, classes, found = result["beside"], result["classes"], []
    step = 1 + 2 * len(runs)
    for number, index in enumerate(result["shown"]):
        image, *heats = pictures[number * step : (number + 1) * step]
        rows = [records.loc[(run, index)] for run in runs]
        looks = [
            Look(run, classes[row["predicted"]], heat / 255, None if row["correct"] else true / 255)
            for run, row, heat, true in zip(runs, rows, heats[::2], heats[1::2], strict=True)
        ]
        found.append(Case(image, classes[rows[0]["target"]], looks))
    return found


def _grey(values: NDArray, least: float, span: float, side: int) -> Image.Image:
    """Values (S, S) or (S, S, 3) from `least` on as a picture with sides of that many pixels."""
    picture = Image.fromarray((255 * (values - least) / (span or 1)).round().astype(np.uint8))
    return picture.resize((side, side), Image.Resampling.BILINEAR)
