"""A classifier that has been evaluated: its network, images and records, for those who look closer at it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from resnest_core import checkpoints
from resnest_core.data import Dataset
from resnest_core.data.base import Images
from resnest_core.data.batches import Transform, network_input
from resnest_core.data.classes import check_names
from resnest_core.devices import autocast, choose_device, place, usable
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.evaluation.results import RECORDS, RESULT
from resnest_core.experiments.classification import Classification
from resnest_core.models import create_model
from resnest_core.models.resnet import ResNet
from resnest_core.places import from_root, here_or_from_root
from resnest_core.training.classification import Recipe
from resnest_core.training.loop import WEIGHTS

Data = TypeVar("Data", bound=Images)


@dataclass(frozen=True)
class Finished:
    """What an experiment in classification left in its `directory`; a relative one may be seen from the root.

    `beside` is another one on the same images, which need not be opened again.
    Raises InputError, naming the file, where there is no result of such an experiment.
    """

    directory: str
    beside: "Finished | None" = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The name of the experiment, which is that of its directory."""
        return self.path.name

    @cached_property
    def path(self) -> Path:
        return Path(here_or_from_root(self.directory))

    @cached_property
    def result(self) -> dict[str, Any]:
        try:
            result = json.loads((self.path / RESULT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"'{self.path / RESULT}' is missing; run that experiment first") from None
        if "top1" not in result["metrics"]:
            raise InputError(f"'{self.path / RESULT}' is of no classifier; give the directory of one")
        return dict(result)

    @cached_property
    def settings(self) -> Classification:
        """The experiment, whose network is not trained again."""
        given = dict(self.result["parameters"])
        given |= {"protocol": Protocol(**given["protocol"]), "recipe": Recipe(**given["recipe"])}
        given["weights"] = from_root(given["weights"]) or str(self.path / WEIGHTS)
        given["data"] = from_root(given["data"])
        return Classification(**given)

    @property
    def model_name(self) -> str:
        return self.settings.model

    @property
    def test_set(self) -> Dataset:
        """The images that were evaluated; InputError if others are in their place."""
        return self.beside.test_set if self.beside else evaluated(self.settings.test_set, self.result, self.directory)

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row per test image, in the order of the test set."""
        return pd.read_parquet(self.path / RECORDS).sort_values("index", ignore_index=True)

    @cached_property
    def device(self) -> torch.device:
        return choose_device(self.settings.protocol.device)

    @cached_property
    def network(self) -> ResNet:
        """The network with its weights on its device, in evaluation mode."""
        weights = checkpoints.resolve(self.settings.weights, self.model_name)
        model = create_model(self.model_name, num_classes=len(self.test_set.classes), weights=weights)
        model = place(model, self.device).eval()
        assert isinstance(model, ResNet)
        return model

    @cached_property
    def input(self) -> Transform:
        """From one image to what the network is given, a tensor (3, S, S)."""
        return network_input(self.test_set, self.settings.rule)

    def logits(self, images: Iterable[Image.Image], transform: Transform | None = None) -> Tensor:
        """The logits (N, classes), float32 on the CPU, of N images; `transform` in place of the experiment's own."""
        inputs = map(transform or self.input, images)
        return torch.cat([self.forward(batch) for batch in _batches(inputs, self.settings.protocol.batch_size)])

    @property
    def precision(self) -> str:
        """That of the evaluation, which its mode may have chosen."""
        return str(self.result["provenance"]["precision"])

    @torch.inference_mode()
    def forward(self, inputs: Tensor) -> Tensor:
        """The logits (N, classes), float32 on the CPU, of inputs (N, 3, S, S), where the network has been placed."""
        device = next(self.network.parameters()).device
        with autocast(device, self.precision):
            return self.network(inputs.to(device)).float().cpu()


def evaluated(images: Data, result: Mapping[str, Any], directory: str | Path) -> Data:
    """The `images` that an experiment opens again, if they are those that its result is of."""
    if images.digest != result["provenance"]["data_digest"]:
        raise InputError(f"the images of '{directory}' are not those that it was evaluated on; run it again")
    return images


def open_runs(directories: Iterable[str]) -> list[Finished]:
    """The experiments in these directories, one or more, of different names, all on the same images in that order."""
    given = [Finished(str(directory)) for directory in directories]
    runs = [*given[:1], *(Finished(run.directory, beside=given[0]) for run in given[1:])]
    if not runs:
        raise InputError("no run is given; name the directory of one or more, such as build/default/base_results/NAME")
    first = runs[0].result["provenance"]["data_digest"]
    for run in runs[1:]:
        if run.result["provenance"]["data_digest"] != first:
            raise InputError(f"'{run.directory}' and '{runs[0].directory}' were not evaluated on the same images")
        classes = [each.result["parameters"].get("classes") for each in (runs[0], run)]
        if all(classes) and classes[0] != classes[1]:
            check_names(f"'{run.directory}'", classes[1], classes[0], f"'{runs[0].directory}'")
            raise InputError(f"'{run.directory}' and '{runs[0].directory}' have their classes in different orders")
    if len({run.name for run in runs}) < len(runs):
        raise InputError(f"runs {', '.join(run.directory for run in runs)}; each must have a name of its own")
    return runs


def precisions(runs: Iterable[Finished], device: torch.device) -> str:
    """In which precisions the networks of runs give their answers on a device."""
    return ", ".join(sorted({usable(run.precision, device) for run in runs}))


def described(runs: Sequence[Finished], **own: Any) -> dict[str, Any]:
    """The parameters that the result of an analysis stores: the runs, the network of each, and its `own`."""
    return {"runs": [run.directory for run in runs], "models": {run.name: run.model_name for run in runs}, **own}


def _batches(inputs: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    while chunk := list(islice(inputs, size)):
        yield torch.stack(chunk)
