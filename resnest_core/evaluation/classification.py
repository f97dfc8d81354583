"""The evaluator of classifiers: images in, one record per image out."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from resnest_core import distributed
from resnest_core.data import Dataset
from resnest_core.data.base import check_classes
from resnest_core.data.batches import evaluation_batches
from resnest_core.data.transforms import Preprocessing
from resnest_core.devices import choose_device, synchronise
from resnest_core.errors import InputError
from resnest_core.evaluation.evaluator import Evaluation
from resnest_core.evaluation.records import CLASSIFICATION, LOGITS
from resnest_core.evaluation.results import RECORDS, SCORED, Metric, classification_metrics, metric, rate
from resnest_core.memory import peak_memory
from resnest_core.modes import Choice, Execution, Runner, choose
from resnest_core.profiling import count_parameters, multiply_adds
from resnest_core.ranges import check_fields
from resnest_core.stages import stage
from resnest_core.texts import printable


@dataclass(frozen=True)
class Protocol:
    """How a network is evaluated, beside the preprocessing."""

    batch_size: int = 32
    device: str = "auto"
    mode: str = "exact"
    precision: str = "fp32"
    workers: int = 0
    keep_logits: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


def evaluate_classifier(
    model: nn.Module,
    dataset: Dataset,
    preprocessing: Preprocessing,
    out: str | Path,
    protocol: Protocol | None = None,
    *,
    weights_file: str | Path | None = None,
    parameters: dict[str, Any] | None = None,
    more_metrics: dict[str, Metric] | None = None,
) -> dict[str, Any]:
    """Evaluate `model` on every image of `dataset`; write `records.parquet` and `result.json` into `out`.

    An evaluation that was interrupted goes on after the last rows written, with the same batches. `keep_logits` adds
    a column of them. `parameters` and `more_metrics` are stored beside what is measured here. Returns the content of
    the result file.
    """
    run = _Run(model, dataset, preprocessing, protocol or Protocol())
    return run.evaluate(out, weights_file=weights_file, parameters=parameters, more_metrics=more_metrics)


class _Run(Evaluation):
    """The evaluation of a classifier."""

    dataset: Dataset

    def __init__(self, model: nn.Module, dataset: Dataset, preprocessing: Preprocessing, protocol: Protocol) -> None:
        super().__init__()
        self.device, self.model = choose_device(protocol.device), model
        self.mode, self.precision = protocol.mode, protocol.precision
        self.dataset, self.preprocessing, self.protocol = dataset, preprocessing, protocol
        self.batch_size = protocol.batch_size
        self.rates: list[float] = []
        self.costs: dict[str, Metric] = {}

    @property
    def settings(self) -> dict[str, Any]:
        rows = {name: value for name, value in asdict(self.protocol).items() if name not in ("device", "workers")}
        return rows | {"preprocessing": repr(self.preprocessing)}

    def batches(self, numbers: Sequence[int]) -> Iterator[tuple[np.ndarray, Tensor]]:
        return evaluation_batches(
            self.dataset,
            self.preprocessing,
            batch_size=self.batch_size,
            numbers=numbers,
            workers=self.protocol.workers,
            pinned=self.device.type == "cuda",
            seconds=self.reading,
        )

    def built(self, execution: Execution) -> Runner:
        size = self.preprocessing.crop_size
        return Runner(self.model, self.device, execution, torch.zeros(1, 3, size, size))

    def choose(self) -> Choice:
        return choose(self.mode, self.precision, self.device, self.built, self.sample)

    def sample(self) -> tuple[Tensor, int]:
        images = next(self.batches([0]))[1].to(self.device)
        return images, len(self.dataset) // (len(images) * distributed.world())

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, classes), float32 on the CPU, of images (N, 3, S, S)."""
        return self.run(images).float().cpu()

    def timed(self, images: Tensor) -> tuple[Tensor, float]:
        """The logits of a batch, and the images a second at which the network gave them."""
        with stage("transfer"):
            images = self.run.placed(images)
            synchronise(self.device)
        start = time.perf_counter()
        with stage("forward"):
            logits = self.logits(images)
        return logits, len(images) / (time.perf_counter() - start)

    def first_batch(self) -> pa.Table:
        """The records of the first batch, which tells the costs: parameters, multiply-adds, memory of its pass."""
        indices, images = next(self.batches([0]))
        some = images if self.run.execution.compiled else images[:1]  # compiling is for one size
        check_classes(self.logits(some).shape[1], self.dataset)  # warms up, too
        passes: list[Tensor] = []
        memory = peak_memory(lambda: passes.append(self.logits(images)), self.device)
        self.costs = {
            "parameters": metric(count_parameters(self.model), "1"),
            "multiply_adds": metric(multiply_adds(self.model, images.shape[-1]), "1"),
            "activation_memory": metric(memory.bytes, "bytes"),
        }
        return self._records(indices, passes[0])

    def rows(self, numbers: Sequence[int]) -> Iterator[pa.Table]:
        """The records of the batches `numbers`, a batch at a time; the first is looked at in any case."""
        start = time.perf_counter()
        first = self.first_batch()
        self.seconds["costs"] = time.perf_counter() - start
        if 0 in numbers:
            yield first
        for indices, images in self.batches([number for number in numbers if number > 0]):
            logits, speed = self.timed(images)
            self.rates.append(speed)
            with stage("records"):
                table = self._records(indices, logits)
            yield table

    def metrics(self, out: Path) -> dict[str, Metric]:
        """Accuracy and loss, and the costs."""
        records = pd.read_parquet(out / RECORDS, columns=list(SCORED))
        return classification_metrics(records) | self.costs | {"images_per_second": self.rate()}

    def rate(self) -> Metric:
        """Images a second in the forward passes; of the first batch if no other was left to do."""
        return rate(self.rates or [self.timed(next(self.batches([0]))[1])[1]])

    def _records(self, indices: np.ndarray, logits: Tensor) -> pa.Table:
        """The records of images `indices` (N,), from their logits (N, classes)."""
        names = [printable(self.dataset.paths[i]) for i in indices]
        broken = ~torch.isfinite(logits).all(dim=1)
        if broken.any():
            raise InputError(f"logits of image '{names[int(broken.nonzero()[0])]}' are not finite; check the weights")
        targets = torch.from_numpy(self.dataset.targets[indices])
        order = logits.sort(dim=1, descending=True, stable=True).indices  # (N, classes)
        probability = logits.softmax(dim=1).gather(1, order[:, :5])
        columns: dict[str, Any] = {
            "index": indices,
            "image": names,
            "target": targets.numpy(),
            "predicted": order[:, 0].numpy(),
            "correct": (order[:, 0] == targets).numpy(),
            "rank": (order == targets[:, None]).int().argmax(dim=1).numpy() + 1,
            "loss": cross_entropy(logits.double(), targets, reduction="none").numpy(),
            "top5": _lists(order[:, :5]),
            "top5_probability": _lists(probability),
        }
        schema = CLASSIFICATION
        if self.protocol.keep_logits:
            columns, schema = columns | {"logits": _lists(logits)}, schema.append(LOGITS)
        return pa.table(columns, schema=schema)


def _lists(matrix: Tensor) -> pa.ListArray:
    """The rows of a matrix (N, M) as N lists."""
    n, m = matrix.shape
    return pa.ListArray.from_arrays(np.arange(0, n * m + 1, m, dtype=np.int32), matrix.contiguous().flatten().numpy())


def accuracy_line(result: dict[str, Any]) -> str:
    """The line that the authors' verify.py ends with."""
    metrics = result["metrics"]
    return f"Top1 Acc: {metrics['top1']['value']:.3f} | Top5 Acc: {metrics['top5']['value']:.3f}"
