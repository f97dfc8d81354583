"""What the tables of an analysis of attention amount to: scores of each stage, and tests of each intervention."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from resnest_core.analyses.attention_maps import PARTS, shares
from resnest_core.evaluation.results import Metric, metric
from resnest_core.statistics import Interval, holm, mcnemar, mean_interval, wilson

ALL, NONE = "all", "none"  # all stages; the untouched network
CONSTANT = "uniform_mean"  # all weights equal in place of each one's mean: what the means alone are good for
QUANTILES = (5, 25, 50, 75, 95)  # percent


@dataclass(frozen=True)
class Effect:
    """An intervention in one stage, or all, of a run: points of accuracy lost, with their interval; the p of the exact
    McNemar test, corrected by Holm for all runs and interventions in all stages, or in single ones; and the percentage
    of predictions that changed."""

    run: str
    stage: str
    intervention: str
    loss: Interval
    p: float
    changed: Interval

    @property
    def metrics(self) -> dict[str, Metric]:
        name = f"{self.run}.{self.stage}.{self.intervention}"
        return {
            f"{name}.loss": _metric(self.loss, "points"),
            f"{name}.p": metric(self.p, "1", n=self.loss.n),
            f"{name}.changed": _metric(self.changed, "%"),
        }


def effects(records: pd.DataFrame) -> list[Effect]:
    """Every intervention against the untouched network on the same images, and equal weights against the means.

    `records` has a row for each run, image and intervention: run, index, predicted, correct, intervention, stage.
    """
    found = [effect for run, rows in records.groupby("run", sort=False) for effect in _effects(str(run), rows)]
    families = [[e for e in found if (e.stage == ALL) == everywhere] for everywhere in (True, False)]
    return [effect for family in families for effect in _corrected(family)]


def _corrected(family: list[Effect]) -> list[Effect]:
    adjusted = holm([effect.p for effect in family])
    return [replace(effect, p=p) for effect, p in zip(family, adjusted, strict=True)]


def _effects(run: str, rows: pd.DataFrame) -> Iterator[Effect]:
    """Those of one run, their p not corrected."""
    groups = rows.groupby(["stage", "intervention"], sort=False)
    cases = {(str(stage), str(intervention)): table.set_index("index") for (stage, intervention), table in groups}
    for stage, intervention in cases:
        if intervention != NONE:
            yield _effect(run, stage, intervention, cases[ALL, NONE], cases[stage, intervention])
    if (ALL, "uniform") in cases:
        yield _effect(run, ALL, CONSTANT, cases[ALL, "mean"], cases[ALL, "uniform"])


def _effect(run: str, stage: str, intervention: str, before: pd.DataFrame, after: pd.DataFrame) -> Effect:
    after = after.loc[before.index]
    test = mcnemar(before["correct"].to_numpy(bool), after["correct"].to_numpy(bool))
    loss = Interval(test.difference, test.low, test.high, test.n)
    changed = wilson(int((before["predicted"] != after["predicted"]).sum()), test.n)
    return Effect(run, stage, intervention, loss, test.p, changed)


def metrics(records: pd.DataFrame, maps: pd.DataFrame, blocks: pd.DataFrame) -> dict[str, Metric]:
    """The metrics RUN.STAGE.NAME of an analysis, and RUN.top1 on its images, from its three tables."""
    found: dict[str, Metric] = {}
    for name, rows in records[records["intervention"] == NONE].groupby("run", sort=False):
        found[f"{name}.top1"] = _metric(wilson(int(rows["correct"].sum()), len(rows)), "%")
    for (run, stage), rows in maps.groupby(["run", "stage"], sort=False):
        found |= _variation(f"{run}.{stage}", rows)
    for name, of_run in maps.groupby("run", sort=False):
        found |= _variation(f"{name}.{ALL}", of_run)
    for row in blocks[blocks["block"] == ALL].to_dict("records"):
        found |= {f"{row['run']}.{row['stage']}.p{q}": metric(row[f"p{q}"], "1") for q in QUANTILES}
    for effect in effects(records):
        found |= effect.metrics
    return found


def _variation(name: str, maps: pd.DataFrame) -> dict[str, Metric]:
    """Entropy of the weights and the shares of their variation, in the mean of the blocks of each image."""
    images = maps.groupby("index")[["target", "entropy", *PARTS]].mean()
    found = {f"{name}.entropy": _metric(mean_interval(images["entropy"].to_numpy()), "1")}
    parts = shares(images, images["target"])
    return found | {f"{name}.{part}": _metric(share, "%") for part, share in parts.items()}


def _metric(interval: Interval, unit: str) -> Metric:
    return metric(interval.value, unit, low=interval.low, high=interval.high, n=interval.n)
