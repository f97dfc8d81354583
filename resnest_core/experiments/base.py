"""What experiments of every task have in common: a network with its weights, and the files that come of it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from resnest_core import checkpoints, distributed
from resnest_core.data.base import Images
from resnest_core.data.classes import Data, in_order
from resnest_core.data.contents import file_digest
from resnest_core.devices import seed_everything
from resnest_core.errors import InputError
from resnest_core.evaluation.results import RECORDS, Metric, metric
from resnest_core.files import sha256
from resnest_core.models import create_model
from resnest_core.outputs import Facts, claimed
from resnest_core.training.loop import CURVES, Recipe, Trained

DIGITS = 12  # of a digest, in a message
# What a run's results do not depend on, or what `_facts` tells by content.
NO_FACTS = ("out", "device", "workers", "memory_budget", "examples", "data", "weights", "backbone", "classes")


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
    """Settings: `out` is the directory of the results; `weights` is empty if the network is trained here.

    Raises InputError, before anything is written, if `out` holds another run's work; `overwrite` replaces that.
    """

    model: str
    out: str
    weights: str
    overwrite: bool

    @property
    @abstractmethod
    def test_set(self) -> Images: ...

    @property
    @abstractmethod
    def train_set(self) -> Images: ...

    @cached_property
    def network(self) -> Network:
        """The network with its weights: read, or trained here first."""
        if self.weights:
            return self._read()
        with self._claimed():
            return self._train()

    @cached_property
    def result(self) -> dict[str, Any]:
        """The result of evaluating the network on the test set, written into `out` with its records."""
        with self._claimed():
            return self._evaluate()

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings that the result stores."""
        fields: dict[str, Any] = asdict(self)  # type: ignore[call-overload]  # each experiment is a dataclass
        return {name: value for name, value in fields.items() if name != "overwrite"}

    @cached_property
    def weights_file(self) -> Path:
        """The file that `weights` mean; InputError if it is not there or not right."""
        return checkpoints.resolve(self.weights, self.model)

    @cached_property
    def known_classes(self) -> Sequence[str] | None:
        """The names of the network's classes, in the order of its outputs; None if nothing tells them."""
        if not self.weights:
            return self.train_set.classes
        stored = None if self.weights == "published" else checkpoints.class_names(self.weights_file)
        return stored or self.assumed_classes

    @property
    @abstractmethod
    def assumed_classes(self) -> Sequence[str] | None:
        """Those of weights that name none, as published ones; None if their number alone is known."""

    def matched(self, test_set: Data, classes: Sequence[str] | None) -> Data:
        """The test set with the network's classes, if these are known, in their order; InputError naming other ones."""
        whose = f"weights '{self.weights}'" if self.weights else "the training images"
        return in_order(test_set, classes, whose) if classes else test_set

    @property
    def records(self) -> pd.DataFrame:
        """One row per test image, of the result."""
        return pd.read_parquet(Path(self.out) / RECORDS)

    @property
    def curves(self) -> pd.DataFrame | None:
        """The curves of the training, if the network was trained here."""
        return pd.read_csv(Path(self.out) / CURVES) if not self.weights else None

    def _claimed(self) -> AbstractContextManager[Path]:
        """The output directory, once it is sure to hold no other run's work."""
        if distributed.is_first():
            return claimed(self.out, self._facts, overwrite=self.overwrite)
        return nullcontext(Path(self.out))

    @cached_property
    def _facts(self) -> Facts:
        """What tells this run from others that could have the same directory."""
        facts = dict(_flat(self.parameters))
        if self.weights:
            facts = {name: value for name, value in facts.items() if not name.startswith(("recipe", "train_"))}
            facts |= {"kind": "evaluation", "weights": _content(self.weights_file)}
        else:
            backbone = getattr(self, "backbone", "")
            file = checkpoints.resolve(backbone, self.model) if backbone else None
            facts |= {"kind": "training", "backbone": _content(file) if file else "none"}
            facts["training images"] = self.train_set.digest[:DIGITS]
        return facts | {"images": self.test_set.digest[:DIGITS]}

    @abstractmethod
    def _read(self) -> Network: ...

    @abstractmethod
    def _train(self) -> Network: ...

    @abstractmethod
    def _evaluate(self) -> dict[str, Any]: ...


class Transfer(Experiment):
    """An experiment whose network `model`, if trained here by `recipe`, begins with the classifier in `backbone`.

    That is a file of weights; if it is empty, the network begins with random ones.
    """

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


def _flat(settings: dict[str, Any], of: str = "") -> Iterator[tuple[str, Any]]:
    """Settings and those within them, but for `NO_FACTS`, by names for people."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{of}{name} ")
        elif name not in NO_FACTS:
            yield f"{of}{name}", value


def _content(file: Path) -> str:
    return f"{file.name} {file_digest(file)[:DIGITS]}"
