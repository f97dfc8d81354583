"""Executed notebooks as HTML, to be read without Jupyter and without a network."""

import hashlib
import re
import sys
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_core.errors import InputError

if TYPE_CHECKING:
    from nbconvert import HTMLExporter

# Outputs that need a kernel or scripts: the bars of tqdm, of which the notebook keeps the beginning.
LIVE = {"application/vnd.jupyter.widget-view+json", "application/javascript"}


class Notebooks:
    """Turns notebooks into parts of pages; nbconvert, which takes a second to import, is made ready for the first."""

    def digest(self, notebook: Path, frame: str) -> str:
        """SHA-256 of a notebook and of what decides how it is shown, in the `frame` of a page around it."""
        parts = (notebook.read_bytes(), frame.encode(), Path(__file__).read_bytes(), version("nbconvert").encode())
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def html(self, notebook: Path) -> str:
        """The cells of an executed notebook; it loads nothing, and its look is that of the page around it."""
        sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # 3 s to import, as in execute.py
        import nbformat

        try:
            content = nbformat.read(notebook, as_version=4)
        except (ValueError, KeyError, AttributeError, TypeError) as error:  # by what is wrong with it
            raise InputError(f"'{notebook}' is no notebook: {' '.join(str(error).split())[:200]}") from None
        _prepare(content)
        return str(self._exporter.from_notebook_node(content)[0])

    @cached_property
    def _exporter(self) -> "HTMLExporter":
        from nbconvert import HTMLExporter

        # Of nbconvert's templates only this one leaves the page to others, and with it the scripts that pages load.
        left_out = {"exclude_anchor_links": True, "exclude_input_prompt": True, "exclude_output_prompt": True}
        exporter = HTMLExporter(template_name="basic", **left_out)
        exporter.register_filter("clean_html", _unchanged)
        return exporter


def _unchanged(html: str) -> str:
    """For code, which Pygments has escaped: to look for tags in it again takes a quarter of the time."""
    return html


def _prepare(notebook: Any) -> None:
    """Leave out what is not static, and describe each figure by the heading above it."""
    notebook.metadata.pop("widgets", None)
    heading = "the notebook"
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE)):
            heading = found[-1].strip()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not LIVE & output.get("data", {}).keys()]
            cell.metadata["alt"] = f"Figure: {heading}"
