"""The evaluator of segmentation networks: images in, counts of pixels by class for each image out."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from resnest_core.data import SegmentationDataset
from resnest_core.data.base import check_classes
from resnest_core.data.transforms import as_tensors, normalised
from resnest_core.devices import choose_device, synchronise
from resnest_core.errors import of_image
from resnest_core.evaluation.crops import CropRunner
from resnest_core.evaluation.evaluator import Evaluation
from resnest_core.evaluation.iou import COUNTS, count, segmentation_metrics
from resnest_core.evaluation.records import SEGMENTATION
from resnest_core.evaluation.results import RECORDS, Metric, metric, printed, rate
from resnest_core.evaluation.views import MOST_STRETCHED, View, likeliest, maps, summed
from resnest_core.memory import device_peak_memory
from resnest_core.models.deeplab import Segmenter
from resnest_core.modes import Choice, Execution, Runner, choose, settled
from resnest_core.profiling import count_parameters, multiply_adds
from resnest_core.ranges import check_fields
from resnest_core.texts import printable


@dataclass(frozen=True)
class Protocol:
    """How a network is evaluated. `memory_budget` is in GiB; 0 for 2 on a CPU and most of what is free on a GPU."""

    view: View = field(default_factory=View)
    device: str = "auto"
    mode: str = "exact"
    precision: str = "fp32"
    workers: int = 0
    memory_budget: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)


def evaluate_segmenter(
    model: Segmenter,
    dataset: SegmentationDataset,
    out: str | Path,
    protocol: Protocol | None = None,
    *,
    weights_file: str | Path | None = None,
    parameters: dict[str, Any] | None = None,
    more_metrics: dict[str, Metric] | None = None,
) -> dict[str, Any]:
    """Evaluate `model` on every image of `dataset`; write `records.parquet` and `result.json` into `out`.

    An evaluation that was interrupted goes on after the last rows written. `parameters` and `more_metrics` are stored
    beside what is measured here. Returns the content of the result file.
    """
    run = _Run(model, dataset, protocol or Protocol())
    return run.evaluate(out, weights_file=weights_file, parameters=parameters, more_metrics=more_metrics)


def score_line(result: dict[str, Any]) -> str:
    """Pixel accuracy and the authors' mIoU (%)."""
    return " | ".join(f"{name}: {printed(result['metrics'], name)}" for name in ("pixAcc", "mIoU"))


class Predictor:
    """Images of any size to their classes, by one network under one protocol."""

    def __init__(self, model: Segmenter, protocol: Protocol, execution: Execution | None = None) -> None:
        self.device, self.view, self.num_classes = choose_device(protocol.device), protocol.view, model.num_classes
        execution = execution or settled(protocol.mode, protocol.precision, self.device)
        self.infer = CropRunner(model, self.device, execution, protocol.memory_budget)
        self.black = normalised(torch.zeros(3, 1, 1, dtype=torch.uint8)).flatten()  # (3,)

    def scores(self, image: Tensor) -> Tensor:
        """Scores (classes, H, W) of a normalised image (3, H, W), on the device where those of all scales fit."""
        return summed(self._maps(image), (image.shape[1], image.shape[2]))

    def __call__(self, image: Tensor, name: str = "in memory") -> Tensor:
        """Classes (H, W) of an image (3, H, W); NotFiniteError with its `name` if the scores are not finite.

        A line on stderr says where a stretched image is scaled to less than the view asks for.
        """
        height, width = image.shape[1:]
        if self.view.stretched(height, width):
            size = "x".join(str(side) for side in reversed(self.view.size(height, width, 1.0)))
            what = f"stretched by more than {MOST_STRETCHED} to 1; scaled by its long side, to {size} at scale 1"
            print(f"image '{name}' of {width}x{height} pixels is {what}", file=sys.stderr)
        with of_image(name):
            return likeliest(self._maps(normalised(image)), (height, width), self.infer.at_once(height * width)).cpu()

    def _maps(self, image: Tensor) -> list[Tensor]:
        height, width = image.shape[1:]
        areas = [math.prod(self.view.size(height, width, scale)) for scale in self.view.scales]
        self.infer.make_room(self.num_classes * (sum(areas) + max(areas)))  # the last may be there twice
        return maps(self.infer, image, self.view, self.black)


class _Run(Evaluation):
    """The evaluation of a segmentation network."""

    model: Segmenter
    dataset: SegmentationDataset

    def __init__(self, model: Segmenter, dataset: SegmentationDataset, protocol: Protocol) -> None:
        super().__init__()
        check_classes(model.num_classes, dataset)
        self.model, self.dataset, self.protocol = model, dataset, protocol
        self.device, self.mode, self.precision = choose_device(protocol.device), protocol.mode, protocol.precision
        self.rates: list[float] = []

    @property
    def settings(self) -> dict[str, Any]:
        return {"view": asdict(self.protocol.view), "precision": self.precision}

    def built(self, execution: Execution) -> Runner:
        self.predict = Predictor(self.model, self.protocol, execution)
        return self.predict.infer.run

    def choose(self) -> Choice:
        return choose(self.mode, self.precision, self.device, self.built, self.sample)

    def sample(self) -> tuple[Tensor, int]:
        side = self.protocol.view.crop_size or self.protocol.view.base_size
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, 3, side, side, generator=generator).to(self.device), len(self.dataset)

    def rows(self, numbers: Sequence[int]) -> Iterator[pa.Table]:
        """The records of the images `numbers`, one at a time."""
        loader = DataLoader(_Images(self.dataset), batch_size=None, sampler=numbers, num_workers=self.protocol.workers)
        for index, (image, target) in zip(numbers, loader, strict=True):
            synchronise(self.device)
            start = time.perf_counter()
            predicted = self.predict(image, self.dataset.paths[index])
            self.rates.append(1 / (time.perf_counter() - start))
            yield self._record(index, predicted, target)

    def metrics(self, out: Path) -> dict[str, Metric]:
        """Accuracy and intersections over union, and the costs."""
        records = pd.read_parquet(out / RECORDS, columns=list(COUNTS))
        return segmentation_metrics(records, self.dataset.classes) | self.costs()

    def costs(self) -> dict[str, Metric]:
        """Parameters, multiply-adds of a crop (of an image of the base size where there are none), speed and memory."""
        view, model = self.protocol.view, self.model
        metrics = {
            "parameters": metric(count_parameters(model), "1"),
            "multiply_adds": metric(multiply_adds(model, view.crop_size or view.base_size), "1"),
            "peak_memory": metric(device_peak_memory(self.device), "bytes"),
        }
        return metrics | ({"images_per_second": rate(self.rates)} if self.rates else {})

    def _record(self, index: int, predicted: Tensor, target: Tensor) -> pa.Table:
        counts = count(predicted, target, len(self.dataset.classes))
        height, width = target.shape
        row = {"index": index, "image": printable(self.dataset.paths[index]), "height": height, "width": width}
        row |= {name: counts[name].tolist() for name in COUNTS}
        return pa.Table.from_pylist([row], schema=SEGMENTATION)


class _Images(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Images (3, H, W) uint8 with their classes (H, W) int64."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return as_tensors(*self.dataset.load(index))
