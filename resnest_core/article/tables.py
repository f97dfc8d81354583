"""Tables whose every cell says where it is from: measured here, quoted, or not run and why."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resnest_core.article.published import SOURCES, Quote
from resnest_core.errors import InputError

ABSENT_NOTE = "–: there is no such figure."


@dataclass(frozen=True)
class Cell:
    """Text, and if it is not measured here the note that says what it is.

    `experiment` is the key STUDY/NAME of the one that measured it: the cell links to its page.
    """

    text: str
    source: str | None = None  # of a quotation: a key of SOURCES
    reason: str | None = None  # of an experiment that has not run
    absent: bool = False
    experiment: str | None = None


@dataclass(frozen=True)
class Table:
    """A table with its label, caption and alignment ("l", "c" or "r" a column). `wide` spans both columns of a page."""

    label: str
    caption: str
    header: Sequence[str]
    align: str
    rows: Sequence[Sequence[Cell]]
    wide: bool = False
    floats: bool = True  # may move to the head or foot of a page

    def markdown(self) -> str:
        """The table as pandoc's Markdown, in a division that the cross-reference filter numbers."""
        self._check()
        sources = _marks((cell.source for row in self.rows for cell in row), "abcdefgh")
        reasons = _marks((cell.reason for row in self.rows for cell in row), "123456789")
        rules = {"l": ":--", "c": ":-:", "r": "--:"}
        lines = [_line(self.header), _line([rules[align] for align in self.align])]
        lines += [_line([_mark(cell, sources, reasons) for cell in row]) for row in self.rows]
        classes = (" .wide" if self.wide else "") + ("" if self.floats else " .here")
        parts = [f"::: {{#tbl:{self.label}{classes}}}", "\n".join(lines), f": {self.caption}"]
        return "\n\n".join([*parts, *self._notes(sources, reasons), ":::"])

    def _check(self) -> None:
        widths = {len(self.header), len(self.align), *(len(row) for row in self.rows)}
        if len(widths) > 1:
            raise InputError(f"table '{self.label}' has rows of {sorted(widths)} cells; all must be equally long")

    def _notes(self, sources: dict[str, str], reasons: dict[str, str]) -> list[str]:
        """What stands under the table: the kinds of cells that occur in it."""
        notes = []
        if sources:
            quoted = "; ".join(f"^{mark}^ {SOURCES[source]}" for source, mark in sources.items())
            notes.append(f"Upright: measured in this build. *Italic:* quoted from {quoted}.")
        if reasons:
            listed = "; ".join(f"^{mark}^ {escape(reason)}" for reason, mark in reasons.items())
            notes.append(f"Not run (n. r.), because: {listed}.")
        if any(cell.absent for row in self.rows for cell in row):
            notes.append(ABSENT_NOTE)
        return ["\n".join(notes)] if notes else []


def measured(text: str, experiment: str | None = None) -> Cell:
    return Cell(text, experiment=experiment)


def quoted(figure: Quote | None) -> Cell:
    """The cell of a published figure; a dash where nobody printed one."""
    return Cell(figure.text, source=figure.source) if figure else ABSENT


def not_run(reason: str) -> Cell:
    return Cell("n. r.", reason=reason.rstrip("."))


ABSENT = Cell("–", absent=True)


def _mark(cell: Cell, sources: dict[str, str], reasons: dict[str, str]) -> str:
    if cell.source is not None:
        return f"*{cell.text}*^{sources[cell.source]}^"
    if cell.reason is not None:
        return f"{cell.text}^{reasons[cell.reason]}^"
    return f"[{cell.text}]({cell.experiment}/index.html)" if cell.experiment and cell.text else cell.text


def _marks(kinds: Iterable[str | None], symbols: str) -> dict[str, str]:
    """A mark for each different kind, in order of appearance."""
    present = list(dict.fromkeys(kind for kind in kinds if kind is not None))
    return {kind: symbols[i] if i < len(symbols) else f"{symbols[0]}{i}" for i, kind in enumerate(present)}


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """Text from outside (reasons, names, commands), so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|^~$@])", r"\\\1", text)
