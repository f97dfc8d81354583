"""The analysis of robustness: corrupted images, and on ImageNet new labels and new images."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resnest_core.analyses.corruptions import CORRUPTIONS
from resnest_core.analyses.predictions import accuracies
from resnest_core.article import findings, phrases
from resnest_core.article.analysis import Analysis
from resnest_core.article.illustrations import Illustration
from resnest_core.article.networks import classifier_label
from resnest_core.article.results import Experiment, Metric
from resnest_core.article.tables import Cell, Table, measured
from resnest_core.data.imagenet_v2 import NAME as NEW_IMAGES
from resnest_core.figures.robustness import by_severity

MEASURES = {"mce": "mCE", "loss": "accuracy lost"}


class Robustness(Analysis):
    """What the article says about robustness."""

    study = "robustness"

    @property
    def images(self) -> int:
        return self.metric(self.networks[0], "clean.top1").n or 0

    @property
    def kinds(self) -> str:
        return phrases.listing([corruption.label for corruption in CORRUPTIONS.values()])

    def _parameters(self, run: str) -> dict[str, Any]:
        """As they were stored: the plan's may leave the baseline to be chosen."""
        return self.store.result(self.sources[run]).parameters

    @property
    def baseline(self) -> str:
        """The network whose errors are the unit."""
        return self.label(str(self._parameters(self.networks[0])["baseline"]))

    @property
    def counterparts(self) -> Mapping[str, str]:
        """Each network with split attention and the one without it that has as many layers."""
        pairs = {run: self._parameters(run)["counterparts"] for run in self.networks}
        return {run: others[run] for run, others in pairs.items() if run in others}

    def verdicts(self, measure: str) -> list[str]:
        """Whether ResNeSt is better than its counterpart by a measure, of which less is better."""
        return [self._verdict(run, measure) for run in self.counterparts]

    def _verdict(self, run: str, measure: str) -> str:
        difference, p = self.metric(run, f"{measure}_difference").value, self.metric(run, f"{measure}_p").value
        return phrases.verdict(-difference, p)

    def summary(self, measure: str) -> str:
        """How often ResNeSt is better, worse or neither: "worse in one of two comparisons"; empty without any."""
        verdicts = self.verdicts(measure)
        return f"{phrases.tally(verdicts)} of {phrases.plural(len(verdicts), 'comparison')}" if verdicts else ""

    def sentences(self, measure: str) -> list[str]:
        """The tests of ResNeSt against ResNet-D by a measure."""
        return [self._sentence(run, other, measure) for run, other in self.counterparts.items()]

    def _sentence(self, run: str, other: str, measure: str) -> str:
        found, p = self.metric(run, f"{measure}_difference"), self.metric(run, f"{measure}_p").value
        difference = f"{MEASURES[measure]} {phrases.points(found.value, found.low, found.high)}"
        verdict = self._verdict(run, measure)
        return findings.comparison(self.label(run), self.label(other), difference, phrases.p_value(p), verdict)

    @property
    def hardest(self) -> tuple[str, float]:
        """The corruption under which the networks are right least often in the mean, and how often (%)."""
        table = self.table_of_accuracies.groupby("corruption", observed=True)["top1"].mean()
        means = {corruption.label: float(table[name]) for name, corruption in CORRUPTIONS.items()}
        label = min(means, key=lambda name: means[name])
        return label, means[label]

    @property
    def real(self) -> list[str]:
        """The accuracy of each network on the reassessed labels, where they were given."""
        found = {run: self.store.peek(source, f"{run}.real") for run, source in self.sources.items()}
        return [_scored(self.label(run), metric) for run, metric in found.items() if metric is not None]

    @property
    def new_images(self) -> list[str]:
        """The accuracy of each network of the base results on ImageNet-V2, where the profile has that."""
        runs = [run for run in self.store.study("base_results") if self._data(run) == NEW_IMAGES]
        return [
            _scored(classifier_label(str(self.store.parameters(run)["model"])), self.store.metric(run, "top1"))
            for run in runs
            if self.store.ran(run)
        ]

    def _data(self, run: Experiment) -> str:
        return str(self.store.parameters(run).get("dataset", ""))

    @property
    def table_of_accuracies(self) -> pd.DataFrame:
        """Accuracy by network, corruption and severity."""
        columns = ["run", "corruption", "severity", "correct"]
        records = pd.concat([self.store.records(run, columns) for run in self.done])
        table = accuracies(records, ["run", "corruption", "severity"])
        ordered = table.astype({"run": str}).set_index("run").loc[self.networks].reset_index()
        return ordered.assign(run=ordered["run"].map(self.label))

    def tables(self) -> list[Table]:
        return [self.table()] if self.done else []

    def figures(self) -> list[Illustration]:
        return [self.figure()] if self.done else []

    def table(self) -> Table:
        """The errors of every network, relative to those of the baseline."""
        header = ["Network", "Clean (%)", *(corruption.label for corruption in CORRUPTIONS.values())]
        header += ["mCE (%)", "Accuracy lost"]
        return Table(
            "robustness",
            f"Accuracy without corruption; error under each corruption, summed over severities, in percent of that of "
            f"{self.baseline}; mCE, the mean of these; and the accuracy that corruption costs in the mean, in points. "
            "With 95 % bootstrap intervals over images.",
            header,
            "l" + "r" * (len(header) - 1),
            [self._row(run) for run in self.networks],
            wide=True,
        )

    def _row(self, run: str) -> list[Cell]:
        errors = [self.metric(run, f"{name}.ce").value for name in CORRUPTIONS]
        return [
            measured(self.label(run)),
            measured(phrases.number(self.metric(run, "clean.top1").value)),
            *[measured(phrases.number(error, 1)) for error in errors],
            *[measured(_with_limits(self.metric(run, measure))) for measure in MEASURES],
        ]

    def figure(self) -> Illustration:
        """Accuracy by severity."""
        return Illustration(
            "robustness",
            "Accuracy under five corruptions by severity, 0 for images as they are; 95 % Wilson intervals shaded.",
            "Accuracy against severity for each corruption and network",
            by_severity(self.table_of_accuracies),
            wide=True,
        )


def _scored(label: str, metric: Metric) -> str:
    return f"{phrases.number(metric.value)} % ({phrases.interval(metric.low, metric.high)}) for {label}"


def _with_limits(metric: Metric) -> str:
    limits = phrases.interval(metric.low, metric.high, 1)
    return phrases.number(metric.value, 1) + (f" ({limits})" if limits else "")
