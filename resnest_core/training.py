"""Training of classifiers by the paper's recipe (section 5.1), which scales down to small networks."""

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from resnest_core.data import Dataset
from resnest_core.data.batches import epoch_length, evaluation_batches, training_batches
from resnest_core.data.transforms import Preprocessing
from resnest_core.devices import choose_device, place, seed_everything
from resnest_core.errors import InputError
from resnest_core.files import output_directory, replacing
from resnest_core.models import create_model, load_weights

STATE = "training_state.pt"
WEIGHTS = "weights.safetensors"
CURVES = "curves.csv"
REFERENCE_BATCH = 256
POINTS_PER_EPOCH = 5


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained. The paper's values stand behind each field that the embedded study changes."""

    epochs: float = 1.0  # 270
    batch_size: int = 64  # 8192 for 50 layers
    learning_rate: float = 0.4  # for a batch of 256, to which it is proportional; 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4  # 1e-4; on weights, not on biases and normalisation
    warmup_epochs: float = 0.1  # 5
    label_smoothing: float = 0.1
    mixup: float = 0.0  # 0.2
    dropout: float = 0.0  # 0.2
    dropblock: float = 0.0  # 0.1
    augment: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name} is {value}; valid: {low} to {high}")

    @property
    def scaled_rate(self) -> float:
        """The highest learning rate at this batch size (Goyal et al. 2017)."""
        return self.learning_rate * self.batch_size / REFERENCE_BATCH


_RANGES: list[tuple[str, float, float]] = [
    ("epochs", 0, math.inf),
    ("batch_size", 1, math.inf),
    ("learning_rate", 0, math.inf),
    ("momentum", 0, 1),
    ("weight_decay", 0, math.inf),
    ("warmup_epochs", 0, math.inf),
    ("label_smoothing", 0, 1),
    ("mixup", 0, math.inf),
    ("dropout", 0, 1),
    ("dropblock", 0, 1),
]


@dataclass(frozen=True)
class Trained:
    """A trained network with its curves, and what the training took."""

    model: nn.Module
    curves: pd.DataFrame  # epoch, learning_rate, train_loss and test_loss (nats), test_top1 (%)
    weights_file: Path
    seconds: float
    images_per_second: float


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

    `monitor` is a data set that the curves are measured on; nothing is chosen by it. After each epoch the state is
    saved, from which a training that was interrupted goes on to the same weights, to the bit on the same machine; one
    that had finished is loaded. States of another recipe, network or data set are not continued.
    """
    out = output_directory(out)
    training = _Training(name, dataset, monitor, recipe, preprocessing or Preprocessing(), device, workers)
    if not training.load_finished(out):
        training.load_state(out)
        training.run(out)
        training.save_finished(out)
    return training.result(out)


class _Training:
    """A training between two epochs: network, optimiser, schedule, and the points of the curves so far."""

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
        self.dataset, self.monitor, self.recipe = dataset, monitor, recipe
        self.preprocessing, self.workers = preprocessing, workers
        self.device = choose_device(device)
        self.identity = json.dumps(
            {"model": name, "recipe": asdict(recipe), "data": dataset.digest, "preprocessing": repr(preprocessing)},
            sort_keys=True,
        )
        seed_everything(recipe.seed)
        model = create_model(name, num_classes=len(dataset.classes), dropout=recipe.dropout, dropblock=recipe.dropblock)
        self.model = place(model, self.device)
        self.optimiser = _optimiser(self.model, recipe)
        self.steps_per_epoch = epoch_length(dataset, recipe.batch_size)
        self.steps = max(round(recipe.epochs * self.steps_per_epoch), 1)
        self.schedule = LambdaLR(self.optimiser, self._relative_rate)
        self.step = 0
        self.seconds = 0.0
        self.points: list[dict[str, float]] = []

    def run(self, out: Path) -> None:
        """Train from the present state to the end, saving the state after each epoch."""
        bar = tqdm(total=self.steps, initial=self.step, desc="training", unit="batch")
        while self.step < self.steps:
            start = time.perf_counter()
            self._run_epoch(self.step // self.steps_per_epoch, bar)
            self.seconds += time.perf_counter() - start
            self._save_state(out)
        bar.close()

    def _run_epoch(self, epoch: int, bar: Any) -> None:
        """One epoch, or the part of it that is left; its random numbers depend on the seed and the epoch alone."""
        seed = self.recipe.seed * 100_003 + epoch
        seed_everything(seed)
        batches = training_batches(
            self.dataset,
            self.preprocessing,
            batch_size=self.recipe.batch_size,
            seed=seed,
            augment=self.recipe.augment,
            workers=self.workers,
        )
        between = max(self.steps_per_epoch // POINTS_PER_EPOCH, 1)
        losses: list[Tensor] = []
        for images, targets in batches:
            if self.step >= self.steps:
                break
            losses.append(self._learn(images.to(self.device), targets.to(self.device)))
            self.step += 1
            bar.update()
            if self.step % between == 0 or self.step == self.steps:
                self._add_point(torch.stack(losses).mean().item())
                losses = []

    def _learn(self, images: Tensor, targets: Tensor) -> Tensor:
        """One step on images (B, 3, S, S) and targets (B,); the loss."""
        self.model.train()
        if self.recipe.mixup > 0:
            images, targets = self._mix(images, targets)
        loss = cross_entropy(self.model(images), targets, label_smoothing=self.recipe.label_smoothing)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return loss.detach()

    def _mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images and their targets (B, classes) (Zhang et al. 2018)."""
        from torchvision.transforms.v2 import MixUp  # two seconds to import, for recipes that mix

        mixed: tuple[Tensor, Tensor] = MixUp(alpha=self.recipe.mixup, num_classes=len(self.dataset.classes))(
            images, targets
        )
        return mixed

    def _add_point(self, train_loss: float) -> None:
        if not math.isfinite(train_loss):
            raise InputError(
                f"the training loss is {train_loss} after {self.step} steps at learning_rate "
                f"{self.recipe.learning_rate}; give a lower one"
            )
        loss, top1 = self._measure()
        self.points.append(
            {
                "epoch": self.step / self.steps_per_epoch,
                "learning_rate": float(self.schedule.get_last_lr()[0]),
                "train_loss": train_loss,
                "test_loss": loss,
                "test_top1": top1,
            }
        )

    @torch.no_grad()
    def _measure(self) -> tuple[float, float]:
        """Mean loss (nats) and top-1 accuracy (%) on the monitoring images."""
        self.model.eval()
        loss, correct = 0.0, 0
        for indices, images in evaluation_batches(self.monitor, self.preprocessing, batch_size=250):
            targets = torch.from_numpy(self.monitor.targets[indices]).to(self.device)
            logits = self.model(images.to(self.device))
            loss += cross_entropy(logits, targets, reduction="sum").item()
            correct += int((logits.argmax(1) == targets).sum())
        return loss / len(self.monitor), 100 * correct / len(self.monitor)

    def _relative_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017)."""
        warmup = round(self.recipe.warmup_epochs * self.steps_per_epoch)
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(self.steps - warmup, 1)))

    def _save_state(self, out: Path) -> None:
        state = {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "points": self.points,
        }
        with replacing(out / STATE) as temporary:
            torch.save(state, temporary)

    def load_state(self, out: Path) -> None:
        """Go on from the state of an interrupted training in `out`, if it was the same training."""
        if not (out / STATE).exists():
            return
        state = torch.load(out / STATE, map_location=self.device, weights_only=True)
        if state["identity"] != self.identity:
            return
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.seconds, self.points = state["step"], state["seconds"], state["points"]

    def save_finished(self, out: Path) -> None:
        """Write the curves, then the weights, whose presence says that the training is done."""
        with replacing(out / CURVES) as temporary:
            pd.DataFrame(self.points).to_csv(temporary, index=False)
        facts = {"identity": self.identity, "seconds": repr(self.seconds)}
        weights = {key: value.contiguous() for key, value in self.model.state_dict().items()}
        with replacing(out / WEIGHTS) as temporary:
            save_file(weights, temporary, metadata=facts)
        (out / STATE).unlink()

    def load_finished(self, out: Path) -> bool:
        """Load what the same training left in `out` when it was done, if it was."""
        if not (out / WEIGHTS).exists():
            return False
        with safe_open(out / WEIGHTS, framework="pt") as file:
            facts = file.metadata() or {}
        if facts.get("identity") != self.identity:
            return False
        load_weights(self.model, out / WEIGHTS)
        self.seconds, self.step = float(facts["seconds"]), self.steps
        return True

    def result(self, out: Path) -> Trained:
        return Trained(
            self.model,
            pd.read_csv(out / CURVES),
            out / WEIGHTS,
            self.seconds,
            self.steps * self.recipe.batch_size / self.seconds,
        )


def _optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; biases and normalisation, the vectors among the parameters, do not decay."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups, lr=recipe.scaled_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
    )
