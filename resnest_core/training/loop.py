"""The loop of every training: epochs, curves, and states from which an interrupted one goes on to the same weights."""

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from resnest_core import distributed
from resnest_core.devices import seed_everything
from resnest_core.errors import InputError
from resnest_core.files import replacing
from resnest_core.models import load_weights
from resnest_core.training.synchronised import shared

STATE = "training_state.pt"
WEIGHTS = "weights.safetensors"
CURVES = "curves.csv"
POINTS_PER_EPOCH = 5
SEEDS_OF_A_PROCESS = 2**40


class Recipe(Protocol):
    """What the loop needs to know of a recipe."""

    @property
    def epochs(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Trained:
    """A trained network with its curves, and what the training took."""

    model: nn.Module
    curves: pd.DataFrame  # epoch, learning_rate, train_loss, and what the task measures
    weights_file: Path
    seconds: float
    images_per_second: float


class Training(ABC):
    """A training between two epochs: network, optimiser, schedule, and the points of the curves so far.

    `facts` say which training it is: states of another one are not continued. Each process takes a part of each batch
    through `network`, which is `model` with gradients and normalisation of the whole batch; the first one writes.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        recipe: Recipe,
        steps_per_epoch: int,
        facts: dict[str, Any],
    ) -> None:
        if recipe.batch_size < distributed.world():
            raise InputError(
                f"batch size {recipe.batch_size} is less than the {distributed.world()} processes; "
                "give each an image at the least"
            )
        self.model, self.optimiser, self.recipe = model, optimiser, recipe
        self.network = shared(model)
        self.steps_per_epoch = steps_per_epoch
        self.steps = max(round(recipe.epochs * steps_per_epoch), 1)
        self.schedule = LambdaLR(optimiser, self.relative_rate)
        self.identity = json.dumps(facts, sort_keys=True)
        self.step = 0
        self.seconds = 0.0
        self.points: list[dict[str, float]] = []

    @abstractmethod
    def batches(self, seed: int) -> Iterable[Any]:
        """This process's part of each batch of one epoch, whose random numbers follow from `seed`."""

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """What this process's part of a batch adds to the loss of the network, in training mode."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """What the curves show beside the training loss; every process measures."""

    @abstractmethod
    def relative_rate(self, step: int) -> float:
        """The learning rate at a step, as a part of the highest one."""

    def finish(self, out: Path) -> Trained:
        """Train to the end, from wherever an earlier call was interrupted, and store curves and weights in `out`."""
        if not self._load_finished(out):
            self._load_state(out)
            self._run(out)
            if distributed.is_first():
                self._save_finished(out)
        distributed.barrier()
        images = self.steps * self.recipe.batch_size
        return Trained(self.model, pd.read_csv(out / CURVES), out / WEIGHTS, self.seconds, images / self.seconds)

    def _run(self, out: Path) -> None:
        """Train from the present state to the end, saving the state after each epoch."""
        hidden = not distributed.is_first()
        with tqdm(total=self.steps, initial=self.step, desc="training", unit="batch", disable=hidden) as bar:
            while self.step < self.steps:
                start = time.perf_counter()
                self._run_epoch(self.step // self.steps_per_epoch, bar)
                self.seconds += time.perf_counter() - start
                if distributed.is_first():
                    self._save_state(out)

    def _run_epoch(self, epoch: int, bar: Any) -> None:
        """One epoch, or the part of it that is left; its random numbers depend on the seed and the epoch alone.

        Those that are drawn in the network are each process's own.
        """
        seed = self.recipe.seed * 100_003 + epoch
        seed_everything(seed + distributed.rank() * SEEDS_OF_A_PROCESS)
        between = max(self.steps_per_epoch // POINTS_PER_EPOCH, 1)
        losses: list[Tensor] = []
        for batch in self.batches(seed):
            if self.step >= self.steps:
                break
            losses.append(self._learn(batch))
            self.step += 1
            bar.update()
            if self.step % between == 0 or self.step == self.steps:
                self._add_point(distributed.total(torch.stack(losses).mean()).item())
                losses = []

    def _learn(self, batch: Any) -> Tensor:
        """One step; this process's part of the loss."""
        self.model.train()
        loss = self.loss(batch)
        self.optimiser.zero_grad()
        (loss * distributed.world()).backward()  # gradients become means over the processes
        self.optimiser.step()
        self.schedule.step()
        return loss.detach()

    def _add_point(self, train_loss: float) -> None:
        if not math.isfinite(train_loss):
            raise InputError(
                f"the training loss is {train_loss} after {self.step} steps at learning_rate "
                f"{self.recipe.learning_rate}; give a lower one"
            )
        self.model.eval()
        self.points.append(
            {
                "epoch": self.step / self.steps_per_epoch,
                "learning_rate": float(self.schedule.get_last_lr()[0]),
                "train_loss": train_loss,
                **self.measure(),
            }
        )

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

    def _load_state(self, out: Path) -> None:
        """Go on from the state of an interrupted training in `out`, if it was the same training."""
        if not (out / STATE).exists():
            return
        state = torch.load(out / STATE, map_location=next(self.model.parameters()).device, weights_only=True)
        if state["identity"] != self.identity:
            return
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.seconds, self.points = state["step"], state["seconds"], state["points"]

    def _save_finished(self, out: Path) -> None:
        """Write the curves, then the weights, whose presence says that the training is done."""
        with replacing(out / CURVES) as temporary:
            pd.DataFrame(self.points).to_csv(temporary, index=False)
        facts = {"identity": self.identity, "seconds": repr(self.seconds)}
        weights = {key: value.contiguous() for key, value in self.model.state_dict().items()}
        with replacing(out / WEIGHTS) as temporary:
            save_file(weights, temporary, metadata=facts)
        (out / STATE).unlink()

    def _load_finished(self, out: Path) -> bool:
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


def parts_of_batches(order: list[int], batch_size: int) -> list[list[int]]:
    """This process's part of each batch of an epoch in which images come in an `order`, without a last short batch."""
    whole = range(0, len(order) - batch_size + 1, batch_size)
    return [order[first : first + batch_size][distributed.part()] for first in whole]


def check_ranges(recipe: object, ranges: Sequence[tuple[str, float, float]]) -> None:
    """InputError for the first field of a recipe that is not in its range."""
    for name, low, high in ranges:
        value = getattr(recipe, name)
        if not low <= value <= high:
            raise InputError(f"{name} is {value}; valid: {low} to {high}")


def decaying(parameters: Iterable[nn.Parameter], decay: float, **group: float) -> list[dict[str, Any]]:
    """Groups for an optimiser in which biases and normalisation, the vectors among the parameters, do not decay."""
    listed = list(parameters)
    matrices, vectors = [p for p in listed if p.ndim > 1], [p for p in listed if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay, **group}, {"params": vectors, "weight_decay": 0.0, **group}]
