"""The accuracy/cost frontier: which networks are worth what they cost."""

from functools import cached_property

import pandas as pd

from resnest_core.analyses.frontier import COSTS
from resnest_core.article import phrases
from resnest_core.article.analysis import Analysis
from resnest_core.article.illustrations import Illustration
from resnest_core.article.tables import Table
from resnest_core.evaluation.results import RECORDS
from resnest_core.figures.frontier import frontier

WORDS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "seconds": "time of an image",
    "memory": "memory",
}


class Frontier(Analysis):
    """What the article says about accuracy against cost."""

    study = "frontier"

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each network, from the first experiment of the study that ran."""
        return pd.read_parquet(self.store.file(self.done[0], RECORDS))

    def worth(self, cost: str) -> list[str]:
        """The networks that nothing beats which costs no more, those first that cost least."""
        kept = self.table[self.table[f"beaten_{cost}"] == 0].sort_values(cost, kind="stable")
        return [self.label(run) for run in kept["run"]]

    @property
    def always(self) -> list[str]:
        """The networks that are worth every one of their costs."""
        return [label for label in self.worth(COSTS[0]) if all(label in self.worth(cost) for cost in COSTS)]

    @property
    def never(self) -> list[str]:
        """The networks that are beaten at every cost."""
        labels = [self.label(run) for run in self.table["run"]]
        return [label for label in labels if not any(label in self.worth(cost) for cost in COSTS)]

    @property
    def counts(self) -> str:
        """How many networks are worth each cost."""
        return phrases.listing([f"{self._share(cost)} by {WORDS[cost]}" for cost in COSTS])

    def _share(self, cost: str) -> str:
        return phrases.words(len(self.worth(cost)))

    def tables(self) -> list[Table]:
        return []

    def figures(self) -> list[Illustration]:
        return [self.figure()] if self.done else []

    def figure(self) -> Illustration:
        batch = phrases.count(self.settings["batch_size"])
        return Illustration(
            "frontier",
            "Top-1 accuracy, with 95 % Wilson intervals, against what the networks cost; time and memory (weights and, "
            f"at the peak, maps) in batches of {batch}. Open points: another network costs no more and is detectably "
            "more accurate. Dotted: the highest accuracy observed up to that cost.",
            "Four panels of accuracy against parameters, multiply-adds, time and memory",
            frontier(self.table),
            wide=True,
        )
