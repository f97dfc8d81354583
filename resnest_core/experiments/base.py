"""What experiments of every task have in common: a network with its weights, and the files that come of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from resnest_core import checkpoints
from resnest_core.devices import seed_everything
from resnest_core.errors import InputError
from resnest_core.evaluation.results import RECORDS, Metric, metric
from resnest_core.files import sha256
from resnest_core.models import create_model
from resnest_core.training.loop import CURVES, Recipe, Trained


@dataclass(frozen=True)
class Network:
    """A network with its weights, the file they are in, and what training it took."""

    model: nn.Module
    weights_file: Path
    metrics: dict[str, Metric]

    @classmethod
    def of(cls, trained: Trained) -> "Network":
        """A network that was trained here."""
        metrics = {
            "training_seconds": metric(trained.seconds, "s"),
            "training_images_per_second": metric(trained.images_per_second, "images/s"),
        }
        return cls(trained.model, trained.weights_file, metrics)


class Experiment(ABC):
    """Settings: `out` is the directory of the results; `weights` is empty if the network is trained here."""

    out: str
    weights: str

    @cached_property
    def network(self) -> Network:
        """The network with its weights: read, or trained here first."""
        return self._read() if self.weights else self._train()

    @property
    def records(self) -> pd.DataFrame:
        """One row per test image, of the result."""
        return pd.read_parquet(Path(self.out) / RECORDS)

    @property
    def curves(self) -> pd.DataFrame | None:
        """The curves of the training, if the network was trained here."""
        return pd.read_csv(Path(self.out) / CURVES) if not self.weights else None

    @abstractmethod
    def _read(self) -> Network: ...

    @abstractmethod
    def _train(self) -> Network: ...


class Transfer(Experiment):
    """An experiment whose network `model`, if trained here by `recipe`, begins with the classifier in `backbone`.

    That is a file of weights; if it is empty, the network begins with random ones.
    """

    model: str
    backbone: str
    recipe: Recipe

    def check_beginning(self) -> None:
        """InputError if weights are given for what they hold already."""
        if self.weights and self.backbone:
            raise InputError(f"weights '{self.weights}' hold the trunk already; leave out backbone '{self.backbone}'")

    def beginning(self, **options: Any) -> Any:
        """The network before its training; `options` go to `create_model`."""
        seed_everything(self.recipe.seed)
        model: Any = create_model(self.model, **options)
        if self.backbone:
            model.load_backbone(checkpoints.read_state_dict(checkpoints.resolve(self.backbone, self.model)))
        return model

    @property
    def facts(self) -> dict[str, str]:
        """Which network is trained, and what it begins with."""
        return {"model": self.model, "backbone": sha256(self.backbone) if self.backbone else ""}
