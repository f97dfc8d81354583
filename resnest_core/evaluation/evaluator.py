"""What evaluations of every task have in common: rows from batches, which processes share, and a result from them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from resnest_core import distributed, stages
from resnest_core.checkpoints import class_names
from resnest_core.data.base import Images
from resnest_core.data.classes import in_order
from resnest_core.evaluation.records import Parts
from resnest_core.evaluation.results import RECORDS, Metric, write_result
from resnest_core.files import output_directory
from resnest_core.modes import Choice, Execution, Runner, check_mode, possible
from resnest_core.provenance import Stopwatch, made_by, state_digest


class Evaluation(ABC):
    """A network on a device, and the images it is evaluated on.

    The batches are the same for any number of processes, each of which takes a part of them.
    """

    model: nn.Module
    dataset: Images
    device: torch.device
    mode: str
    precision: str
    run: Runner
    batch_size = 1
    tables: Sequence[str] = ()  # columns of the rows that go to files of their own

    def __init__(self) -> None:
        self.watch = Stopwatch()
        self.reading: dict[str, float] = {}  # seconds of all processes that read
        self.seconds: dict[str, float] = {}  # by stage, of this process

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the rows depend on beside weights, data and kind of device."""

    @abstractmethod
    def built(self, execution: Execution) -> Runner:
        """The network, ready to be carried out in one way."""

    @abstractmethod
    def choose(self) -> Choice:
        """The way that the mode stands for here."""

    @abstractmethod
    def rows(self, numbers: Sequence[int]) -> Iterator[pa.Table]:
        """The records of the batches `numbers`, a batch at a time."""

    @abstractmethod
    def metrics(self, out: Path) -> dict[str, Metric]:
        """What follows from the files in `out`, and what it cost."""

    def evaluate(
        self,
        out: str | Path,
        *,
        weights_file: str | Path | None,
        parameters: dict[str, Any] | None,
        more_metrics: dict[str, Metric] | None,
    ) -> dict[str, Any]:
        """Write records and result into `out`, whatever rows an evaluation that was interrupted has left there."""
        check_mode(self.mode, self.precision)
        if weights_file and (names := class_names(weights_file)):
            self.dataset = in_order(self.dataset, names, f"weights '{weights_file}'")
        out = output_directory(out)
        parts = Parts(out / "partial", self._identity)
        self.way = parts.settled(lambda: self.choose().facts())
        self.run = self.built(possible(Execution(**self.way["execution"]), self.device, out))
        self.maker = made_by(str(self.device))
        mine = self._left(parts)[distributed.part()]
        before, start = stages.spent(), time.perf_counter()
        parts.fill(self.rows(mine), sum(map(self._length, mine)), self.maker)
        self.seconds |= stages.spent(before) | self.reading | {"whole": time.perf_counter() - start}
        distributed.barrier()
        return distributed.of_first(lambda: self._finish(out, parts, weights_file, parameters, more_metrics))

    @property
    def _identity(self) -> dict[str, Any]:
        facts = {
            "mode": self.mode,
            "weights": state_digest(self.model),
            "data": distributed.of_first(lambda: self.dataset.digest),
            "device": self.device.type,
        }
        return self.settings | facts

    def _left(self, parts: Parts) -> list[int]:
        """The numbers of the batches that are not done, which are written whole."""
        firsts = np.arange(0, len(self.dataset), self.batch_size)
        return np.flatnonzero(~np.isin(firsts, parts.done)).tolist()

    def _length(self, number: int) -> int:
        return min(self.batch_size, len(self.dataset) - number * self.batch_size)

    def _finish(
        self,
        out: Path,
        parts: Parts,
        weights_file: str | Path | None,
        parameters: dict[str, Any] | None,
        more_metrics: dict[str, Metric] | None,
    ) -> dict[str, Any]:
        parts.merge(out / RECORDS, len(self.dataset), self.tables)
        metrics = self.metrics(out) | (more_metrics or {})
        provenance = self.watch.provenance(
            device=str(self.device),
            precision=self.way["execution"]["precision"],
            data_digest=self.dataset.digest,
            weights_file=weights_file,
        )
        provenance |= {"execution": self.way, "stages": self.seconds}
        made = parts.made_by()
        if any(maker | {"images": 0} != self.maker | {"images": 0} for maker in made):
            provenance["rows"] = made
        result = write_result(out, metrics, parameters or {}, provenance)
        parts.remove()
        return result
