"""Reassessed labels of ImageNet's validation images, ReaL (Beyer et al. 2020, arXiv 2006.07159): sets of classes."""

import json
import re
from pathlib import Path

import numpy as np

from resnest_core.analyses.predictions import share
from resnest_core.data.imagenet import synsets
from resnest_core.errors import InputError
from resnest_core.evaluation.results import Metric
from resnest_core.experiments.finished import Finished
from resnest_core.texts import read_text

SOURCE = "real.json of github.com/google-research/reassessed-imagenet"
CLASSES = 1000


def read_real_labels(path: str | Path) -> list[frozenset[int]]:
    """The classes of image 1, 2 and so on of ILSVRC2012's validation set, as `real.json` lists them; some have none."""
    try:
        lists = json.loads(read_text(Path(path)))
    except (OSError, ValueError) as error:
        raise InputError(f"file '{path}' cannot be read ({error}); valid: {SOURCE}") from None
    if not isinstance(lists, list) or not all(map(_is_labels, lists)):
        raise InputError(f"file '{path}' is no list of lists of classes from 0 to {CLASSES - 1}; valid: {SOURCE}")
    return [frozenset(labels) for labels in lists]


def real_accuracy(run: Finished, path: str | Path) -> Metric:
    """The share of images (%) for which a run recorded one of their classes; images without any do not count."""
    if run.settings.dataset != "imagenet":
        raise InputError(f"'{run.directory}' is of data set '{run.settings.dataset}'; ReaL's labels are of 'imagenet'")
    labels, own = read_real_labels(path), run.result["parameters"].get("classes") or synsets()
    numbers = [synsets().index(name) for name in own]  # of the network's classes, which may have an order of their own
    pairs = zip(run.records["image"], (numbers[i] for i in run.records["predicted"]), strict=True)
    counted = [(predicted, labels[_number(image, len(labels)) - 1]) for image, predicted in pairs]
    right = [predicted in classes for predicted, classes in counted if classes]
    if not right:
        raise InputError(f"none of the images of '{run.directory}' has a label in '{path}'; evaluate more of them")
    return share(np.array(right))


def _is_labels(labels: object) -> bool:
    return isinstance(labels, list) and all(type(label) is int and 0 <= label < CLASSES for label in labels)


def _number(image: str, most: int) -> int:
    """The number of a validation image from its file's name."""
    match = re.fullmatch(r"ILSVRC2012_val_(\d{8})", Path(image).stem)
    if match is None or not 1 <= int(match[1]) <= most:
        raise InputError(f"image '{image}' is none of the {most} that have labels; valid: ILSVRC2012_val_00000001.JPEG")
    return int(match[1])
