"""The analysis of errors: what two networks get wrong, together and alone."""

from functools import cached_property

import numpy as np
import pandas as pd

from resnest_core.analyses.errors import CLASSES, MOST_CLASSES, Counts, confused_pairs, confusion, similar_order
from resnest_core.article import phrases
from resnest_core.article.analysis import Analysis
from resnest_core.article.illustrations import Illustration
from resnest_core.article.networks import classifier_label
from resnest_core.article.results import Experiment, Metric, Store
from resnest_core.article.tables import Table
from resnest_core.evaluation.examples import EXAMPLES, load_images
from resnest_core.figures.errors import overview, pictures

PAIRS = 3  # of confused classes in the text
MOST_NAMED = 3  # classes in which the networks differ


class Errors(Analysis):
    """What the article says about mistakes."""

    study = "errors"

    @cached_property
    def pairs(self) -> list["Pair"]:
        """The comparisons that ran."""
        return [Pair(self.store, run, number) for number, run in enumerate(self.done)]

    @property
    def compared(self) -> str:
        """Which networks are compared."""
        split = [["resnetd" in model for model in pair.models] for pair in self.pairs]
        return "networks with and without split attention" if all(sum(flags) == 1 for flags in split) else "two of them"

    def tables(self) -> list[Table]:
        return []

    def figures(self) -> list[Illustration]:
        return [pair.figure() for pair in self.pairs]


class Pair:
    """One experiment of the study: two networks on the same images."""

    def __init__(self, store: Store, run: Experiment, number: int) -> None:
        self.store, self.run = store, run
        self.figure_label = f"errors{number or ''}"
        models = dict(store.parameters(run)["models"])
        self.names, self.models = list(models), list(models.values())
        labels = [classifier_label(model) for model in self.models]
        self.labels = labels if len(set(labels)) == len(labels) else self.names

    def metric(self, name: str, which: int = 0) -> Metric:
        """A metric of the first network, which those of both are called by, or of the second."""
        return self.store.metric(self.run, f"{self.names[which]}.{name}")

    @cached_property
    def classes(self) -> list[str]:
        return list(self.store.parameters(self.run)["classes"])

    @cached_property
    def records(self) -> pd.DataFrame:
        own = [
            f"{column}_{which}" for which in ("first", "second") for column in ("predicted", "correct", "confidence")
        ]
        return self.store.records(self.run, ["target", *own, "example", "kind"])

    @cached_property
    def by_class(self) -> pd.DataFrame:
        return pd.read_parquet(self.store.file(self.run, CLASSES))

    @cached_property
    def confusion(self) -> Counts:
        """Images of each class by what the first network took them for."""
        return confusion(self.records["target"], self.records["predicted_first"], len(self.classes))

    @property
    def alone(self) -> str:
        """How many images each gets right that the other does not."""
        shares = [f"{phrases.number(self.metric('only_right', which).value)} %" for which in (0, 1)]
        return f"{self.labels[0]} alone is right on {shares[0]} of the images, {self.labels[1]} alone on {shares[1]}."

    @property
    def shared(self) -> str:
        """How common mistakes compare with those that independence would give."""
        common, ratio, kappa = (self.metric(name) for name in ("common_mistakes", "common_ratio", "kappa"))
        text = f"Both err on {phrases.number(common.value)} %, {_with_limits(ratio)} times what independence would give"
        if ratio.low is not None and ratio.high is not None and ratio.low <= 1 <= ratio.high:
            text += ", not detectably another number"
        text += f" (Cohen's *κ*: {phrases.number(kappa.value)})"
        if self.store.peek(self.run, f"{self.names[0]}.same_answer") is None:
            return f"{text}."
        return f"{text}; in {_with_limits(self.metric('same_answer'), 1, ' %')} of these they give the same answer."

    @property
    def confused(self) -> str:
        """The pairs of classes that the first network confuses most; no full stop."""
        pairs = [
            f"{self.classes[a]} and {self.classes[b]} ({self._confusions(a, b)})"
            for a, b in confused_pairs(self.confusion, PAIRS)
            if self._confusions(a, b)
        ]
        return phrases.listing(pairs)

    def _confusions(self, a: int, b: int) -> int:
        return int(self.confusion[a, b] + self.confusion[b, a])

    @property
    def differing(self) -> str:
        """Which classes account for the difference of the two networks."""
        overall = self.metric("difference")
        points = phrases.with_interval(overall.value, overall.low, overall.high)
        table = self.by_class
        top = table.loc[table["contribution"].abs().nlargest(2).index]
        parts = [f"{phrases.signed(row['contribution'])} from {row['class']}" for row in top.to_dict("records")]
        whole = f"The accuracy of {self.labels[0]} less that of {self.labels[1]} is {points} points"
        return f"{whole}, of which come {phrases.listing(parts)}. {self._tested}"

    @property
    def _tested(self) -> str:
        """In which classes the paired test finds a difference."""
        table = self.by_class
        found = table[[phrases.differs(p) for p in table["p"]]]
        count = phrases.plural(len(table), "class").replace("classs", "classes")
        if found.empty:
            return f"In none of {count} do they differ detectably after Holm's correction."
        named = [
            f"{row['class']} ({phrases.with_interval(row['difference'], row['low'], row['high'])})"
            for row in found.head(MOST_NAMED).to_dict("records")
        ]
        more = f", among them {phrases.listing(named)}" if len(found) > MOST_NAMED else f": {phrases.listing(named)}"
        return f"After Holm's correction they differ in {phrases.words(len(found))} of {count}{more}."

    def figure(self) -> Illustration:
        order = similar_order(self.confusion)
        images = load_images(self.store.file(self.run, EXAMPLES))
        shown = pictures(self.records, images, self.classes, self.labels)
        which = "" if len(order) == len(self.classes) else f"the {MOST_CLASSES} classes of the most confused pairs, "
        caption = f"Left: images of each class by what {self.labels[0]} took them for ({which}similar classes "
        caption += "together; what is right without colour). Right: images that only one network gets right, and the "
        caption += f"mistakes of {self.labels[0]} with the greatest loss and the highest confidence: true class, wrong "
        caption += "answer and its probability."
        drawn = overview(self.confusion[np.ix_(order, order)], [self.classes[i] for i in order], shown)
        return Illustration(self.figure_label, caption, "Confusion matrix and misclassified images", drawn, wide=True)


def _with_limits(metric: Metric, digits: int = 2, unit: str = "") -> str:
    limits = phrases.interval(metric.low, metric.high, digits)
    return phrases.number(metric.value, digits) + unit + (f" ({limits})" if limits else "")
