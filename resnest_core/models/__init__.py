"""Every network by name: a table of tasks, and one builder for each."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from resnest_core.errors import unknown
from resnest_core.models.deeplab import Segmenter
from resnest_core.models.rcnn.settings import Detection
from resnest_core.models.rcnn.variants import DETECTORS, task_of_row
from resnest_core.models.resnet import ResNet
from resnest_core.models.variants import CLASSIFIERS, SEGMENTERS

Builder = Callable[..., nn.Module]


def _detector(row: Detection, **options: Any) -> nn.Module:
    from resnest_core.models.rcnn.detector import Detector  # torchvision's operators take seconds to import

    return Detector(row, **options)


TASKS: dict[str, dict[str, Builder]] = {
    "classification": {name: partial(ResNet, architecture) for name, architecture in CLASSIFIERS.items()},
    "semantic_segmentation": {name: partial(Segmenter, row) for name, row in SEGMENTERS.items()},
    **{
        task: {name: partial(_detector, row) for name, row in DETECTORS.items() if task_of_row(row) == task}
        for task in ("object_detection", "instance_segmentation", "panoptic_segmentation")
    },
}


def list_models(task: str | None = None) -> list[str]:
    """The names that `create_model` takes, of one task or of all."""
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)
    return [name for kind, models in TASKS.items() if task in (None, kind) for name in models]


def task_of(name: str) -> str:
    """The task of the network `name`."""
    for task, models in TASKS.items():
        if name in models:
            return task
    raise unknown("model", name, list_models())


def create_model(
    name: str, *, num_classes: int | None = None, weights: str | Path | None = None, **options: Any
) -> nn.Module:
    """Build the network `name`, in training mode, with random weights unless `weights` are given.

    `num_classes` replaces the number the network was published with. `weights` is "published", for the authors' file
    of that name, which must have been fetched before, or the path of a file. `options` go to the network's class, as
    `output_stride`, `dropblock` and `dropout` to `resnet.ResNet`.
    """
    model = TASKS[task_of(name)][name](num_classes=num_classes, **options)
    if weights is not None:
        from resnest_core import checkpoints

        load_weights(model, checkpoints.resolve(weights, name))
    return model


def load_weights(model: nn.Module, source: str | Path | Mapping[str, Tensor]) -> None:
    """Load a file (`.pth`, `.safetensors`, the authors' `.zip`) or a state dict into `model`, strictly.

    Raises InputError, listing missing, unexpected and misshapen keys, and changes nothing, if they do not match.
    """
    from resnest_core import checkpoints

    if isinstance(source, Mapping):
        checkpoints.load_state_dict(model, source)
    else:
        checkpoints.load_state_dict(model, checkpoints.read_state_dict(source), source)
