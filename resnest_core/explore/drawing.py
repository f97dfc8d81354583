"""The third tab: what detectors and segmentation networks find in one image."""

from collections.abc import Callable, Sequence

import ipywidgets as widgets
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from resnest_core.article.phrases import count, number, plural
from resnest_core.data.base import DetectionDataset, Objects
from resnest_core.data.transforms import as_pixels
from resnest_core.evaluation.detection import objects_table
from resnest_core.evaluation.detection_errors import LEAST_SCORE
from resnest_core.evaluation.examples import Example
from resnest_core.evaluation.segmentation import Predictor
from resnest_core.experiments.detection import ObjectDetection
from resnest_core.experiments.segmentation import SemanticSegmentation
from resnest_core.explore import choices, opening, pictures
from resnest_core.explore.panel import Sight
from resnest_core.explore.runs import Run
from resnest_core.figures import segmentation
from resnest_core.figures.detection import Thing, things_of
from resnest_core.models.deeplab import Segmenter
from resnest_core.texts import printable

NAMED = 12  # things in the words
Draw = Callable[[float], Sight]  # with the least score of what is shown


class Drawing(choices.ImagePanel):
    """An image with the objects or classes that a network finds in it, beside the true ones where they are known."""

    def __init__(self, runs: Sequence[Run], data: str = "") -> None:
        self.data = data
        self.least = choices.score_slider("least score", LEAST_SCORE)
        self._draw: Draw | None = None
        super().__init__(runs, self.least)

    def sight(self, changed: widgets.Widget | None) -> Sight:
        if changed is not self.least or self._draw is None:  # another score needs no other pass of the network
            self._draw = None
            self._draw = self._looked(changed)
        return self._draw(self.least.value)

    def _looked(self, changed: widgets.Widget | None) -> Draw:
        run = choices.chosen_run(self.run)
        experiment = opening.dense(run, self.data)
        self.least.disabled = isinstance(experiment, SemanticSegmentation)
        experiment.network  # noqa: B018 - read before the images: without weights these do not matter
        chosen = self.image(changed, lambda: opening.images_of(run, experiment))
        if isinstance(experiment, SemanticSegmentation):
            sight = segmented(experiment, chosen)
            return lambda least: sight
        return detected(experiment, chosen)


def segmented(experiment: SemanticSegmentation, chosen: Image.Image | int) -> Sight:
    """The classes of an uploaded image, or of one of the test set beside the true ones."""
    if isinstance(chosen, Image.Image):
        classes = predicted(experiment, chosen)
        return Sight("Uploaded image.", segmentation.demonstration(np.asarray(chosen), classes, experiment.classes))
    image, truth = experiment.test_set.load(chosen)
    example = Example(np.asarray(image), truth, predicted(experiment, image))
    known = truth >= 0
    right = f"{number(100 * float((example.predicted == truth)[known].mean()), 1)} %" if known.any() else "none"
    words = f"{_where(experiment, chosen)}: of the pixels that count {right} have the right class."
    return Sight(words, segmentation.side_by_side({"prediction": [example]}, experiment.classes))


def predicted(experiment: SemanticSegmentation, image: Image.Image) -> NDArray[np.int16]:
    """The classes (H, W) of an image."""
    model = experiment.network.model
    assert isinstance(model, Segmenter)
    return Predictor(model, experiment.protocol)(as_pixels(image)).numpy().astype(np.int16)


def detected(experiment: ObjectDetection, chosen: Image.Image | int) -> Draw:
    """The objects found in an uploaded image, or in one of the test set beside the true ones."""
    if isinstance(chosen, Image.Image):
        image, panels, where = chosen, dict[str, list[Thing]](), "Uploaded image"
    else:
        image, objects = experiment.test_set.load(chosen)
        panels = {"truth": true_things(experiment.test_set, image, objects)}
        where = f"{_where(experiment, chosen)}, {plural(len(objects), 'true object')}"
    found = experiment.detect(image, 0.0)

    def draw(least: float) -> Sight:
        shown = [thing for thing in found if (thing.score or 0.0) >= least]
        listed = ", ".join(f"{thing.name} {number(thing.score or 0.0)}" for thing in shown[:NAMED])
        more = ", …" if len(shown) > NAMED else ""
        words = f"{where}: {plural(len(shown), 'object')} found with a score of {number(least)} or more"
        figure = pictures.objects(image, panels | {"found": shown})
        return Sight(f"{words}{': ' if listed else ''}{listed}{more}.", figure)

    return draw


def true_things(images: DetectionDataset, image: Image.Image, objects: Objects) -> list[Thing]:
    """The objects of an image of a data set, to be drawn."""
    if not len(objects):
        return []
    row = pd.Series({"index": 0, "height": image.height, "width": image.width})
    names = dict(zip(images.category_ids, images.classes, strict=True))
    return things_of(pd.DataFrame(objects_table(0, objects, images.category_ids)), row, names)


def _where(experiment: opening.Dense, index: int) -> str:
    images = experiment.test_set
    return f"Test image {count(index)} of {count(len(images))} ({printable(images.paths[index])})"
