"""Figures with what the article says about them."""

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Illustration:
    """A figure with its label, caption (Markdown) and a description for who cannot see it.

    `wide` spans both columns of a page.
    """

    label: str
    caption: str
    alt: str
    figure: Figure
    wide: bool = False

    @property
    def file(self) -> str:
        return f"{self.label}.svg"

    def markdown(self) -> str:
        classes = " .wide" if self.wide else ""
        return f'![{self.caption}]({self.file}){{#fig:{self.label}{classes} alt="{self.alt}"}}'
