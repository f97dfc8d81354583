"""The loop of every training: epochs, curves, and states from which an interrupted one goes on to the same weights."""

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
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
from resnest_core.checkpoints import CLASSES
from resnest_core.data.base import Images
from resnest_core.devices import seed_everything
from resnest_core.errors import InputError, NotFiniteError
from resnest_core.files import replacing
from resnest_core.models import load_weights
from resnest_core.provenance import TRAINING, made_by
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

    `facts`, and what is in the `images`, say which training it is: states of another one are not continued, nor of one
    with other names of classes. Each process takes a part of each batch through `network`, which is `model` with
    gradients and normalisation of the whole batch; the first one writes.
    """

    dataset: Images

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        recipe: Recipe,
        steps_per_epoch: int,
        facts: dict[str, Any],
        **images: Images,
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
        digests = distributed.of_first(lambda: {name: data.digest for name, data in images.items()})
        self.identity = json.dumps(facts | digests, sort_keys=True)
        self.classes = json.dumps(self.dataset.classes)
        self.step = 0
        self.seconds = 0.0
        self.points: list[dict[str, float]] = []
        self.made: list[dict[str, Any]] = []  # the steps of each call, with the code and the machine

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
        curves, speed = pd.read_csv(out / CURVES), images / self.seconds
        return Trained(self.model, curves, out / WEIGHTS, self.seconds, speed)

    def _run(self, out: Path) -> None:
        """Train from the present state to the end, saving the state after each epoch."""
        hidden = not distributed.is_first()
        self.made.append({"steps": 0, **made_by(str(next(self.model.parameters()).device))})
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
            self.made[-1]["steps"] += 1
            bar.update()
            if self.step % between == 0 or self.step == self.steps:
                self._add_point(distributed.total(torch.stack(losses).mean()).item())
                losses = []

    def _learn(self, batch: Any) -> Tensor:
        """One step; this process's part of the loss."""
        self.model.train()
        try:
            loss = self.loss(batch)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                f"batch_size is {self.recipe.batch_size}, of which normalisation sees one value a channel; "
                "valid: 2 or more"
            ) from None
        self.optimiser.zero_grad()
        (loss * distributed.world()).backward()  # gradients become means over the processes
        self.optimiser.step()
        self.schedule.step()
        return loss.detach()

    def _add_point(self, train_loss: float) -> None:
        where = f"after {self.step} steps at learning_rate {self.recipe.learning_rate}; give a lower one"
        if not math.isfinite(train_loss):
            raise InputError(f"the training loss is {train_loss} {where}")
        if not all(torch.isfinite(value).all() for value in self.model.state_dict().values()):
            raise InputError(f"the weights are not finite {where}")
        self.model.eval()
        try:
            measured = self.measure()
        except NotFiniteError as error:
            raise InputError(f"{error}, {where}") from None
        self.points.append(
            {
                "epoch": self.step / self.steps_per_epoch,
                "learning_rate": float(self.schedule.get_last_lr()[0]),
                "train_loss": train_loss,
                **measured,
            }
        )

    def _save_state(self, out: Path) -> None:
        state = {
            "identity": self.identity,
            CLASSES: self.classes,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "points": self.points,
            "made": json.dumps(self.made),
        }
        with replacing(out / STATE) as temporary:
            torch.save(state, temporary)

    def _load_state(self, out: Path) -> None:
        """Go on from the state of an interrupted training in `out`, if it was the same training."""
        if not (out / STATE).exists():
            return
        state = torch.load(out / STATE, map_location=next(self.model.parameters()).device, weights_only=True)
        if not self._is_mine(state):
            return
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.seconds, self.points = state["step"], state["seconds"], state["points"]
        self.made = json.loads(state.get("made", "[]"))

    def _save_finished(self, out: Path) -> None:
        """Write the curves, then the weights, whose presence says that the training is done."""
        with replacing(out / CURVES) as temporary:
            pd.DataFrame(self.points).to_csv(temporary, index=False)
        facts = {
            "identity": self.identity,
            CLASSES: self.classes,
            "seconds": repr(self.seconds),
            TRAINING: json.dumps(self.made),
        }
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
        if not self._is_mine(facts):
            return False
        load_weights(self.model, out / WEIGHTS)
        self.seconds, self.step = float(facts["seconds"]), self.steps
        return True

    def _is_mine(self, facts: Mapping[str, Any]) -> bool:
        """Whether a stored state is of this training; earlier versions stored no names of classes."""
        return facts.get("identity") == self.identity and facts.get(CLASSES, self.classes) == self.classes


def parts_of_batches(order: list[int], batch_size: int) -> list[list[int]]:
    """This process's part of each batch of an epoch in which images come in an `order`, without a last short batch."""
    whole = range(0, len(order) - batch_size + 1, batch_size)
    return [order[first : first + batch_size][distributed.part()] for first in whole]


def decaying(parameters: Iterable[nn.Parameter], decay: float, **group: float) -> list[dict[str, Any]]:
    """Groups for an optimiser in which biases and normalisation, the vectors among the parameters, do not decay."""
    listed = list(parameters)
    matrices, vectors = [p for p in listed if p.ndim > 1], [p for p in listed if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay, **group}, {"params": vectors, "weight_decay": 0.0, **group}]
