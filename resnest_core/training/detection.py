"""Training of detectors by the authors' recipe (`SOLVER` of their detectron2 configurations), or one for few steps."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as run_lengths
from torch import Tensor
from torch.utils.data import DataLoader

from resnest_core import distributed
from resnest_core.data.base import DetectionDataset, Objects, check_classes
from resnest_core.data.transforms import as_pixels, shortest_edge
from resnest_core.devices import choose_device, place
from resnest_core.errors import InputError, unknown
from resnest_core.files import output_directory
from resnest_core.models.rcnn.detector import Detector
from resnest_core.ranges import check_fields
from resnest_core.training.loop import Trained, Training, decaying, parts_of_batches
from resnest_core.training.solvers import ADAMW, Solver, momentum

REFERENCE_BATCH = 16
DECAYS = (2 / 3, 8 / 9)  # parts of the training after which the authors' rate is a tenth of what it was
LEAST_SIDE = 1.0  # pixels; a smaller object cannot be learned from
Example = tuple[Tensor, dict[str, Tensor]]
SOLVERS = {"sgd": Solver(momentum, lambda part: 0.1 ** sum(part >= decay for decay in DECAYS)), "adamw": ADAMW}


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained. The authors' values for COCO stand behind fields that have others here."""

    epochs: float = 1.0  # 12
    batch_size: int = 4  # 16
    solver: str = "adamw"  # sgd
    learning_rate: float = 0.008  # for a batch of 16, to which it is proportional; 0.02
    weight_decay: float = 0.01  # 1e-4
    warmup: int = 50  # steps until the rate is at its highest; 1,000
    smallest: int = 70  # short side of an image, drawn between the two; 640
    largest: int = 90  # 800
    mirrored: bool = True  # half of the images, left to right
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "object_detection")
        if self.solver not in SOLVERS:
            raise unknown("solver", self.solver, SOLVERS)
        if self.smallest > self.largest:
            raise InputError(f"smallest short side {self.smallest} is above the largest, {self.largest}")

    @property
    def scaled_rate(self) -> float:
        """The highest learning rate at this batch size."""
        return self.learning_rate * self.batch_size / REFERENCE_BATCH


def train_detector(
    model: Detector,
    dataset: DetectionDataset,
    out: str | Path,
    recipe: Recipe,
    *,
    facts: dict[str, str],
    device: str = "auto",
    workers: int = 0,
) -> Trained:
    """Train `model` on `dataset`; write `weights.safetensors` and `curves.csv` into `out`, as `train_classifier`.

    `facts` tell the network and what it began with: a training with others is not continued.
    """
    return _Detection(model, dataset, recipe, facts, device, workers).finish(output_directory(out))


class _Detection(Training):
    """A training whose batches are lists of images (3, h, w) and of their targets."""

    recipe: Recipe
    dataset: DetectionDataset

    def __init__(
        self,
        model: Detector,
        dataset: DetectionDataset,
        recipe: Recipe,
        facts: dict[str, str],
        device: str,
        workers: int,
    ) -> None:
        check_classes(len(model.categories), dataset)
        model.learn(dataset.classes)
        self.dataset, self.workers, self.device = dataset, workers, choose_device(device)
        self.masked = model.row.mask_convolutions > 0
        if model.row.stuff:
            raise InputError("panoptic networks are not trained here; give weights")
        if len(dataset) < recipe.batch_size:
            raise InputError(f"batch size {recipe.batch_size} is more than the {len(dataset)} training images")
        place(model, self.device)
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = decaying(learned, recipe.weight_decay)
        optimiser = SOLVERS[recipe.solver].optimiser(groups, recipe.scaled_rate)
        identity = {"recipe": asdict(recipe), **facts}
        super().__init__(model, optimiser, recipe, len(dataset) // recipe.batch_size, identity, data=dataset)
        self.parts: list[dict[str, float]] = []

    def batches(self, seed: int) -> Iterable[list[Example]]:
        examples = _Examples(self.dataset, self.recipe, seed, with_masks=self.masked)
        order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(seed)).tolist()
        loader: DataLoader[Example] = DataLoader(
            examples,
            batch_sampler=parts_of_batches(order, self.recipe.batch_size),
            num_workers=self.workers,
            collate_fn=list,
        )
        return loader

    def loss(self, batch: list[Example]) -> Tensor:
        images = [image.to(self.device) for image, _ in batch]
        targets = [{name: value.to(self.device) for name, value in target.items()} for _, target in batch]
        losses = self.network(images, targets)
        parts = torch.stack(list(losses.values())) * (len(images) / self.recipe.batch_size)
        self.parts.append(dict(zip(losses, distributed.total(parts.detach()).tolist(), strict=True)))
        return parts.sum()

    def measure(self) -> dict[str, float]:
        """The mean of each part of the loss since the last point."""
        means = {name: float(np.mean([part[name] for part in self.parts])) for name in self.parts[0]}
        self.parts = []
        return means

    def relative_rate(self, step: int) -> float:
        """Rising at first, then decayed as the solver has it."""
        return SOLVERS[self.recipe.solver].relative_rate(step / self.steps, step, self.recipe.warmup)


class _Examples(torch.utils.data.Dataset[Example]):
    """Images of a data set at random sizes, half of them mirrored; which, follows from `seed` and the index."""

    def __init__(self, dataset: DetectionDataset, recipe: Recipe, seed: int, *, with_masks: bool) -> None:
        self.dataset, self.recipe, self.seed, self.with_masks = dataset, recipe, seed, with_masks

    def __getitem__(self, index: int) -> Example:
        image, objects = self.dataset.load(index)
        seen = objects if self.with_masks else replace(objects, masks=())
        return augmented(image, seen, self.recipe, np.random.default_rng([self.seed, index]))


def augmented(image: Image.Image, objects: Objects, recipe: Recipe, rng: np.random.Generator) -> Example:
    """An image (3, h, w) uint8 of random size, maybe mirrored, and its target: what a `Detector` is trained on."""
    short = int(rng.integers(recipe.smallest, recipe.largest + 1))
    resized = shortest_edge(image, short, short * 2)
    pixels, target = as_pixels(resized), target_of(objects, image.size, resized.size)
    if recipe.mirrored and rng.random() < 0.5:
        pixels, target = pixels.flip(2), mirrored(target, resized.width)
    return pixels, target


def target_of(objects: Objects, size: tuple[int, int], resized: tuple[int, int]) -> dict[str, Tensor]:
    """The objects of an image of `size` (width, height) as a `Detector`'s target at the size `resized`.

    Crowds, and what is smaller than a pixel each way, are left out.
    """
    scale = np.array(resized) / np.array(size)
    boxes = objects.boxes * np.tile(scale, 2)  # (n, 4)
    kept = ~objects.crowd & (boxes[:, 2:] >= LEAST_SIDE).all(axis=1)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)[kept]
    target = {
        "boxes": torch.from_numpy(corners.astype(np.float32)),
        "labels": torch.from_numpy(objects.labels[kept]),
    }
    if objects.masks or not len(objects):
        chosen = [mask for mask, keep in zip(objects.masks, kept, strict=True) if keep]
        target["masks"] = _masks(chosen, resized)
    return target


def mirrored(target: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """The target of the image turned left to right."""
    x0, y0, x1, y1 = target["boxes"].unbind(1)
    turned: dict[str, Any] = {**target, "boxes": torch.stack([width - x1, y0, width - x0, y1], dim=1)}
    return turned | ({"masks": target["masks"].flip(2)} if "masks" in target else {})


def _masks(masks: list[dict[str, Any]], size: tuple[int, int]) -> Tensor:
    """Masks (n, height, width) of bool at `size` (width, height)."""
    if not masks:
        return torch.zeros(0, size[1], size[0], dtype=torch.bool)
    # One at a time: all masks of a large photograph fill any memory.
    resized = [
        np.asarray(Image.fromarray(run_lengths.decode(mask)).resize(size, Image.Resampling.NEAREST)) for mask in masks
    ]
    return torch.from_numpy(np.stack(resized)) > 0
