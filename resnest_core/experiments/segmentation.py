"""One experiment in semantic segmentation."""

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnest_core import distributed
from resnest_core.data import SegmentationDataset, open_segmentation, segmentation_classes
from resnest_core.data.base import IGNORED, read_image
from resnest_core.data.transforms import as_pixels
from resnest_core.errors import unknown
from resnest_core.evaluation.examples import EXAMPLES, Example, save_examples
from resnest_core.evaluation.iou import class_scores
from resnest_core.evaluation.segmentation import Predictor, Protocol, evaluate_segmenter
from resnest_core.evaluation.views import View
from resnest_core.experiments.base import Network, Transfer
from resnest_core.files import output_directory
from resnest_core.models import create_model
from resnest_core.models.deeplab import Segmenter
from resnest_core.models.variants import SEGMENTERS
from resnest_core.ranges import check_fields
from resnest_core.training.segmentation import Recipe, train_segmenter

MONITORED_IMAGES = 20
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
MULTI_SCALE, SINGLE_SCALE = "multi_scale", "single_scale"
# The authors' sizes for photographs, and the same proportions for scenes of 128 pixels. Whole images have their short
# side as is usual for ADE20K, at half the original for Cityscapes.
SIZES = {"scenes": (104, 96, 96), "cityscapes": (520, 480, 1024)}
USUAL_SIZES = (520, 480, 512)


def view_of(protocol: str, dataset: str) -> View:
    """The view that a protocol means on a data set.

    "multi_scale" is the authors': six scales, mirror images, crops; "single_scale" the usual one: the whole image,
    once.
    """
    base, crop, short = SIZES.get(dataset, USUAL_SIZES)
    views = {
        MULTI_SCALE: View(SCALES, flip=True, base_size=base, crop_size=crop),
        SINGLE_SCALE: View(base_size=short, base_side="short", crop_size=0),
    }
    if protocol not in views:
        raise unknown("protocol", protocol, views)
    return views[protocol]


def dataset_of(model: str) -> str:
    """The data set that a network is published for, by its name."""
    suffix = model.rpartition("_")[2]
    named = {"ade": "ade20k", "pcontext": "pcontext", "citys": "cityscapes"}
    return named.get(suffix, "scenes" if model.startswith("mini_") else "ade20k")


@dataclass(frozen=True)
class SemanticSegmentation(Transfer):
    """Settings of an experiment with one segmentation network on one data set, and what comes of them.

    `weights` is "published", a file, or empty: then the network is fine-tuned here by `recipe`, on the first
    `train_limit` training images (0: all), its trunk beginning with the weights of a classifier in the file `backbone`
    (empty: with random ones). `view` is "multi_scale" or "single_scale" (`view_of`). `data` is the data directory;
    empty for what comes with the repository. `limit` takes the first images of the test set (0: all), and of these
    the first `examples` are stored with what was predicted.
    """

    model: str
    out: str
    dataset: str = "scenes"
    data: str = ""
    weights: str = ""
    backbone: str = ""
    limit: int = 0
    view: str = SINGLE_SCALE
    device: str = "auto"
    mode: str = "exact"
    precision: str = "fp32"
    workers: int = 0
    memory_budget: float = 0.0
    examples: int = 4
    train_limit: int = 0
    recipe: Recipe = field(default_factory=Recipe)
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.model not in SEGMENTERS:
            raise unknown("segmentation network", self.model, SEGMENTERS)
        view_of(self.view, self.dataset)
        self.check_beginning()

    @property
    def protocol(self) -> Protocol:
        view = view_of(self.view, self.dataset)
        return Protocol(view, self.device, self.mode, self.precision, self.workers, self.memory_budget)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the network's classes, which need no data."""
        return tuple(self.known_classes or ()) if self.weights else segmentation_classes(self.dataset)

    @property
    def assumed_classes(self) -> tuple[str, ...]:
        return segmentation_classes(dataset_of(self.model) if self.weights == "published" else self.dataset)

    @cached_property
    def test_set(self) -> SegmentationDataset:
        """The test set; InputError if its classes are not the network's."""
        return self.matched(open_segmentation(self.dataset, self.data or None, limit=self.limit), self.known_classes)

    @cached_property
    def train_set(self) -> SegmentationDataset:
        return open_segmentation(self.dataset, self.data or None, split="train", limit=self.train_limit)

    def _evaluate(self) -> dict[str, Any]:
        model, images = self._model, self.test_set
        if distributed.is_first():
            save_examples(output_directory(self.out) / EXAMPLES, self.looked_at)
        return evaluate_segmenter(
            model,
            images,
            self.out,
            self.protocol,
            weights_file=self.network.weights_file,
            parameters=self.parameters | {"protocol": asdict(self.protocol.view), "classes": self.classes},
            more_metrics=self.network.metrics,
        )

    @property
    def class_scores(self) -> list[tuple[str, float, float | None, float | None]]:
        """Intersection over union (%) of each class that occurs, with its interval."""
        return class_scores(self.result["metrics"])

    @cached_property
    def looked_at(self) -> list[Example]:
        """The first images of the test set, with what the network makes of them."""
        first = self.test_set.paths[: self.examples]
        pairs = [(*self.test_set.load(index), name) for index, name in enumerate(first)]
        return [Example(np.asarray(image), truth, self._classes(image, name)) for image, truth, name in pairs]

    def segment(self, path: str | Path) -> Example:
        """An image file of any size, turned by its EXIF, with its predicted classes; its true ones count as unknown."""
        image = read_image(Path(path), upright=True)
        classes = self._classes(image, str(path))
        return Example(np.asarray(image), np.full_like(classes, IGNORED), classes)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self._model, self.protocol)

    def _classes(self, image: Image.Image, name: str) -> NDArray[np.int16]:
        return self._predictor(as_pixels(image), name).numpy().astype(np.int16)

    @property
    def _model(self) -> Segmenter:
        assert isinstance(self.network.model, Segmenter)
        return self.network.model

    def _read(self) -> Network:
        model = create_model(self.model, num_classes=len(self.classes), weights=self.weights_file)
        return Network(model, self.weights_file, {})

    def _train(self) -> Network:
        trained = train_segmenter(
            self.beginning(num_classes=len(self.classes)),
            self.train_set,
            open_segmentation(
                self.dataset, self.data or None, limit=min(self.limit or MONITORED_IMAGES, MONITORED_IMAGES)
            ),
            self.out,
            self.recipe,
            replace(self.protocol, view=view_of(SINGLE_SCALE, self.dataset)),
            facts=self.facts,
            workers=self.workers,
        )
        return Network.of(trained)
