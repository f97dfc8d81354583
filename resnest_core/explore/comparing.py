"""The second tab: two classifiers on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import pandas as pd
import statsmodels.stats.contingency_tables  # noqa: F401 - seconds to import, for which the first test must not wait

from resnest_core.analyses.errors import paired_records
from resnest_core.article import phrases
from resnest_core.errors import InputError
from resnest_core.explore import choices, opening, pictures
from resnest_core.explore.panel import Panel, Sight
from resnest_core.explore.runs import Run
from resnest_core.figures.errors import Picture, shorten
from resnest_core.statistics import PairedTest, mcnemar

COLUMNS = {"index", "image", "target", "predicted", "correct", "loss", "top5_probability"}
SHOWN = 8  # images in a row
EVERY = -1  # class, as the widget of a choice takes None for nothing chosen
FIRST, SECOND = "first", "second"


@dataclass(frozen=True)
class Pair:
    """Two runs and their records side by side, of all images or of those of one class."""

    first: Run
    second: Run
    records: pd.DataFrame

    def of_class(self, label: int) -> "Pair":
        """The pair on the images of a class, or of `EVERY`."""
        if label == EVERY:
            return self
        rows = self.records[self.records["target"] == label]
        if rows.empty:
            raise InputError("none of the images is of that class; choose another")
        return Pair(self.first, self.second, rows)

    @property
    def test(self) -> PairedTest:
        return mcnemar(self.records["correct_first"].to_numpy(), self.records["correct_second"].to_numpy())

    def only(self, right: str) -> pd.DataFrame:
        """The images that only `right`, "first" or "second", has right; first those on which the other errs most."""
        wrong = SECOND if right == FIRST else FIRST
        rows = self.records[self.records[f"correct_{right}"] & ~self.records[f"correct_{wrong}"]]
        gap = rows[f"loss_{wrong}"] - rows[f"loss_{right}"]
        return rows.loc[gap.sort_values(ascending=False, kind="stable").index]


class Comparing(Panel):
    """The paired test of two runs, and the images that just one of them gets right, of all classes or of one."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.first, self.second = (choices.run_choice(f"{which} run", runs) for which in (FIRST, SECOND))
        self.second.value = runs[1] if len(runs) > 1 else self.first.value
        self.label, self.page = choices.dropdown("class"), choices.slider("page")
        super().__init__(self.first, self.second, self.label, self.page)

    def sight(self, changed: widgets.Widget | None) -> Sight:
        first, second = choices.chosen_run(self.first), choices.chosen_run(self.second)
        classes = opening.class_names(opening.finished(first).test_set.classes)
        choices.offer(self.label, [("All classes", EVERY), *((name, i) for i, name in enumerate(classes))])
        pair = opened_pair(first, second).of_class(self.label.value)
        found = {which: pair.only(which) for which in (FIRST, SECOND)}
        if changed is not self.page:
            self.page.value = 0
        choices.limit(self.page, -(-max(len(rows) for rows in found.values()) // SHOWN))
        return Sight(in_words(pair, self.label.label), pictures.thumbnails(self._rows(pair, found, classes), SHOWN))

    def _rows(self, pair: Pair, found: dict[str, pd.DataFrame], classes: Sequence[str]) -> dict[str, list[Picture]]:
        """A page of the images that only one gets right, each with its class and what the other takes it for."""
        images, start = opening.finished(pair.first).test_set, SHOWN * self.page.value
        shown: dict[str, list[Picture]] = {}
        for right, wrong in ((FIRST, SECOND), (SECOND, FIRST)):
            rows = found[right]
            title = f"only the {right} right: {phrases.count(len(rows))}"
            shown[title] = [
                (images.load(int(row["index"])), caption(classes, row["target"], row[f"predicted_{wrong}"]))
                for row in rows.iloc[start : start + SHOWN].to_dict("records")
            ]
        return shown


def opened_pair(first: Run, second: Run) -> Pair:
    """Two runs on the same images; InputError if they are not, or are one and the same."""
    if first == second:
        raise InputError(f"'{first.title}' is chosen twice; choose two runs")
    pairs = paired_records(opening.records(first, COLUMNS), opening.records(second, COLUMNS))
    return Pair(first, second, pairs)


def in_words(pair: Pair, label: str) -> str:
    """What the paired test says of the first run against the second, on the images of the class called `label`."""
    test, number = pair.test, phrases.number
    first, second = (100 * pair.records[f"correct_{which}"].mean() for which in (FIRST, SECOND))
    verdict = phrases.verdict(test.difference, test.p)
    than = "from" if verdict.endswith("different") else "than"
    return (
        f"{label}, {phrases.count(test.n)} images: {pair.first.title} ({number(first)} %) is {verdict} {than} "
        f"{pair.second.title} ({number(second)} %). {phrases.points(test.difference, test.low, test.high)}; exact "
        f"McNemar test, {p_value(test.p)}. Only the first is right on {phrases.count(test.only_a)} images, only the "
        f"second on {phrases.count(test.only_b)}."
    )


def p_value(p: float) -> str:
    """As in a sentence: "p = 0.012", "p < 0.001"; no line ends within it."""
    text = phrases.p_cell(p)
    return (f"p {text}" if text.startswith("<") else f"p = {text}").replace(" ", phrases.HARD)


def caption(classes: Sequence[str], target: int, predicted: int) -> str:
    """What an image is, and what it was taken for."""
    return f"{shorten(classes[target])},\nnot {shorten(classes[predicted])}"
