"""Runs opened again: networks with their weights, their test sets and records; the last few are kept."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from resnest_core.checkpoints import resolve
from resnest_core.data import Dataset, DetectionDataset, SegmentationDataset
from resnest_core.data.batches import network_input
from resnest_core.data.fashion_mnist import FashionMNIST
from resnest_core.data.imagenet import synsets
from resnest_core.data.transforms import FASHION_MNIST_MEAN, FASHION_MNIST_STD
from resnest_core.devices import check_finite, choose_device, place
from resnest_core.errors import InputError
from resnest_core.evaluation.results import RECORDS, RESULT
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.detection import ObjectDetection
from resnest_core.experiments.detection import dataset_of as detection_dataset_of
from resnest_core.experiments.finished import Finished, evaluated
from resnest_core.experiments.segmentation import SemanticSegmentation
from resnest_core.experiments.segmentation import dataset_of as segmentation_dataset_of
from resnest_core.explore.runs import Run
from resnest_core.files import sha256
from resnest_core.models import create_model
from resnest_core.models.resnet import ResNet
from resnest_core.models.variants import SEGMENTERS
from resnest_core.places import from_root
from resnest_core.training.loop import WEIGHTS

KEPT = 4  # networks of each kind; the largest have half a gigabyte of weights
GREY = "fashion_mnist"  # whose images networks see as they are
Dense = ObjectDetection | SemanticSegmentation


@dataclass(frozen=True)
class Classifier:
    """A classifier in evaluation mode, the names of its classes, and its experiment."""

    network: ResNet
    classes: tuple[str, ...]
    settings: Classification

    @property
    def test_set(self) -> Dataset:
        """Its images; InputError where they are not here."""
        return self.settings.test_set

    def input(self, image: Image.Image) -> Tensor:
        """What the network is given of an image of any size: (1, 3, S, S) on its device."""
        transform = self.settings.rule
        if self.settings.dataset == GREY:
            images = self.test_set
            assert isinstance(images, FashionMNIST)
            image = ImageOps.fit(image, (images.images.shape[2], images.images.shape[1]))  # an upload; others fit
            return network_input(images, transform)(image)[None].to(self._device)
        return transform(image)[None].to(self._device)

    def seen(self, inputs: Tensor) -> NDArray:
        """The picture (S, S, 3), 0 to 1, that inputs (1, 3, S, S) were made of."""
        rule = self.settings.rule
        grey = self.settings.dataset == GREY
        mean, std = ((FASHION_MNIST_MEAN,), (FASHION_MNIST_STD,)) if grey else (rule.mean, rule.std)
        pixels = inputs[0].cpu().permute(1, 2, 0) * torch.tensor(std) + torch.tensor(mean)
        return pixels.clamp(0, 1).numpy()

    @torch.inference_mode()
    def probabilities(self, inputs: Tensor) -> Tensor:
        """Of the classes (K,), for one image (1, 3, S, S)."""
        logits = self.network(inputs).float()
        check_finite(logits)
        return logits.softmax(dim=1)[0].cpu()

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def classifier(run: Run, data: str = "") -> Classifier:
    """The classifier of a run; one with published weights has ImageNet's images in the directory `data`.

    Raises: InputError if its result, weights or images are not here, or its weights are others than were evaluated.
    """
    return _classifier(run, data, _version(run))


def dense(run: Run, data: str = "") -> Dense:
    """The detector or segmentation network of a run; one with published weights has its data set's images in `data`.

    Raises: InputError as `classifier`, but for its images, which are opened when they are asked for.
    """
    return _dense(run, data, _version(run))


def images_of(run: Run, experiment: Dense) -> DetectionDataset | SegmentationDataset:
    """The test set of what `dense` opened; InputError if it is not here, or not what the run was evaluated on."""
    images: DetectionDataset | SegmentationDataset = experiment.test_set
    return evaluated(images, run.result, run.directory) if run.directory else images


def finished(run: Run) -> Finished:
    """What an experiment with a classifier left; InputError if it is gone, or if there was none."""
    if run.directory is None:
        raise InputError(f"'{run.title}' are weights without records; choose a run")
    return _finished(run.directory, _version(run))


def records(run: Run, columns: set[str]) -> pd.DataFrame:
    """The records of a classifier, a row an image in the order of the test set; InputError if they lack `columns`."""
    path = finished(run).path / RECORDS
    try:
        table = finished(run).records
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"'{path}' cannot be read ({reason}); run that experiment again") from None
    if missing := sorted(columns - set(table.columns)):
        raise InputError(f"'{path}' has no column {', '.join(missing)}; run that experiment again")
    return table


def class_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes as people call them: ImageNet's are the numbers of synsets."""
    if classes != synsets():
        return classes
    from torchvision.models import ResNet50_Weights  # seconds to import, for ImageNet alone

    return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def _version(run: Run) -> int:
    """What changes when the experiment runs again."""
    if run.directory is None:
        return 0
    try:
        return (run.directory / RESULT).stat().st_mtime_ns
    except OSError:
        raise InputError(f"'{run.directory / RESULT}' is gone; run that experiment again, and then this cell") from None


@lru_cache(maxsize=KEPT)
def _finished(directory: Path, version: int) -> Finished:
    return Finished(str(directory))


@lru_cache(maxsize=KEPT)
def _classifier(run: Run, data: str, version: int) -> Classifier:
    if run.directory is None:
        settings = Classification(run.model, "", dataset="imagenet", data=data, weights="published")
        weights = resolve("published", run.model)
        model = place(create_model(run.model, weights=weights), choose_device()).eval()
        assert isinstance(model, ResNet)
        return Classifier(model, class_names(synsets()), settings)
    done = finished(run)
    _check_weights(done.settings.weights, run)
    return Classifier(done.network, class_names(done.test_set.classes), done.settings)


@lru_cache(maxsize=KEPT)
def _dense(run: Run, data: str, version: int) -> Dense:
    if run.directory is not None:
        return _reopened(run, run.directory)
    if run.model in SEGMENTERS:
        dataset = segmentation_dataset_of(run.model)
        return SemanticSegmentation(run.model, "", dataset=dataset, data=data, weights="published")
    return ObjectDetection(run.model, "", dataset=detection_dataset_of(run.model), data=data, weights="published")


def _reopened(run: Run, directory: Path) -> Dense:
    """The experiment of a result file, whose network is read and not trained again."""
    given = run.result["parameters"]
    kind: type[Dense] = SemanticSegmentation if run.model in SEGMENTERS else ObjectDetection
    try:
        settings: Dense = TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InputError(
            f"'{directory / RESULT}' is not of this version ({reason}); run that experiment again"
        ) from None
    weights = from_root(settings.weights) or str(directory / WEIGHTS)
    _check_weights(weights, run)
    return replace(settings, weights=weights, backbone="", data=from_root(settings.data))


def _check_weights(weights: str, run: Run) -> None:
    """InputError unless the weights are those that the run was evaluated with; published ones are checked as such."""
    if weights == "published":
        return
    if not Path(weights).is_file():
        raise InputError(f"the weights '{weights}' of '{run.title}' are gone; run that experiment again")
    if sha256(weights) != run.result["provenance"]["weights_sha256"]:
        raise InputError(f"the weights '{weights}' are not those that '{run.title}' was evaluated with; run it again")
