"""What the tabs have in common: choices, one line of words, and a picture; whatever goes wrong is said in the line."""

import html
import io
from abc import ABC, abstractmethod
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resnest_core.errors import InputError
from resnest_core.plots import STYLE

WRONG = "color: #b00020"
WITHIN = "calc(100% - 4px)"  # of its place, with its margins


@dataclass(frozen=True)
class Sight:
    """What a panel shows."""

    words: str
    figure: Figure


class Panel(ABC):
    """A tab with `choices`. Whenever one of them changes, it shows what `sight` returns for them."""

    def __init__(self, *choices: widgets.Widget) -> None:
        self.line = widgets.HTML(layout=widgets.Layout(width="auto"))
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width=WITHIN, align_self="flex-start"))
        self.box = widgets.VBox([*choices, self.line, self.picture])
        self.opened = False
        self._refreshing = False
        for choice in choices:
            choice.observe(self._changed, "value")

    def open(self) -> None:
        """Show something, if nothing has been shown yet."""
        if not self.opened:
            self.refresh()

    def refresh(self, changed: widgets.Widget | None = None) -> None:
        """Show what is chosen now, or say what is missing or wrong; `changed` is the choice that has changed."""
        self.opened = self._refreshing = True
        try:
            with redirect_stdout(io.StringIO()):  # data sets print where they come from
                sight = self.sight(changed)
            self._show(line(sight.words), png(sight.figure))
        except Exception as error:  # whatever it is: the reader is told, and the panel goes on
            self._show(error_line(reason(error)), b"")
        finally:
            self._refreshing = False

    @abstractmethod
    def sight(self, changed: widgets.Widget | None) -> Sight:
        """What to show. Choices that it fits to one another do not count as changed."""

    def _changed(self, change: Any) -> None:
        if not self._refreshing:
            self.refresh(change["owner"])

    def _show(self, words: str, picture: bytes) -> None:
        self.line.value = words
        self.picture.layout.display = None if picture else "none"  # a browser would draw a torn page
        self.picture.value = picture


def line(words: str, style: str = "") -> str:
    """Words as HTML."""
    return f'<div style="line-height: 1.4; {style}">{html.escape(words)}</div>'


def error_line(words: str) -> str:
    """What is wrong or missing, as HTML."""
    return line(words, WRONG)


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"this cannot be shown ({type(error).__name__}: {text})"


def png(figure: Figure) -> bytes:
    """The figure, which is laid out, in the style of all figures, as a PNG."""
    buffer = io.BytesIO()
    figure.set_layout_engine("none")
    with matplotlib.rc_context(STYLE):  # draws once, where `savefig` lays out and draws again
        FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()
