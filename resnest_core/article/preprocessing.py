"""The analysis of preprocessing: what a score owes to crop rule, filter, decoder and size of the input."""

from functools import cached_property
from typing import Any

import pandas as pd

from resnest_core.analyses.conditions import CROSSED, REFERENCE, RESOLUTION, WHOLE
from resnest_core.analyses.predictions import accuracies
from resnest_core.article import phrases
from resnest_core.article.analysis import Analysis
from resnest_core.article.illustrations import Illustration
from resnest_core.article.tables import ABSENT, Cell, Table, measured
from resnest_core.figures.preprocessing import resolution

DECODERS = {"pillow": "Pillow", "torchvision": "torchvision", "draft": "Pillow's draft mode"}
AS_IT_IS = "as it is"
DIGITS = 1  # after the point in the table, which has two networks side by side
Condition = dict[str, Any]  # as the result files describe one


class PreprocessingSensitivity(Analysis):
    """What the article says about preprocessing. All networks have the first one's conditions, beside the own size."""

    study = "preprocessing"

    @property
    def images(self) -> int:
        return self.metric(self.networks[0], f"{REFERENCE}.top1").n or 0

    @cached_property
    def conditions(self) -> list[Condition]:
        """What the first network was given; the reference comes first."""
        return self._conditions(self.networks[0])

    def _conditions(self, run: str) -> list[Condition]:
        return list(self.store.parameters(self.sources[run])["conditions"][run])

    @property
    def own(self) -> Condition:
        return self.conditions[0]

    @property
    def small(self) -> bool:
        """Whether the images have no files and are given whole."""
        return bool(self.own["rule"] == WHOLE)

    @property
    def ways(self) -> list[Condition]:
        """Rules and filters other than the reference's, with its decoder."""
        crossed = [condition for condition in self.conditions if condition["part"] == CROSSED]
        return [condition for condition in crossed if condition["decoder"] == self.own["decoder"]]

    @property
    def decoded(self) -> list[Condition]:
        """Other decoders, with the reference's rule and filter."""
        crossed = [condition for condition in self.conditions if condition["part"] == CROSSED]
        return [c for c in crossed if all(c[name] == self.own[name] for name in ("rule", "interpolation"))]

    @property
    def sizes(self) -> list[Condition]:
        return [condition for condition in self.conditions if condition["part"] == RESOLUTION]

    @property
    def twins(self) -> list[Condition]:
        """Decoders that give every image the same pixels as one before them."""
        return [c for number, c in enumerate(self.decoded) if self._repeats(c, self.decoded[:number])]

    def _repeats(self, condition: Condition, before: list[Condition]) -> bool:
        pairs = [condition["name"], *(f"{condition['name']}_less_{other['name']}" for other in before)]
        return any(self.metric(self.networks[0], f"{pair}.identical").value == 100 for pair in pairs)

    @property
    def kept(self) -> dict[str, float]:
        """The share (%) of an image's short side that each rule keeps."""
        return {condition["rule"]: 100 * condition["kept"] for condition in [self.own, *self.ways]}

    @property
    def rules_sentence(self) -> str:
        """What other rules do to each network; with other filters too where the images are photographs."""
        rules = [condition for condition in self.ways if condition["rule"] != self.own["rule"]]
        told = [c for c in rules if not self.small or c["interpolation"] == self.own["interpolation"]]
        changes = [f"{self._changes(c['name'])} by {self._rule(c)}" for c in told]
        names = phrases.listing([self.label(run) for run in self.networks])
        return f"Accuracy of {names} changes by {'; by '.join(changes)}." if changes else ""

    def _rule(self, condition: Condition) -> str:
        """The rule, and the filter where that is another than the reference's."""
        same = condition["interpolation"] == self.own["interpolation"]
        return str(condition["rule"]).replace("_", " ") + ("" if same else f", {condition['interpolation']}")

    def _changes(self, name: str) -> str:
        """How much accuracy each network gains or loses under a condition; the table has the intervals."""
        return phrases.listing([self._change(run, name) for run in self.networks]) + " points"

    def _change(self, run: str, name: str) -> str:
        change, p = self.metric(run, f"{name}.difference").value, self.metric(run, f"{name}.p").value
        return f"{phrases.signed(change)}{'' if phrases.differs(p) else ' (not detectably)'}"

    @property
    def decoder_sentence(self) -> str:
        """The most that any decoder changes."""
        pairs = [(run, condition["name"]) for run in self.networks for condition in self.decoded]
        if not pairs:
            return ""
        changed = max(self.metric(run, f"{name}.changed").value for run, name in pairs)
        found = sum(phrases.differs(self.metric(run, f"{name}.p").value) for run, name in pairs)
        effect = f"{phrases.words(found)} of {phrases.words(len(pairs))} accuracies" if found else "no accuracy"
        subject = f"JPEG data (quality {self.settings['quality']})" if self.small else "Other decoders"
        text = f"{subject} change at most {phrases.number(changed)} % of predictions and {effect} detectably"
        twins = phrases.listing([DECODERS[condition["decoder"]] for condition in self.twins])
        verb = "decodes" if len(self.twins) == 1 else "decode"
        return f"{text}; {twins} {verb} to Pillow's pixels." if self.twins else f"{text}."

    @property
    def curve_sentence(self) -> str:
        """The mean change over the sizes, and whether networks differ in it."""
        if not self.sizes:
            return ""
        low, high = self.sizes[0]["size"], self.sizes[-1]["size"]
        told = phrases.listing([self._curve(run) + self._excess(run) for run in self.networks])
        return f"From {low} to {high} pixels accuracy changes in the mean by {told}. {self._better_sizes}"

    def _curve(self, run: str) -> str:
        mean = self.metric(run, "curve.change")
        return f"{phrases.signed(mean.value)} points ({phrases.interval(mean.low, mean.high)}) for {self.label(run)}"

    def _excess(self, run: str) -> str:
        """The verdict on another network than the first."""
        if run == self.networks[0]:
            return ""
        excess = self.metric(run, "curve.excess")
        if excess.low is None or excess.high is None or excess.low <= 0 <= excess.high:
            return f", which is not detectably different ({phrases.interval(excess.low, excess.high)})"
        if excess.value > 0:
            return f", better by {phrases.number(excess.value)} ({phrases.interval(excess.low, excess.high)})"
        return f", worse by {phrases.number(-excess.value)} ({phrases.interval(-excess.high, -excess.low)})"

    @property
    def _better_sizes(self) -> str:
        """The sizes at which a network is detectably better than at its own."""
        found = [
            f"{condition['size']} pixels for {self.label(run)}"
            for run in self.networks
            for condition in self.sizes
            if condition["size"] != self._conditions(run)[0]["size"] and self._gains(run, condition["name"])
        ]
        return (
            f"Better than the own size: {phrases.listing(found)}." if found else "No other size is detectably better."
        )

    def _gains(self, run: str, name: str) -> bool:
        change, p = self.metric(run, f"{name}.difference").value, self.metric(run, f"{name}.p").value
        return change > 0 and phrases.differs(p)

    def title(self, condition: Condition) -> str:
        """A condition as the text calls it."""
        if condition["rule"] == WHOLE:
            return AS_IT_IS if condition is self.own else f"JPEG, {DECODERS[condition['decoder']]}"
        rule = f"{condition['rule'].replace('_', ' ')}, {condition['interpolation']}"
        other = condition["decoder"] != self.own["decoder"]
        return f"{rule}, {DECODERS[condition['decoder']]}" if other else rule

    def tables(self) -> list[Table]:
        return [self.table()] if self.done else []

    def figures(self) -> list[Illustration]:
        return [self.figure()] if self.done and self.sizes else []

    def table(self) -> Table:
        """One factor varied at a time; decoders that give the same pixels as another are left out."""
        shown = [self.own, *(condition for condition in self.decoded if condition not in self.twins), *self.ways]
        header = ["Preprocessing"]
        for run in self.networks:
            header += [f"{self.label(run)} (%)", "changed", "difference", "$p$"]
        return Table(
            "preprocessing",
            "The same weights behind other preprocessing: top-1 accuracy; predictions that are not those of the "
            "reference (%), in the first line; difference of accuracy from it in points with its 95 % interval; $p$ of "
            "the exact McNemar test after Holm's correction for all conditions, decoders crossed with rules included.",
            header,
            "l" + "r" * (len(header) - 1),
            [self._row(condition) for condition in shown],
            wide=True,
        )

    def _row(self, condition: Condition) -> list[Cell]:
        name, cells = condition["name"], [measured(self.title(condition))]
        for run in self.networks:
            cells.append(measured(phrases.number(self.metric(run, f"{name}.top1").value, DIGITS)))
            cells += [ABSENT] * 3 if condition is self.own else self._compared(run, name)
        return cells

    def _compared(self, run: str, name: str) -> list[Cell]:
        change = self.metric(run, f"{name}.difference")
        return [
            measured(phrases.number(self.metric(run, f"{name}.changed").value, DIGITS)),
            measured(phrases.with_interval(change.value, change.low, change.high, DIGITS)),
            measured(phrases.p_cell(self.metric(run, f"{name}.p").value)),
        ]

    def figure(self) -> Illustration:
        """Accuracy by size."""
        columns = ["run", "part", "size", "correct"]
        records = pd.concat([self.store.records(run, columns) for run in self.done])
        table = accuracies(records[records["part"] == RESOLUTION], ["run", "size"])
        ordered = table.astype({"run": str}).set_index("run").loc[self.networks].reset_index()
        own = records.loc[records["part"] == REFERENCE, "size"].unique().tolist()
        return Illustration(
            "resolution",
            "Accuracy by size of the input, with 95 % Wilson intervals shaded; dotted is the size that the networks "
            "were trained with.",
            "Accuracy against the size of the input for each network",
            resolution(ordered.assign(run=ordered["run"].map(self.label)), own),
        )
