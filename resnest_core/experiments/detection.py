"""One experiment in object detection or instance segmentation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from PIL import Image

from resnest_core import distributed
from resnest_core.data import DetectionDataset, open_detection
from resnest_core.data.classes import in_order
from resnest_core.data.coco import training_classes
from resnest_core.errors import unknown
from resnest_core.evaluation.detection import Predictor, Protocol, evaluate_detector
from resnest_core.evaluation.detection_errors import LEAST_SCORE
from resnest_core.evaluation.examples import EXAMPLES, save_images
from resnest_core.evaluation.found import Found
from resnest_core.experiments.base import Network, Transfer
from resnest_core.figures.detection import Thing, things
from resnest_core.files import output_directory
from resnest_core.models import create_model
from resnest_core.models.rcnn.detector import Detector
from resnest_core.models.rcnn.variants import DETECTORS
from resnest_core.ranges import check_fields
from resnest_core.training.detection import Recipe, train_detector

OWN = "coco_format"


def dataset_of(model: str) -> str:
    """The data set that a network is published for, by its name."""
    return "scenes" if model.startswith("mini_") else "coco_panoptic" if model.startswith("panoptic") else "coco"


@dataclass(frozen=True)
class ObjectDetection(Transfer):
    """Settings of an experiment with one detector on one data set, and what comes of them.

    `weights` is "published", a file, or empty: then the network is trained here by `recipe`, on the first
    `train_limit` training images (0: all), its trunk beginning with the weights of a classifier in the file `backbone`
    (empty: with random ones). `data` is the data directory; empty for what comes with the repository. `limit` takes
    the first images of the test set (0: all), and of these the first `examples` are stored for pictures.
    """

    model: str
    out: str
    dataset: str = "scenes"
    data: str = ""
    weights: str = ""
    backbone: str = ""
    limit: int = 0
    examples: int = 4
    protocol: Protocol = field(default_factory=Protocol)
    train_limit: int = 0
    recipe: Recipe = field(default_factory=Recipe)
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.model not in DETECTORS:
            raise unknown("detector", self.model, DETECTORS)
        self.check_beginning()

    @cached_property
    def opened(self) -> DetectionDataset:
        """The test set with its classes in an order of its own."""
        return open_detection(self.dataset, self.data or None, limit=self.limit)

    @cached_property
    def test_set(self) -> DetectionDataset:
        """The test set with its classes in the network's order; InputError if it has others."""
        return self.matched(self.opened, self.known_classes)

    @cached_property
    def train_set(self) -> DetectionDataset:
        return open_detection(self.dataset, self.data or None, split="train", limit=self.train_limit)

    def _evaluate(self) -> dict[str, Any]:
        model, images = self._model, self.test_set
        if distributed.is_first():
            save_images(output_directory(self.out) / EXAMPLES, self.looked_at)
        return evaluate_detector(
            model,
            images,
            self.out,
            self.protocol,
            weights_file=self.network.weights_file,
            parameters=self.parameters
            | {"classes": self.categories, "category_ids": images.category_ids}
            | self.remarks,
            more_metrics=self.network.metrics,
        )

    @property
    def found(self) -> Found:
        """What the evaluation left, to be looked at."""
        return Found.read(self.out)

    @cached_property
    def looked_at(self) -> list[Image.Image]:
        """The first images of the test set."""
        return [self.test_set.load(index)[0] for index in range(min(self.examples, len(self.test_set)))]

    @property
    def categories(self) -> tuple[str, ...]:
        """What the labels of detections mean."""
        return self._model.categories

    def detect(self, image: Image.Image, least_score: float = LEAST_SCORE) -> list[Thing]:
        """What the network finds in an image of any size with `least_score` or more."""
        predict = Predictor(self._model, self.protocol)
        return things(predict(predict.resized(image), (image.height, image.width)), self.categories, least_score)

    @property
    def assumed_classes(self) -> Sequence[str]:
        """The network's own; on a user's set those of its training file, or where there is none, of its test file."""
        if self.weights == "published" or self.dataset != OWN:
            return DETECTORS[self.model].categories
        found = training_classes(self.data)
        source = "training" if found else "test"
        self.remarks["classes_from"] = f"the {source} file's categories, in order of their ids"
        if distributed.is_first():
            print(f"classes: '{self.weights}' names none; taken are {self.remarks['classes_from']}", flush=True)
        return found or self.opened.classes

    @cached_property
    def remarks(self) -> dict[str, str]:
        """What the result says besides."""
        return {}

    @property
    def _model(self) -> Detector:
        assert isinstance(self.network.model, Detector)
        return self.network.model

    def _read(self) -> Network:
        model = create_model(self.model, weights=self.weights_file, categories=self.known_classes)
        return Network(model, self.weights_file, {})

    def _train(self) -> Network:
        in_order(self.opened, self.train_set.classes, "the training images")  # before hours of training
        trained = train_detector(
            self.beginning(categories=self.train_set.classes),
            self.train_set,
            self.out,
            self.recipe,
            facts=self.facts,
            device=self.protocol.device,
            workers=self.protocol.workers,
        )
        return Network.of(trained)
