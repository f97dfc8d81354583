"""Training of classifiers by the paper's recipe (section 5.1), which scales down to small networks."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from resnest_core import distributed
from resnest_core.data import Dataset
from resnest_core.data.batches import epoch_length, evaluation_batches, training_batches
from resnest_core.data.classes import in_order
from resnest_core.data.transforms import Preprocessing
from resnest_core.devices import autocast, choose_device, place, seed_everything
from resnest_core.errors import unknown
from resnest_core.files import output_directory
from resnest_core.models import create_model
from resnest_core.ranges import check_fields
from resnest_core.training.loop import Trained, Training, decaying

REFERENCE_BATCH = 256
TRAINED = ("fp32", "tf32", "bf16")  # fp16 would need its gradients scaled


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained. The paper's values stand behind each field that the embedded study changes."""

    epochs: float = 1.0  # 270
    batch_size: int = 64  # 8192 for 50 layers
    learning_rate: float = 0.4  # for a batch of 256, to which it is proportional; 0.1
    momentum: float = 0.9
    weight_decay: float = 2e-4  # 1e-4; on weights, not on biases and normalisation
    warmup_epochs: float = 0.1  # 5
    label_smoothing: float = 0.1
    mixup: float = 0.0  # 0.2
    dropout: float = 0.0  # 0.2
    dropblock: float = 0.0  # 0.1
    augment: bool = False
    precision: str = "fp32"  # of convolutions and products; weights, loss and solver stay in float32
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "train")
        if self.precision not in TRAINED:
            raise unknown("precision of a training", self.precision, TRAINED)

    @property
    def scaled_rate(self) -> float:
        """The highest learning rate at this batch size (Goyal et al. 2017)."""
        return self.learning_rate * self.batch_size / REFERENCE_BATCH


def train_classifier(
    name: str,
    dataset: Dataset,
    monitor: Dataset,
    out: str | Path,
    recipe: Recipe,
    *,
    preprocessing: Preprocessing | None = None,
    device: str = "auto",
    workers: int = 0,
) -> Trained:
    """Train the network `name` on `dataset`; write `weights.safetensors` and `curves.csv` into `out`.

    `monitor`, of the same classes, is a data set that the curves are measured on; nothing is chosen by it. After each
    epoch the state is saved, from which a training that was interrupted goes on to the same weights, to the bit on the
    same machine; one that had finished is loaded. States of another recipe, network or data set are not continued.
    """
    training = _Classification(name, dataset, monitor, recipe, preprocessing or Preprocessing(), device, workers)
    return training.finish(output_directory(out))


class _Classification(Training):
    """A training whose batches are images (B, 3, S, S) and targets (B,)."""

    recipe: Recipe
    dataset: Dataset

    def __init__(
        self,
        name: str,
        dataset: Dataset,
        monitor: Dataset,
        recipe: Recipe,
        preprocessing: Preprocessing,
        device: str,
        workers: int,
    ) -> None:
        self.monitor = in_order(monitor, dataset.classes, "the training images")
        self.dataset, self.preprocessing, self.workers = dataset, preprocessing, workers
        self.device = choose_device(device)
        seed_everything(recipe.seed)
        model = create_model(name, num_classes=len(dataset.classes), dropout=recipe.dropout, dropblock=recipe.dropblock)
        model = place(model, self.device)
        optimiser = torch.optim.SGD(
            decaying(model.parameters(), recipe.weight_decay),
            lr=recipe.scaled_rate,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            fused=True,
        )
        facts = {
            "model": name,
            "recipe": asdict(recipe),
            "preprocessing": repr(preprocessing),
        }
        steps = epoch_length(dataset, recipe.batch_size)
        super().__init__(model, optimiser, recipe, steps, facts, data=dataset, monitor=monitor)

    def batches(self, seed: int) -> Iterable[tuple[Tensor, Tensor]]:
        return training_batches(
            self.dataset,
            self.preprocessing,
            batch_size=self.recipe.batch_size,
            seed=seed,
            augment=self.recipe.augment,
            workers=self.workers,
            part=distributed.part(),
        )

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, targets = (tensor.to(self.device) for tensor in batch)
        if self.recipe.mixup > 0:
            images, targets = self._mix(images, targets)
        with autocast(self.device, self.recipe.precision):
            logits = self.network(images)
        logits = logits.float() if logits.dtype == torch.bfloat16 else logits
        mean = cross_entropy(logits, targets, label_smoothing=self.recipe.label_smoothing)
        return mean * (len(images) / self.recipe.batch_size)

    def _mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images and their targets (B, classes) (Zhang et al. 2018)."""
        from torchvision.transforms.v2 import MixUp  # two seconds to import, for recipes that mix

        mixed: tuple[Tensor, Tensor] = MixUp(alpha=self.recipe.mixup, num_classes=len(self.dataset.classes))(
            images, targets
        )
        return mixed

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Mean loss (nats) and top-1 accuracy (%) on the monitoring images."""
        loss, correct, n = 0.0, 0, len(self.monitor)
        for indices, images in evaluation_batches(self.monitor, self.preprocessing, batch_size=250):
            targets = torch.from_numpy(self.monitor.targets[indices]).to(self.device)
            logits = self.model(images.to(self.device))
            loss += cross_entropy(logits, targets, reduction="sum").item()
            correct += int((logits.argmax(1) == targets).sum())
        return {"test_loss": loss / n, "test_top1": 100 * correct / n}

    def relative_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017)."""
        warmup = round(self.recipe.warmup_epochs * self.steps_per_epoch)
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(self.steps - warmup, 1)))
