"""Build directories as a run leaves them, with plausible, seeded, invented results."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resnest_core.evaluation.examples import EXAMPLES, Example, save_examples
from resnest_core.evaluation.iou import segmentation_metrics
from resnest_core.statistics import wilson

IMAGES, CLASSES = 1000, 10
SETTINGS = ("0s1x64d", "1s1x64d", "2s1x64d", "4s1x64d", "1s2x40d", "2s2x40d", "4s2x40d", "1s4x24d")
RECIPE = {
    "dataset": "fashion_mnist",
    "weights": "",
    "limit": 0,
    "batch_size": 250,
    "train_limit": 8000,
    "train_batch_size": 64,
    "epochs": 1.5,
    "learning_rate": 0.4,
    "weight_decay": 0.0005,
    "warmup_epochs": 0.1,
    "label_smoothing": 0.1,
    "mixup": 0.0,
    "dropout": 0.0,
    "dropblock": 0.0,
    "augment": False,
    "seed": 0,
}
# parameters, and multiply-adds at own crop and at 224, of the full-size networks; crop size; images a second
FULL_SIZE = {
    "resnetd50": (25576264, 4.33e9, 4.33e9, 224, 11.0),
    "resnetd101": (44600000, 10.4e9, 8.0e9, 256, 6.1),
    "resnest50": (27483240, 5.37e9, 5.37e9, 224, 8.0),
    "resnest101": (48275016, 13.3e9, 10.2e9, 256, 4.3),
    "resnest200": (70201544, 35.6e9, 17.5e9, 320, 2.4),
    "resnest269": (110929480, 77.6e9, 22.5e9, 416, 1.6),
    "resnest50_fast_1s1x64d": (26217896, 4.32e9, 4.32e9, 224, 10.2),
    "resnest50_fast_2s1x64d": (27483240, 4.33e9, 4.33e9, 224, 9.6),
    "resnest50_fast_4s1x64d": (31904904, 4.34e9, 4.34e9, 224, 8.2),
    "resnest50_fast_1s2x40d": (25894568, 4.36e9, 4.36e9, 224, 9.4),
    "resnest50_fast_2s2x40d": (26889688, 4.36e9, 4.36e9, 224, 8.7),
    "resnest50_fast_4s2x40d": (30421752, 4.39e9, 4.39e9, 224, 7.2),
    "resnest50_fast_1s4x24d": (25676168, 4.41e9, 4.41e9, 224, 8.5),
}


class Study:
    """Writes experiments into a build directory; `write_plan` comes last."""

    def __init__(self, directory: Path, profile: str) -> None:
        self.directory, self.profile = directory, profile
        self.random = np.random.default_rng(7)
        self.difficulty = self.random.normal(size=IMAGES)
        self.targets = self.random.integers(0, CLASSES, IMAGES)
        self.plan: list[dict[str, Any]] = []

    def classifier(
        self, key: str, accuracy: float, *, missing: str | None = None, logits: bool = False, **given: Any
    ) -> None:
        """An experiment with one network of about that accuracy (%)."""
        if missing is None:
            self.evaluated(key, self.records(accuracy, logits), accuracy=accuracy, **given)
        else:
            self.add(key, RECIPE | given, missing)

    def evaluated(self, key: str, records: pd.DataFrame, *, accuracy: float = 80.0, **given: Any) -> None:
        """An experiment with these records; `accuracy` is where its curves end."""
        parameters = RECIPE | given
        self.add(key, parameters, None)
        trained = not parameters["weights"]
        self.store(key, parameters, _metrics(records, trained), records)
        if trained:
            _curves(parameters, accuracy).to_csv(self.directory / key / "curves.csv", index=False)

    def alias(self, key: str, target: str) -> None:
        """An experiment that is the same as `target`, which must be there already."""
        source = next(line for line in self.plan if f"{line['study']}/{line['name']}" == target)
        self.add(key, source["parameters"], source["reason"], target)

    def efficiency(self, networks: Mapping[str, tuple[float, ...]] = FULL_SIZE) -> None:
        parameters = {"networks": list(networks), "batch_size": 4, "crop_size": 224, "rounds": 5}
        self.add("efficiency/full_size", parameters, None)
        metrics = {}
        for name, (count, own, common, crop, speed) in networks.items():
            values = {"parameters": count, "multiply_adds": own, "multiply_adds_224": common, "crop_size": crop}
            values |= {"memory": 9e7 + count, "latency": 1.1 / speed}
            metrics |= {f"{name}.{key}": metric(value) for key, value in values.items()}
            metrics[f"{name}.images_per_second"] = metric(speed, 0.95 * speed, 1.04 * speed, 5)
        rows = [
            (name, size, turn, size / speed * (1 + 0.01 * turn))
            for turn in range(1, 6)
            for name, (*_, speed) in networks.items()
            for size in (1, 4)
        ]
        passes = pd.DataFrame(rows, columns=["network", "batch_size", "round", "seconds"])
        self.store("efficiency/full_size", parameters, metrics, passes)

    def segmenter(
        self, key: str, quality: float, *, missing: str | None = None, images: int = 30, **given: Any
    ) -> None:
        """An experiment with one segmentation network that gets about that share of each class right."""
        parameters = {"dataset": "scenes", "view": "single_scale", "weights": "", "backbone": "", "seed": 0, **given}
        self.add(key, parameters, missing)
        if missing is not None:
            return
        names = ["ground", *(f"class {i}" for i in range(1, 6))]
        truth = np.random.default_rng(1)  # the same images for all
        pixels = truth.integers(50, 900, (images, len(names)))
        right = (pixels * np.clip(quality + self.random.normal(0, 0.1, pixels.shape), 0, 1)).astype(np.int64)
        unions = pixels + self.random.integers(20, 200, pixels.shape)
        frame = pd.DataFrame({"index": range(images), "image": [f"{i}.png" for i in range(images)]})
        columns = {"intersections": right, "unions": unions, "pixels": pixels}
        frame = frame.assign(**{name: list(values) for name, values in columns.items()})
        metrics = segmentation_metrics(frame, names) | {"parameters": metric(450_000), "peak_memory": metric(5e8)}
        if not parameters["weights"]:
            metrics |= {"training_seconds": metric(25.0)}
        self.store(key, parameters | {"classes": names}, metrics, frame)
        maps = truth.integers(-1, len(names), (12, 16, 16)).astype(np.int16)
        seen = [Example(np.zeros((16, 16, 3), np.uint8), m, np.abs(m)) for m in maps]
        save_examples(self.directory / key / EXAMPLES, seen)

    def records(self, accuracy: float, logits: bool = False) -> pd.DataFrame:
        """Rows of a network that gets the easier images right, with some noise of its own."""
        score = self.difficulty + 0.4 * self.random.normal(size=IMAGES)
        return self.rows(score < np.quantile(score, accuracy / 100), logits)

    def rows(self, correct: np.ndarray, logits: bool = False) -> pd.DataFrame:
        """Rows of a network that is right on the images of which `correct` is true."""
        rank = np.where(correct, 1, self.random.integers(2, 9, IMAGES))
        predicted = np.where(correct, self.targets, (self.targets + 1) % CLASSES)
        frame = pd.DataFrame({"index": range(IMAGES), "image": [f"test/{i}.png" for i in range(IMAGES)]})
        frame = frame.assign(target=self.targets, predicted=predicted, correct=correct, rank=rank)
        frame["loss"] = np.where(correct, 0.2, 2.0)
        if logits:
            frame["logits"] = list(np.linspace(0, 1, IMAGES * CLASSES, dtype=np.float32).reshape(IMAGES, CLASSES))
        return frame

    def copy(self, key: str, source: str, *, flipped: int = 0, shift: float = 0.0, **given: Any) -> None:
        """An evaluation of the same weights, of which `flipped` predictions and all logits came out otherwise."""
        records = pd.read_parquet(self.directory / source / "records.parquet")
        records.loc[: flipped - 1, "predicted"] = (records.target[:flipped] + 2) % CLASSES
        records["correct"] = records.predicted == records.target
        records["logits"] = [row + np.float32(shift) for row in records.logits]
        self.evaluated(key, records, **given)

    def write_plan(self, description: str = "An invented study.") -> Path:
        plan = {"profile": self.profile, "description": description, "experiments": self.plan}
        (self.directory / "plan.json").write_text(json.dumps(plan))
        return self.directory

    def add(self, key: str, parameters: dict[str, Any], missing: str | None, same_as: str | None = None) -> None:
        study, name = key.split("/")
        line = {"study": study, "name": name, "parameters": parameters, "same_as": same_as}
        self.plan.append(line | {"status": "run" if missing is None else "missing", "reason": missing})

    def store(self, key: str, parameters: dict[str, Any], metrics: dict[str, Any], records: pd.DataFrame) -> None:
        out = self.directory / key
        out.mkdir(parents=True)
        records.to_parquet(out / "records.parquet")
        result = {
            "metrics": metrics,
            "parameters": parameters,
            "provenance": _provenance(len(self.plan), data="dataset" in parameters),
        }
        (out / "result.json").write_text(json.dumps(result))

    def pretend(self, key: str) -> None:
        """Give a result that real code wrote just now the invented provenance that all others have."""
        path = self.directory / key / "result.json"
        provenance = _provenance(len(self.plan), data=False)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"provenance": provenance}))


def _metrics(records: pd.DataFrame, trained: bool) -> dict[str, Any]:
    n = len(records)
    top1, top5 = wilson(int(records.correct.sum()), n), wilson(int((records["rank"] <= 5).sum()), n)
    metrics = {
        "top1": metric(top1.value, top1.low, top1.high, n),
        "top5": metric(top5.value, top5.low, top5.high, n),
        "loss": metric(float(records.loss.mean()), None, None, n),
        "parameters": metric(532714),
        "multiply_adds": metric(21_400_000),
        "activation_memory": metric(18_500_000),
        "images_per_second": metric(1234.5, 1200.0, 1260.0, 40),
    }
    if trained:
        metrics |= {"training_seconds": metric(21.4), "training_images_per_second": metric(561.0)}
    return metrics


def metric(value: float, low: float | None = None, high: float | None = None, n: int | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n, "unit": "1"}


def _curves(parameters: dict[str, Any], accuracy: float) -> pd.DataFrame:
    epochs = np.arange(1, 9) * parameters["epochs"] / 8
    fit = 1 - np.exp(-3 * epochs / epochs[-1])
    rate = parameters["learning_rate"] * parameters["train_batch_size"] / 256 * (1 - epochs / epochs[-1] * 0.9)
    curves = {"epoch": epochs, "learning_rate": rate, "train_loss": 2.2 - 1.4 * fit, "test_loss": 2.1 - 1.6 * fit}
    return pd.DataFrame(curves | {"test_top1": accuracy * fit / fit[-1]})


def _provenance(number: int, *, data: bool) -> dict[str, Any]:
    return {
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "clean": True,
        "command": "ipykernel_launcher.py -f kernel.json",
        "date": f"2026-11-22T07:{number % 60:02d}:00+00:00",
        "versions": {"python": "3.11.7", "torch": "2.15.0", "numpy": "2.4.6"},
        "device": "cpu",
        "processor": "An Invented Processor",
        "cores": 2,
        "threads": 1,
        "precision": "fp32",
        "data_digest": hashlib.sha256(b"images").hexdigest() if data else None,
        "weights_file": "weights.safetensors",
        "weights_sha256": hashlib.sha256(bytes([number])).hexdigest() if data else None,
        "seconds": 30.0 + number,
        "peak_memory": 700_000_000,
    }
