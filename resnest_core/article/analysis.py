"""What the analyses have in common: each reads experiments that have run, and scores their networks under a name."""

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from typing import Any

from resnest_core.article.illustrations import Illustration
from resnest_core.article.networks import classifier_label
from resnest_core.article.results import Experiment, Metric, Store
from resnest_core.article.tables import Cell, Table
from resnest_core.errors import InputError


class Analysis(ABC):
    """What the article says about one analysis.

    Its results call the metrics RUN.METRIC, where RUN is the name of the run that is analysed; their parameter
    `models` tells the network of each run.
    """

    study: str

    def __init__(self, store: Store) -> None:
        self.store = store
        self.runs = store.study(self.study)
        self.done = [run for run in self.runs if store.ran(run)]

    @cached_property
    def sources(self) -> dict[str, Experiment]:
        """The analysed runs by name, with the experiment of this study that analysed each."""
        pairs = [(name, run) for run in self.done for name in self._models(run)]
        if len({name for name, _ in pairs}) < len(pairs):
            raise InputError(f"study '{self.study}' analyses a run twice: {', '.join(name for name, _ in pairs)}")
        return dict(pairs)

    @property
    def networks(self) -> list[str]:
        """The names of the analysed runs."""
        return list(self.sources)

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters of the first experiment of this study that ran."""
        return self.store.parameters(self.done[0])

    def _models(self, run: Experiment) -> dict[str, str]:
        return dict(self.store.parameters(run)["models"])

    def label(self, name: str) -> str:
        """An analysed run as the text calls it, by its network."""
        return classifier_label(self._models(self.sources[name])[name])

    def metric(self, name: str, metric: str) -> Metric:
        """A metric of an analysed run."""
        return self.store.metric(self.sources[name], f"{name}.{metric}")

    @property
    def reasons(self) -> list[str]:
        """Why experiments of this study have not run, each reason once."""
        return list(dict.fromkeys(self.store.reason(run) for run in self.runs if run not in self.done))

    def linked(self, table: Table) -> Table:
        """A table whose cells link to the page of the experiment that measured them all, if there is only one."""
        if len(self.done) != 1:
            return table
        return replace(table, rows=[[self._linked(cell) for cell in row] for row in table.rows])

    def _linked(self, cell: Cell) -> Cell:
        own = cell.absent or cell.source is not None or cell.reason is not None or cell.experiment is not None
        return cell if own else replace(cell, experiment=self.done[0].key)

    @abstractmethod
    def tables(self) -> list[Table]: ...

    @abstractmethod
    def figures(self) -> list[Illustration]: ...
