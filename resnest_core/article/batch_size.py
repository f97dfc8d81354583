"""The study of batch sizes: one network evaluated in several batches, and trained in several."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnest_core.article import findings, phrases
from resnest_core.article.comparisons import Comparison, Group, compare, corrected, grouped
from resnest_core.article.illustrations import Illustration
from resnest_core.article.results import Experiment, Store
from resnest_core.article.tables import ABSENT, Cell, Table
from resnest_core.errors import InputError

STUDY = "batch_size"
EVALUATED, TRAINED = "evaluation", "training"  # what the names of the two kinds of experiments begin with
PARAMETER = {EVALUATED: "batch_size", TRAINED: "train_batch_size"}
USUAL = {EVALUATED: 32, TRAINED: 64}  # the batch that the others are compared with, where it ran


@dataclass(frozen=True)
class Flips:
    """Evaluation in one batch size against the reference: changed predictions, and the greatest change of a logit."""

    changed: int
    n: int
    logits: float | None  # None where logits were not stored


class BatchSize:
    """What the article says about batch sizes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.evaluated = self._groups(EVALUATED)
        self.trained = self._groups(TRAINED)

    def _groups(self, role: str) -> dict[int, Group]:
        """The experiments of one kind by batch size, in ascending order."""
        runs = [run for run in self.store.study(STUDY) if _role(run) == role]
        groups = grouped(self.store, runs, lambda run: int(self.store.parameters(run)[PARAMETER[role]]))
        return {batch: groups[batch] for batch in sorted(groups)}

    def reference(self, role: str) -> int | None:
        """The batch size that the others are compared with: the usual one, or the smallest that ran."""
        groups = self.evaluated if role == EVALUATED else self.trained
        done = [batch for batch, group in groups.items() if group.done]
        return USUAL[role] if USUAL[role] in done else min(done, default=None)

    @property
    def models(self) -> str:
        """The networks of this study, as an enumeration."""
        runs = self.store.study(STUDY)
        return phrases.listing([f"`{m}`" for m in dict.fromkeys(self.store.parameters(run)["model"] for run in runs)])

    @cached_property
    def flips(self) -> dict[int, Flips]:
        """Every evaluated batch size but the reference, against it."""
        reference = self.reference(EVALUATED)
        return {
            batch: self._flips(group.done[0], self.evaluated[reference].done[0])
            for batch, group in self.evaluated.items()
            if reference is not None and group.done and batch != reference
        }

    def _flips(self, run: Experiment, reference: Experiment) -> Flips:
        a, b = (self.store.records(one, ["target", "predicted", "logits"]) for one in (run, reference))
        if not a.index.equals(b.index) or not a.target.equals(b.target):
            raise InputError(f"'{run.key}' and '{reference.key}' were not evaluated on the same images")
        stored = "logits" in a and "logits" in b
        change = float(np.abs(_matrix(a.logits) - _matrix(b.logits)).max()) if stored else None
        return Flips(int((a.predicted != b.predicted).sum()), len(a), change)

    @cached_property
    def evaluated_tests(self) -> dict[int, Comparison]:
        return self._tests(EVALUATED, self.evaluated)

    @cached_property
    def trained_tests(self) -> dict[int, Comparison]:
        return self._tests(TRAINED, self.trained)

    def _tests(self, role: str, groups: dict[int, Group]) -> dict[int, Comparison]:
        """Each batch size against the reference, with Holm's correction."""
        reference = self.reference(role)
        if reference is None:
            return {}
        others = [batch for batch in groups if batch != reference]
        pair = (f"batch {reference}", groups[reference])
        tests = corrected(compare((f"batch {batch}", groups[batch]), pair) for batch in others)
        return {batch: test for batch, test in zip(others, tests, strict=True) if test is not None}

    @property
    def most_flips(self) -> int:
        return max(flips.changed for flips in self.flips.values())

    @property
    def images(self) -> int:
        return next(iter(self.flips.values())).n

    @property
    def flips_sentence(self) -> str:
        changes = [flips.logits for flips in self.flips.values() if flips.logits is not None]
        changed = {batch: flips.changed for batch, flips in self.flips.items()}
        return findings.flips(changed, self.images, self.reference(EVALUATED) or 0, max(changes, default=None))

    @property
    def evaluation_conclusion(self) -> str:
        return _conclusion("In evaluation", self.evaluated_tests)

    @property
    def training_conclusion(self) -> str:
        return _conclusion("In training", self.trained_tests)

    @property
    def speed_sentence(self) -> str:
        """The fastest and the slowest batch size of evaluation, and the memory of the smallest and the largest."""
        done = {batch: group for batch, group in self.evaluated.items() if group.done}
        speeds = {batch: group.summary("images_per_second").mean for batch, group in done.items()}
        fast, slow = max(speeds, key=lambda b: speeds[b]), min(speeds, key=lambda b: speeds[b])
        low, high = (phrases.size(done[b].summary("activation_memory").mean) for b in (min(done), max(done)))
        return (
            f"Batches of {fast} are the fastest with {phrases.significant(speeds[fast])} images a second, batches of "
            f"{slow} the slowest with {phrases.significant(speeds[slow])}; a forward pass takes {low} in batches of "
            f"{min(done)} and {high} in batches of {max(done)}."
        )

    def tables(self) -> list[Table]:
        return ([self.evaluation_table()] if self.evaluated else []) + ([self.training_table()] if self.trained else [])

    def figures(self) -> list[Illustration]:
        return []

    def evaluation_table(self) -> Table:
        return Table(
            "batch-evaluation",
            "The same weights, evaluated in batches of different size: accuracy; predictions that differ from those "
            f"in batches of {self.reference(EVALUATED)} and the greatest change of a logit; *p* of the accuracy's "
            "difference after Holm's correction; images a second in the forward pass; memory (MiB) of one "
            "forward pass beyond the weights.",
            ["Batch", "Top-1 (%)", "Flips", "max. $\\Delta$", "$p$", "Images/s", "MiB"],
            "rrrrrrr",
            [
                [
                    group.measured(phrases.count(batch)),
                    group.cell("top1"),
                    *self._changes(batch, group),
                    group.cell("images_per_second", phrases.significant),
                    group.cell("activation_memory", phrases.mebibytes),
                ]
                for batch, group in self.evaluated.items()
            ],
        )

    def _changes(self, batch: int, group: Group) -> list[Cell]:
        """Flips and change of logits; the reference has none by definition."""
        if not group.done:
            return [group.missing] * 3
        if batch not in self.flips:
            return [group.measured("ref."), ABSENT, ABSENT]
        flips = self.flips[batch]
        logits = ABSENT if flips.logits is None else group.measured(phrases.significant(flips.logits, 2))
        p = group.measured(phrases.p_cell(test.p)) if (test := self.evaluated_tests.get(batch)) else ABSENT
        return [group.measured(phrases.count(flips.changed)), logits, p]

    def training_table(self) -> Table:
        reference = self.reference(TRAINED)
        return Table(
            "batch-training",
            f"Networks trained in batches of different size, the peak learning rate in proportion; difference of top-1 "
            f"accuracy from batches of {reference} in points with its 95 % interval, and $p$ after Holm's correction.",
            ["Batch", "Rate", "Top-1 (%)", f"Less {reference}", "$p$", "Images/s"],
            "rrrrrr",
            [
                [
                    group.measured(phrases.count(batch)),
                    self._peak_rate(group),
                    group.cell("top1"),
                    *self._tested(batch, group),
                    group.cell("training_images_per_second", phrases.significant),
                ]
                for batch, group in self.trained.items()
            ],
            wide=True,
        )

    def _peak_rate(self, group: Group) -> Cell:
        """The highest learning rate: as given for batches of 256, in proportion."""
        parameters = self.store.parameters(group.runs[0])
        return group.measured(f"{parameters['learning_rate'] * parameters['train_batch_size'] / 256:g}")

    def _tested(self, batch: int, group: Group) -> list[Cell]:
        if not group.done:
            return [group.missing] * 2
        if batch not in self.trained_tests:
            return [group.measured("reference"), ABSENT]
        return self.trained_tests[batch].outcome


def _role(run: Experiment) -> str:
    return TRAINED if run.name.startswith(TRAINED) else EVALUATED


def _conclusion(where: str, tests: dict[int, Comparison]) -> str:
    """The verdicts on all batch sizes; nothing where there was no test."""
    verdicts = {test.first: test.verdict for test in tests.values()}
    references = {test.second for test in tests.values()}
    return f"{where}, {findings.conclusion(verdicts, references.pop())}." if verdicts else ""


def _matrix(logits: "pd.Series[Any]") -> NDArray[np.float32]:
    """Logits stored one list an image, as an array (images, classes)."""
    return np.stack(logits.to_list())
