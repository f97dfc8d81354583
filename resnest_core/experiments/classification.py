"""One experiment in classification."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from resnest_core import checkpoints
from resnest_core.data import Dataset, open_dataset
from resnest_core.data.imagenet import synsets
from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import unknown
from resnest_core.evaluation.classification import Protocol, evaluate_classifier
from resnest_core.experiments.base import Experiment, Network
from resnest_core.models import create_model
from resnest_core.models.variants import CLASSIFIERS
from resnest_core.ranges import check_fields
from resnest_core.training.classification import Recipe, train_classifier

MONITORED_IMAGES = 500


@dataclass(frozen=True)
class Classification(Experiment):
    """Settings of an experiment with one classifier on one data set, and what comes of them.

    `weights` is "published", a file, or empty: then the network is trained here by `recipe`, on the first
    `train_limit` training images (0: all). `data` is the data directory; empty for what comes with the repository.
    `limit` takes the first images of the test set (0: all). `crop_size` 0, `preprocessing` "" and `interpolation` ""
    stand for those that the checkpoint was published with, or the network's own size and the authors' rule and filter.
    `classes` are the names of the network's, in the order of its outputs; empty for what its weights or training tell.
    """

    model: str
    out: str
    dataset: str = "fashion_mnist"
    data: str = ""
    weights: str = ""
    limit: int = 0
    crop_size: int = 0
    preprocessing: str = ""
    interpolation: str = ""
    protocol: Protocol = field(default_factory=Protocol)
    train_limit: int = 0
    recipe: Recipe = field(default_factory=Recipe)
    classes: Sequence[str] = ()
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.model not in CLASSIFIERS:
            raise unknown("classifier", self.model, CLASSIFIERS)

    @cached_property
    def opened(self) -> Dataset:
        """The test set with its classes in an order of its own."""
        return open_dataset(self.dataset, self.data or None, limit=self.limit)

    @cached_property
    def test_set(self) -> Dataset:
        """The test set with its classes in the network's order; InputError if it has others."""
        return self.matched(self.opened, self.classes or self.known_classes)

    @cached_property
    def train_set(self) -> Dataset:
        return open_dataset(self.dataset, self.data or None, split="train", limit=self.train_limit)

    @property
    def assumed_classes(self) -> tuple[str, ...] | None:
        return synsets() if self.weights == "published" else None

    @cached_property
    def rule(self) -> Preprocessing:
        """The preprocessing of test images."""
        if self.weights == "published":
            own = Preprocessing(**checkpoints.published(self.model).preprocessing)
        else:
            own = Preprocessing(crop_size=CLASSIFIERS[self.model].crop_size)
        return replace(
            own,
            rule=self.preprocessing or own.rule,
            interpolation=self.interpolation or own.interpolation,
            crop_size=self.crop_size or own.crop_size,
        )

    def _evaluate(self) -> dict[str, Any]:
        return evaluate_classifier(
            self.network.model,
            self.test_set,
            self.rule,
            self.out,
            self.protocol,
            weights_file=self.network.weights_file,
            parameters=self.parameters | {"classes": self.test_set.classes},
            more_metrics=self.network.metrics,
        )

    def _read(self) -> Network:
        path = self.weights_file  # before the data: without weights these do not matter
        model = create_model(self.model, num_classes=len(self.test_set.classes), weights=path)
        return Network(model, path, {})

    def _train(self) -> Network:
        trained = train_classifier(
            self.model,
            self.train_set,
            open_dataset(self.dataset, self.data or None, limit=min(self.limit or MONITORED_IMAGES, MONITORED_IMAGES)),
            self.out,
            self.recipe,
            preprocessing=self.rule,
            device=self.protocol.device,
            workers=self.protocol.workers,
        )
        return Network.of(trained)
