"""What the article's notebook calls: sections, tables and figures, shown so that they read well there too."""

import base64
import inspect
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from IPython.display import display
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound

from resnest_core import plots
from resnest_core.article import phrases, published
from resnest_core.article.ablation import Ablation
from resnest_core.article.analysis import Analysis
from resnest_core.article.appendix import experiments_table
from resnest_core.article.attention import Attention
from resnest_core.article.base_results import BaseResults
from resnest_core.article.batch_size import BatchSize
from resnest_core.article.calibration import Calibration
from resnest_core.article.claims import Claims
from resnest_core.article.detection import InstanceSegmentation, ObjectDetection
from resnest_core.article.diagram import CAPTION, block
from resnest_core.article.efficiency import Efficiency
from resnest_core.article.errors import Errors
from resnest_core.article.frontier import Frontier
from resnest_core.article.illustrations import Illustration
from resnest_core.article.modes import Modes
from resnest_core.article.pandoc import preview
from resnest_core.article.preprocessing import PreprocessingSensitivity
from resnest_core.article.protocol import Procedure
from resnest_core.article.results import Store
from resnest_core.article.robustness import Robustness
from resnest_core.article.saliency import Saliency
from resnest_core.article.semantic_segmentation import SemanticSegmentation
from resnest_core.article.tables import escape
from resnest_core.errors import InputError
from resnest_core.files import output_directory

PARTS = "article"  # in the build directory: figures, and what the article is typeset from


# Each is made from a Store and has tables(), figures(), and what its sections name.
STUDIES: dict[str, type] = {
    "base_results": BaseResults,
    "batch_size": BatchSize,
    "ablation": Ablation,
    "semantic_segmentation": SemanticSegmentation,
    "object_detection": ObjectDetection,
    "instance_segmentation": InstanceSegmentation,
    "attention": Attention,
    "saliency": Saliency,
    "errors": Errors,
    "calibration": Calibration,
    "robustness": Robustness,
    "preprocessing": PreprocessingSensitivity,
    "efficiency": Efficiency,
    "frontier": Frontier,
    "modes": Modes,
}


TITLES = {
    "base_results": "base results by depth",
    "batch_size": "the influence of the batch size",
    "ablation": "an ablation of radix, cardinality and width",
    "semantic_segmentation": "transfer to semantic segmentation",
    "object_detection": "to object detection",
    "instance_segmentation": "to instance segmentation",
    "attention": "what split attention does",
    "saliency": "where networks look",
    "errors": "their errors",
    "calibration": "calibration",
    "robustness": "robustness",
    "preprocessing": "preprocessing and resolution",
    "efficiency": "the cost of the full-size networks",
    "frontier": "accuracy against cost",
    "modes": "fast modes and their price",
}


class Article:
    """The article on the results of one build directory."""

    def __init__(self, build: str | Path) -> None:
        self.store = Store(build)
        self.directory = output_directory(self.store.directory / PARTS)
        self.sections = Environment(
            loader=FileSystemLoader(published.REPORT / "sections"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,  # Markdown, not HTML
            comment_start_string="{##",  # {#label} is Markdown
        )
        self.sections.filters |= dict(inspect.getmembers(phrases, inspect.isfunction))
        self.sections.filters["escape"] = escape

    @cached_property
    def studies(self) -> dict[str, Any]:
        """The studies by name; None for those that the profile does not plan."""
        return {name: study(self.store) if self.store.study(name) else None for name, study in STUDIES.items()}

    @cached_property
    def context(self) -> dict[str, Any]:
        """What the sections can name."""
        plan, protocol = self.store.plan, Procedure(self.store)
        studies = phrases.listing([f"{TITLES[name]} (@sec:{name})" for name, study in self.studies.items() if study])
        context = {"plan": plan, "store": self.store, "protocol": protocol, "published": published}
        context["claims"] = Claims(self.store, self.studies)
        return {**context, "studies_sentence": studies, **self.studies}

    def section(self, name: str) -> None:
        """Show report/sections/NAME.md, filled in; nothing where its study was not planned."""
        try:
            text = self.sections.get_template(f"{name}.md").render(self.context)
        except TemplateNotFound as error:
            raise InputError(f"section '{name}' has no file {error.name} in report/sections") from None
        except TemplateError as error:
            raise InputError(f"section '{name}': {error.message}") from None
        self._show(re.sub(r"\n{3,}", "\n\n", text.strip()))

    def tables(self, study: str) -> None:
        """Show the tables of a study, if it was planned."""
        found = self.studies[study]
        for table in found.tables() if found else []:
            self._show((found.linked(table) if isinstance(found, Analysis) else table).markdown())

    def figures(self, study: str) -> None:
        """Show the figures of a study, if it was planned, and write them into the build directory."""
        for illustration in self.studies[study].figures() if self.studies[study] else []:
            self._illustrate(illustration)

    def claims(self) -> None:
        """Show the table of claims."""
        claims: Claims = self.context["claims"]
        self._show(claims.table().markdown())

    def block(self) -> None:
        """Show the drawing of the block."""
        self._illustrate(Illustration("block", CAPTION, "Diagram of the split-attention block", block(), wide=True))

    def recipe(self) -> None:
        """Show the table of training settings, if networks were trained."""
        protocol: Procedure = self.context["protocol"]
        if protocol.trained:
            self._show(protocol.recipe_table().markdown())

    def experiments(self) -> None:
        """Show the table of all experiments."""
        self._show(experiments_table(self.store).markdown())

    def check_complete(self) -> None:
        """Raise if the plan holds an experiment that no section has used."""
        if unused := self.store.unused():
            raise InputError(f"no section of the article uses the result of {', '.join(unused)}")

    def _illustrate(self, illustration: Illustration) -> None:
        plots.save(illustration.figure, self.directory / illustration.file)
        self._show(illustration.markdown())

    def _show(self, markdown: str) -> None:
        """Show Markdown to the article, and HTML to who reads the notebook."""
        if markdown:
            markdown = re.sub(r"(?<=\d) (?=%)", phrases.HARD, markdown)
            html = re.sub(r'src="([\w-]+\.svg)"', self._embedded, preview(markdown))
            display({"text/markdown": markdown, "text/html": html}, raw=True)

    def _embedded(self, source: re.Match[str]) -> str:
        data = base64.b64encode((self.directory / source[1]).read_bytes()).decode()
        return f'src="data:image/svg+xml;base64,{data}"'
