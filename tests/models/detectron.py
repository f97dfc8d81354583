"""The stored outputs of detectron2 for golden weights, and networks with those weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_weights import golden_state_dict
from torch import Tensor

import resnest_core as rc
from resnest_core.checkpoints import MANIFEST
from resnest_core.models.rcnn.detector import Detector

GOLDEN = Path(__file__).parent.parent / "golden" / "detection"
TASKS = "object_detection", "instance_segmentation", "panoptic_segmentation"
TOLERANCE = 1e-4  # of the deviation
# Plain golden weights find nothing; these factors, by the ends of keys, make 100 detections.
FACTORS = {"rpn_head.anchor_deltas.weight": 0.1, "cls_score.weight": 10.0, "bbox_pred.weight": 3.0}


def published_name(file: str) -> str:
    """The network whose published file begins as a golden file's name does."""
    return next(
        name for name, record in MANIFEST.items() if record.task in TASKS and record.file.startswith(file.split(".")[0])
    )


def keys(file: str) -> dict[str, list]:
    """Shape and kind of each entry of a published file."""
    listed = json.loads((GOLDEN / f"{file}.keys.json").read_text())
    return {key: [shape, kind] for key, shape, kind in listed}


def golden_file(entries: dict[str, Any], *, damped: bool = False, factors: dict[str, float] | None = None) -> dict:
    """Golden weights under detectron2's keys, as a published file would have them."""
    like = {
        key: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for key, (shape, kind) in entries.items()
    }
    state = golden_state_dict(like)
    scaled = dict(factors or {}) | ({"conv3.norm.weight": 0.5} if damped else {})
    for end, factor in scaled.items():
        state |= {key: value * factor for key, value in state.items() if key.endswith(end)}
    return state


def detector(name: str, state: dict[str, Tensor]) -> Detector:
    model = rc.create_model(name)
    assert isinstance(model, Detector)
    rc.load_weights(model, state)
    return model.eval()


def assert_close(stored: Any, name: str, actual: Tensor) -> None:
    """The tensor `name` of a golden file, whether stored whole or as shape, mean, deviation and samples."""
    values = actual.numpy().astype(np.float64)
    if name in stored:
        expected = stored[name].astype(np.float64)
        assert values.shape == expected.shape, name
        assert np.abs(values - expected).max() <= TOLERANCE * expected.std(), name
        return
    deviation, samples = float(stored[f"{name}.std"]), stored[f"{name}.sample"]
    assert values.shape == tuple(stored[f"{name}.shape"]), name
    places = np.linspace(0, values.size - 1, len(samples)).astype(int)
    assert np.abs(values.reshape(-1)[places] - samples).max() < TOLERANCE * deviation, name
    assert abs(values.mean() - stored[f"{name}.mean"]) < TOLERANCE * deviation, name
    assert abs(values.std() - deviation) < TOLERANCE * deviation, name
