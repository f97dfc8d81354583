"""What experiments read from outside the study, by digests of its content: images, labels, weights and other files.

The parameters of these names mean the same in every notebook: `dataset` with `data`, `limit` and, where `weights` is
empty, `train_limit`; `weights`, `backbone`, `real_labels` and `image` are files; `runs` are directories of experiments.
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

from resnest_core import checkpoints, data
from resnest_core.data.contents import file_digest
from resnest_core.errors import InputError
from resnest_core.study.profiles import INHERITED, RUNS, Experiment, Parameters
from resnest_core.study.state import read_json

FILES = (*INHERITED.values(), "real_labels", "image")
LEFT = ("result.json", "records.parquet", "weights.safetensors")  # what an analysis reads of an experiment
EMBEDDED = {"fashion_mnist": 20_000, "scenes": 0}  # compared with known digests when read, up to so many (0: all)
Found = Iterator[tuple[str, str | None]]


class Inputs:
    """The inputs of experiments whose paths are seen from the directory `root`; each data set is opened once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._opened = cache(self._open)

    def of(self, experiment: Experiment, parameters: Parameters) -> dict[str, str | None]:
        """What each input of an experiment holds, by its name; None for one that is not here to be looked at."""
        own = {name: value for name, value in parameters.items() if name not in experiment.inherited}
        outside = own.get(RUNS, []) if not experiment.runs_from else []
        return {
            **dict(self._files(own)),
            **dict(self._images(parameters)),
            **{f"{name} of {run}": value for run in outside for name, value in self._left(run)},
        }

    def _files(self, parameters: Parameters) -> Found:
        for name, value in parameters.items():
            if name == "weights" and value == "published":
                yield from self._published(str(parameters.get("model", "")))
            elif isinstance(value, str) and value and name not in ("data", "out"):
                path = self._root / value
                if os.path.isfile(path):
                    yield name, file_digest(path)
                elif name in FILES:
                    yield name, None

    def _published(self, model: str) -> Found:
        """Weights whose digest the authors do not say; others are compared with it when they are read."""
        try:
            if checkpoints.published(model).digest is None:
                path = checkpoints.locate(model)
                yield "weights", file_digest(path) if path else None
        except InputError:
            yield "weights", None

    def _images(self, parameters: Mapping[str, Any]) -> Found:
        name, place = (str(parameters.get(key) or "") for key in ("dataset", "data"))
        if name:
            yield from self._split("test images", name, place, "test", int(parameters.get("limit") or 0))
        if name and "train_limit" in parameters and not parameters.get("weights"):
            yield from self._split("training images", name, place, "train", int(parameters["train_limit"]))

    def _split(self, what: str, name: str, place: str, split: str, limit: int) -> Found:
        known = EMBEDDED.get(name)
        if known is None or (known and split == "train" and not 0 < limit <= known):
            yield what, self._opened(name, place, split, limit)

    def _open(self, name: str, place: str, split: str, limit: int) -> str | None:
        if not place and name not in EMBEDDED:
            return None
        root = place if "://" in place or not place else str(self._root / place)
        try:
            with redirect_stdout(io.StringIO()):
                return data.open_any(name, root or None, split=split, limit=limit).digest
        except (InputError, OSError) as error:
            return str(error) if _holds(root) else None

    def _left(self, run: str) -> Found:
        """The files of an experiment that is not of the study, and the images that it was evaluated on."""
        directory = self._root / run
        for name in LEFT:
            if (directory / name).is_file():
                yield name, file_digest(directory / name)
        result = read_json(directory / LEFT[0]) or {}
        yield from self._images({**result.get("parameters", {}), "weights": LEFT[2]})


def _holds(place: str) -> bool:
    """Whether anything is there: what cannot be read where something is has changed."""
    return os.path.isfile(place) or (os.path.isdir(place) and bool(os.listdir(place)))
