"""Articles on invented results: one built as users build it, others rendered in this process, which is faster."""

from collections.abc import Callable
from pathlib import Path

import fabricated
import nbformat
import pytest
from finished import Built, run
from pypdf import PdfReader

from resnest_core.article import document
from resnest_core.article.published import REPORT


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The article on the default profile's studies."""
    directory = fabricated.default(tmp_path_factory.mktemp("default")).write_plan()
    done = run(directory)
    assert done.returncode == 0, done.stderr
    pages = [page.extract_text() for page in PdfReader(directory / "article.pdf").pages]
    return Built(directory, " ".join(" ".join(pages).split()), (directory / "article.html").read_text())


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Run the notebook's cells here: a build directory to the article's Markdown."""

    def cells(directory: Path) -> str:
        shown: list[str] = []
        monkeypatch.setattr(document, "display", lambda bundle, raw: shown.append(bundle["text/markdown"]))
        monkeypatch.setattr(document, "preview", lambda markdown: "")
        names = {}
        for cell in nbformat.read(REPORT / "article.ipynb", as_version=4).cells:
            if cell.cell_type == "code":
                exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", []):
                names["build"] = str(directory)
        return "\n\n".join(shown)

    return cells


@pytest.fixture
def render_section(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], str]:
    """One section of an article as Markdown, on one line: a build directory and the section's name to its text."""

    def section(directory: Path, name: str) -> str:
        shown: list[str] = []
        monkeypatch.setattr(document, "display", lambda bundle, raw: shown.append(bundle["text/markdown"]))
        monkeypatch.setattr(document, "preview", lambda markdown: "")
        document.Article(directory).section(name)
        return " ".join(" ".join(shown).split())

    return section
