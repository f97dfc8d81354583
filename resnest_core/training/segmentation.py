"""Fine-tuning of segmentation networks by the authors' recipe (`experiments/segmentation/train_dist.py` of
PyTorch-Encoding), or one for few steps."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from resnest_core import distributed
from resnest_core.data import SegmentationDataset
from resnest_core.data.base import IGNORED, check_classes
from resnest_core.data.classes import in_order
from resnest_core.data.transforms import as_tensors, normalised, resized_part
from resnest_core.devices import choose_device, place
from resnest_core.errors import InputError, unknown
from resnest_core.evaluation.iou import count, mean_iou_present, pixel_accuracy
from resnest_core.evaluation.segmentation import Predictor, Protocol
from resnest_core.files import output_directory
from resnest_core.models.deeplab import Segmenter
from resnest_core.ranges import check_fields
from resnest_core.training.loop import Trained, Training, parts_of_batches
from resnest_core.training.solvers import ADAMW, Solver, momentum

REFERENCE_BATCH = 16
POWER = 0.9  # of the "poly" schedule: down to zero by a power of what is left
Example = tuple[Tensor, Tensor]
SOLVERS = {"sgd": Solver(momentum, lambda part: (1 - part) ** POWER), "adamw": ADAMW}  # the first is the authors'


@dataclass(frozen=True)
class Recipe:
    """How a segmentation network is fine-tuned. The authors' values for ADE20K stand behind fields with others here."""

    epochs: float = 1.0  # 180
    batch_size: int = 4  # 16
    solver: str = "adamw"  # sgd
    learning_rate: float = 0.008  # for a batch of 16, to which it is proportional; 0.004
    head_rate: float = 1.0  # of both heads, as a multiple of the trunk's; 10
    weight_decay: float = 0.01  # 1e-4
    warmup: int = 50  # steps until the rate is at its highest; 0
    auxiliary: float = 0.2  # weight of the auxiliary head's loss
    base_size: int = 96  # short side of an image at scale 1; 520
    crop_size: int = 64  # 480
    smallest: float = 0.67  # scale; 0.5
    largest: float = 1.33  # 2
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "semantic_segmentation")
        if self.solver not in SOLVERS:
            raise unknown("solver", self.solver, SOLVERS)
        if self.smallest > self.largest:
            raise InputError(f"smallest scale {self.smallest} is above the largest, {self.largest}")

    @property
    def scaled_rate(self) -> float:
        """The trunk's highest learning rate at this batch size."""
        return self.learning_rate * self.batch_size / REFERENCE_BATCH


def train_segmenter(
    model: Segmenter,
    dataset: SegmentationDataset,
    monitor: SegmentationDataset,
    out: str | Path,
    recipe: Recipe,
    protocol: Protocol,
    *,
    facts: dict[str, str],
    workers: int = 0,
) -> Trained:
    """Fine-tune `model` on `dataset`; write `weights.safetensors` and `curves.csv` into `out`, as `train_classifier`.

    `monitor` is looked at by `protocol` for the curves. `facts` tell the network and what it began with: a training
    with others is not continued.
    """
    training = _Segmentation(model, dataset, monitor, recipe, protocol, facts, workers)
    return training.finish(output_directory(out))


class _Segmentation(Training):
    """A training whose batches are images (B, 3, S, S) and classes (B, S, S)."""

    recipe: Recipe
    dataset: SegmentationDataset

    def __init__(
        self,
        model: Segmenter,
        dataset: SegmentationDataset,
        monitor: SegmentationDataset,
        recipe: Recipe,
        protocol: Protocol,
        facts: dict[str, str],
        workers: int,
    ) -> None:
        check_classes(model.num_classes, dataset)
        self.monitor = in_order(monitor, dataset.classes, "the training images")
        self.dataset, self.protocol, self.workers = dataset, protocol, workers
        self.device = choose_device(protocol.device)
        if len(dataset) < recipe.batch_size:
            raise InputError(f"batch size {recipe.batch_size} is more than the {len(dataset)} training images")
        place(model, self.device)
        heads = [*model.head.parameters(), *model.auxiliary.parameters()]
        rate = recipe.scaled_rate
        groups = [
            {"params": list(model.backbone.parameters()), "lr": rate},
            {"params": heads, "lr": rate * recipe.head_rate},
        ]
        groups = [{**group, "weight_decay": recipe.weight_decay} for group in groups]
        optimiser = SOLVERS[recipe.solver].optimiser(groups, rate)
        identity = {"recipe": asdict(recipe), **facts}
        steps = len(dataset) // recipe.batch_size
        super().__init__(model, optimiser, recipe, steps, identity, data=dataset, monitor=monitor)

    def batches(self, seed: int) -> Iterable[Example]:
        examples = _Examples(self.dataset, self.recipe, seed)
        order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(seed)).tolist()
        loader: DataLoader[Example] = DataLoader(
            examples, batch_sampler=parts_of_batches(order, self.recipe.batch_size), num_workers=self.workers
        )
        return loader

    def loss(self, batch: Example) -> Tensor:
        images, targets = (tensor.to(self.device) for tensor in batch)
        outputs = self.network(images)
        counted = distributed.total((targets != IGNORED).sum()).clamp(min=1)  # a batch may lack labels altogether
        losses = {
            name: cross_entropy(outputs[name], targets, ignore_index=IGNORED, reduction="sum") / counted
            for name in ("out", "aux")
        }
        return losses["out"] + self.recipe.auxiliary * losses["aux"]

    def measure(self) -> dict[str, float]:
        """Pixel accuracy and mean IoU (%) on the monitoring images; NaN where none of their pixels counts."""
        assert isinstance(self.model, Segmenter)
        predict = Predictor(self.model, self.protocol)
        counts = []
        for index in range(len(self.monitor)):
            image, target = as_tensors(*self.monitor.load(index))
            predicted = predict(image, self.monitor.paths[index])
            counts.append(count(predicted, target, len(self.monitor.classes)))
        right, union, pixels = (torch.stack([c[name] for c in counts]).sum(0).numpy() for name in counts[0])
        known = pixels.any()
        accuracy, mean_iou = (
            (pixel_accuracy(right, pixels), mean_iou_present(right, union)) if known else (math.nan, math.nan)
        )
        return {"test_pixel_accuracy": float(accuracy), "test_mean_iou": float(mean_iou)}

    def relative_rate(self, step: int) -> float:
        """Rising at first, then decayed as the solver has it."""
        return SOLVERS[self.recipe.solver].relative_rate(step / self.steps, step, self.recipe.warmup)


class _Examples(torch.utils.data.Dataset[Example]):
    """Random parts of the images of a data set; which, follows from `seed` and the image's index."""

    def __init__(self, dataset: SegmentationDataset, recipe: Recipe, seed: int) -> None:
        self.dataset, self.recipe, self.seed = dataset, recipe, seed

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng([self.seed, index])
        return augmented(*self.dataset.load(index), self.recipe, rng)


def augmented(image: Image.Image, target: NDArray[np.int16], recipe: Recipe, rng: np.random.Generator) -> Example:
    """A normalised crop (3, S, S) of a randomly scaled and mirrored image, and its classes (S, S).

    What lies beyond the image is black and does not count.
    """
    short = round(recipe.base_size * rng.uniform(recipe.smallest, recipe.largest))
    wide, high = (max(round(side * short / min(image.size)), 1) for side in image.size)
    mirrored, crop = rng.random() < 0.5, recipe.crop_size
    width, height = min(crop, wide), min(crop, high)
    top, left = (int(rng.integers(max(side - crop, 0) + 1)) for side in (high, wide))
    left = wide - width - left if mirrored else left
    box = (left, top, left + width, top + height)
    labels = resized_part(Image.fromarray(target.astype(np.int32)), (wide, high), box, Image.Resampling.NEAREST)
    part = resized_part(image, (wide, high), box, Image.Resampling.BILINEAR)
    pixels, classes = as_tensors(part, np.asarray(labels, np.int16))
    if mirrored:
        pixels, classes = pixels.flip(2), classes.flip(1)
    beyond = (0, crop - width, 0, crop - height)
    pixels = torch.nn.functional.pad(pixels, beyond)
    return normalised(pixels), torch.nn.functional.pad(classes, beyond, value=IGNORED)
