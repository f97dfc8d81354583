"""The evaluator of detectors: images in, for each image what is there and what was found."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from PIL import Image
from pycocotools import mask as run_lengths
from torch import Tensor
from torch.utils.data import DataLoader

from resnest_core.data.base import DetectionDataset, Objects, check_classes
from resnest_core.data.coco_panoptic import PanopticImages
from resnest_core.data.transforms import as_pixels, shortest_edge
from resnest_core.devices import choose_device, synchronise
from resnest_core.errors import InputError
from resnest_core.evaluation.average_precision import detection_metrics
from resnest_core.evaluation.evaluator import Evaluation
from resnest_core.evaluation.found import read_tables
from resnest_core.evaluation.panoptic_quality import count_segments, panoptic_metrics
from resnest_core.evaluation.records import DETECTED_IMAGES, DETECTIONS, SEGMENTS, TRUTHS
from resnest_core.evaluation.results import Metric, metric, rate
from resnest_core.memory import device_peak_memory
from resnest_core.models.rcnn.detector import Detector
from resnest_core.modes import Choice, Execution, Runner, check_mode, settled
from resnest_core.profiling import count_parameters

TABLES = {"truths": TRUTHS, "detections": DETECTIONS, "segments": SEGMENTS}  # each in a file beside the records
SMALL = 64  # side of the image that shows what normalisation follows
BOX = ("x", "y", "width", "height")


@dataclass(frozen=True)
class Protocol:
    """How a detector is evaluated. Images go through one at a time, as the authors', since padding moves scores.

    `short_side` is that of the image a network sees, `long_side` the longest of its long one; 0 for the network's own.
    """

    device: str = "auto"
    mode: str = "exact"
    precision: str = "fp32"
    workers: int = 0
    short_side: int = 0
    long_side: int = 0

    def __post_init__(self) -> None:
        check_mode(self.mode, self.precision)
        if self.mode == "auto":
            raise InputError("mode 'auto' compares logits, which a detector does not give; valid: exact, fast")
        for name in ("short_side", "long_side"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be above 0, or 0 for the network's own")


class Predictor:
    """Images of any size to what one network finds in them, at their own size."""

    def __init__(self, model: Detector, protocol: Protocol) -> None:
        self.device, self.protocol = choose_device(protocol.device), protocol
        # Sizes vary from image to image, and for each a network would be compiled again.
        way = settled(protocol.mode, protocol.precision, self.device, compiling=False)
        self.run = Runner(model, self.device, way, torch.zeros(1, 3, SMALL, SMALL), through="backbone")
        assert isinstance(self.run.model, Detector)
        self.run.model.pasting = False  # one mask at a time is encoded instead
        self.short = protocol.short_side or model.row.short_side
        self.long = protocol.long_side or model.row.long_side

    def resized(self, image: Image.Image) -> Tensor:
        """What the network sees of an image: (3, h, w) uint8."""
        return as_pixels(shortest_edge(image, self.short, self.long))

    def __call__(self, pixels: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """The network's result for `pixels` (3, h, w), scaled to an image of `size` (height, width), on the CPU.

        Masks are pycocotools' compressed run lengths, as `Objects` has them.
        """
        (found,) = self.run([pixels.to(self.device)], sizes=[size])
        found = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in found.items()}
        return found | ({"masks": list(map(_encoded, found["masks"]))} if "masks" in found else {})


def evaluate_detector(
    model: Detector,
    dataset: DetectionDataset,
    out: str | Path,
    protocol: Protocol | None = None,
    *,
    weights_file: str | Path | None = None,
    parameters: dict[str, Any] | None = None,
    more_metrics: dict[str, Metric] | None = None,
) -> dict[str, Any]:
    """Evaluate `model` on every image of `dataset`; write into `out` the records, truths, detections and the result.

    `records.parquet` has a row an image, `truths.parquet` a row an object, `detections.parquet` a row a detection; of
    a panoptic network on a panoptic data set `segments.parquet` has a row an image and category. An evaluation that was
    interrupted goes on after the last rows written. `parameters` and `more_metrics` are stored beside what is measured
    here. Returns the content of the result file.
    """
    run = _Run(model, dataset, protocol or Protocol())
    return run.evaluate(out, weights_file=weights_file, parameters=parameters, more_metrics=more_metrics)


def score_line(result: dict[str, Any]) -> str:
    """AP of boxes, and of masks where there are any (%)."""
    metrics = result["metrics"]
    kinds = [kind for kind in ("box", "mask") if f"{kind}_AP" in metrics]
    found = [f"{kind} {name}: {metrics[f'{kind}_{name}']['value']:.2f}" for kind in kinds for name in ("AP", "AP50")]
    found += [f"PQ: {metrics['PQ']['value']:.2f}"] if "PQ" in metrics else []
    return " | ".join(found) or "no objects"


def objects_table(index: int, objects: Objects, category_ids: tuple[int, ...]) -> list[dict[str, Any]]:
    """The objects of image `index` as rows of `TRUTHS`."""
    masks: list[str | None] = [_counts(mask) for mask in objects.masks] or [None] * len(objects)
    return [
        {
            "index": index,
            "category": category_ids[objects.labels[i]],
            **dict(zip(BOX, objects.boxes[i].tolist(), strict=True)),
            "area": float(objects.areas[i]),
            "crowd": bool(objects.crowd[i]),
            "mask": masks[i],
        }
        for i in range(len(objects))
    ]


def detections_table(index: int, found: dict[str, Any], category_ids: tuple[int, ...]) -> list[dict[str, Any]]:
    """What a `Detector` found in image `index` as rows of `DETECTIONS`."""
    corners = found["boxes"].double().numpy()
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    masks = map(_counts, found["masks"]) if "masks" in found else [None] * len(boxes)
    return [
        {
            "index": index,
            "category": category_ids[label],
            **dict(zip(BOX, box.tolist(), strict=True)),
            "score": score,
            "mask": mask,
        }
        for label, box, score, mask in zip(
            found["labels"].tolist(), boxes, found["scores"].tolist(), masks, strict=True
        )
    ]


def segments_table(index: int, found: dict[str, Any], dataset: PanopticImages) -> list[dict[str, Any]]:
    """What of a `Detector`'s panoptic map of image `index` is right, as rows of `SEGMENTS`."""
    true, listed = dataset.segments(index)
    things, stuff = dataset.category_ids, tuple(dataset.stuff_categories)
    # Class 0 of the stuff is every thing.
    segments = [(s.id, things[s.label] if s.is_thing else stuff[s.label - 1]) for s in found["segments"]]
    rows = count_segments(
        found["panoptic"].numpy(),
        segments,
        true,
        [(segment["id"], segment["category_id"]) for segment in listed],
        {segment["id"] for segment in listed if segment["iscrowd"]},
    )
    counted: list[dict] = rows.assign(index=index).to_dict("records")
    return counted


def _counts(mask: dict[str, Any]) -> str:
    return mask["counts"].decode("ascii")


def _encoded(mask: Tensor) -> dict[str, Any]:
    """A mask (H, W) of bool as run lengths down the columns."""
    encoded: dict[str, Any] = run_lengths.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8)))
    return encoded


class _Run(Evaluation):
    """The evaluation of a detector."""

    model: Detector
    dataset: DetectionDataset

    def __init__(self, model: Detector, dataset: DetectionDataset, protocol: Protocol) -> None:
        super().__init__()
        check_classes(len(model.categories), dataset)
        self.predict, self.model, self.dataset = Predictor(model, protocol), model, dataset
        self.device, self.mode, self.precision = self.predict.device, protocol.mode, protocol.precision
        self.panoptic = dataset if isinstance(dataset, PanopticImages) and model.row.stuff else None
        self.tables = list(TABLES) if self.panoptic else [name for name in TABLES if name != "segments"]
        self.rates: list[float] = []

    @property
    def settings(self) -> dict[str, Any]:
        return {"sides": [self.predict.short, self.predict.long], "precision": self.precision}

    def choose(self) -> Choice:
        return Choice(self.mode, self.predict.run.execution)

    def built(self, execution: Execution) -> Runner:
        return self.predict.run

    def rows(self, numbers: Sequence[int]) -> Iterator[pa.Table]:
        """The records of the images `numbers`, one at a time, with truths and detections in them."""
        images = _Images(self.dataset, self.predict)
        loader = DataLoader(images, batch_size=None, sampler=numbers, num_workers=self.predict.protocol.workers)
        nested = [pa.field(name, pa.list_(pa.struct(TABLES[name]))) for name in self.tables]
        schema = pa.schema([*DETECTED_IMAGES, *nested])
        for index, (pixels, size, objects) in zip(numbers, loader, strict=True):
            found = self._found(index, pixels, size)
            row = {"index": index, "image": self.dataset.paths[index], "height": size[0], "width": size[1]}
            ids = self.dataset.category_ids
            row |= {
                "truths": objects_table(index, objects, ids),
                "detections": detections_table(index, found, ids),
            }
            row |= {"segments": segments_table(index, found, self.panoptic)} if self.panoptic else {}
            yield pa.Table.from_pylist([row], schema=schema)

    def metrics(self, out: Path) -> dict[str, Metric]:
        """Average precisions, panoptic quality, parameters, speed and memory."""
        images, truths, detections = read_tables(out)
        categories = dict(zip(self.dataset.category_ids, self.dataset.classes, strict=True))
        masks = bool(self.model.row.mask_convolutions) and bool(truths["mask"].notna().any())
        found = detection_metrics(images, truths, detections, categories, masks=masks)
        found |= {
            "parameters": metric(count_parameters(self.model), "1"),
            "peak_memory": metric(device_peak_memory(self.device), "bytes"),
        }
        if self.panoptic:
            segments = pd.read_parquet(out / "segments.parquet")
            found |= panoptic_metrics(segments, self.dataset.category_ids, len(images))
        return found | ({"images_per_second": rate(self.rates)} if self.rates else {})

    def _found(self, index: int, pixels: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        synchronise(self.device)
        start = time.perf_counter()
        try:
            found = self.predict(pixels, size)
        except InputError as error:
            raise InputError(f"image '{self.dataset.paths[index]}': {error}") from None
        self.rates.append(1 / (time.perf_counter() - start))
        return found


class _Images(torch.utils.data.Dataset[tuple[Tensor, tuple[int, int], Objects]]):
    """What a network sees of each image (3, h, w), the image's height and width, and its objects."""

    def __init__(self, dataset: DetectionDataset, predict: Predictor) -> None:
        self.dataset, self.predict = dataset, predict

    def __getitem__(self, index: int) -> tuple[Tensor, tuple[int, int], Objects]:
        image, objects = self.dataset.load(index)
        return self.predict.resized(image), (image.height, image.width), objects
