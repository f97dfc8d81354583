"""Invented results of detectors, beside those of `fabricate`."""

from typing import Any

import numpy as np
import pandas as pd
from fabricate import Study, metric
from PIL import Image
from pycocotools import mask as run_lengths

from resnest_core.evaluation.average_precision import detection_metrics
from resnest_core.evaluation.examples import EXAMPLES, save_images

NAMES = {1: "hat", 2: "shoe", 5: "glove"}
SIZE, OBJECTS = 160, 3


def detector(
    study: Study, key: str, quality: float, *, missing: str | None = None, images: int = 12, **given: Any
) -> None:
    """An experiment with one detector that finds about that share of the objects, and a few that are not there."""
    parameters = {"dataset": "scenes", "weights": "", "backbone": "", "seed": 0, **given}
    study.add(key, parameters, missing)
    if missing is not None:
        return
    masked = "mask" in parameters["model"]
    truths = _truths(images, masked=masked)
    found = _found(truths, quality, study.random, masked=masked)
    frame = pd.DataFrame({"index": range(images), "image": [f"{i}.png" for i in range(images)]})
    frame = frame.assign(height=SIZE, width=SIZE)
    metrics = detection_metrics(frame, truths, found, NAMES, masks=masked)
    metrics |= {"parameters": metric(423_000), "peak_memory": metric(6e8)}
    metrics |= {} if parameters["weights"] else {"training_seconds": metric(60.0)}
    classes = {"classes": list(NAMES.values()), "category_ids": list(NAMES)}
    study.store(key, parameters | classes, metrics, frame)
    truths.to_parquet(study.directory / key / "truths.parquet")
    found.to_parquet(study.directory / key / "detections.parquet")
    save_images(study.directory / key / EXAMPLES, [Image.new("RGB", (SIZE, SIZE), (40, 40, 60))] * 4)


def _truths(images: int, *, masked: bool) -> pd.DataFrame:
    """The same objects for all networks."""
    random = np.random.default_rng(2)
    n = images * OBJECTS
    corners, sides = random.integers(0, 90, (n, 2)), random.integers(12, 70, (n, 2))
    boxes = np.concatenate([corners, sides], axis=1).astype(float)
    frame = pd.DataFrame(boxes, columns=["x", "y", "width", "height"])
    frame.insert(0, "index", np.repeat(np.arange(images), OBJECTS))
    frame.insert(1, "category", random.choice(list(NAMES), n))
    return frame.assign(area=frame.width * frame.height, crowd=False, mask=_masks(boxes) if masked else None)


def _found(truths: pd.DataFrame, quality: float, random: np.random.Generator, *, masked: bool) -> pd.DataFrame:
    """Some of the objects, a little beside their places, and as many things again with low scores."""
    seen = truths[random.random(len(truths)) < quality].drop(columns=["area", "crowd"])
    moved = seen.assign(x=seen.x + random.integers(-2, 3, len(seen)), score=random.uniform(0.4, 1, len(seen)))
    wrong = truths.drop(columns=["area", "crowd"]).assign(x=0.0, y=0.0, score=random.uniform(0.06, 0.5, len(truths)))
    found = pd.concat([moved, wrong], ignore_index=True).sort_values("index", kind="stable", ignore_index=True)
    boxes = found[["x", "y", "width", "height"]].to_numpy()
    return found.assign(mask=_masks(boxes) if masked else None)


def _masks(boxes: np.ndarray) -> list[str]:
    encoded = run_lengths.frPyObjects(np.clip(boxes, 0, None), SIZE, SIZE)
    return [mask["counts"].decode() for mask in encoded]
