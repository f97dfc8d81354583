"""From a build directory to its article: notebook, Markdown, HTML and PDF."""

from pathlib import Path

from traitlets.config import Config

from resnest_core.article import pandoc
from resnest_core.article.document import PARTS
from resnest_core.article.protocol import Procedure
from resnest_core.article.published import REPORT
from resnest_core.article.results import Store
from resnest_core.errors import InputError
from resnest_core.files import output_directory, replacing
from resnest_core.study.execute import execute_notebook

NOTEBOOK = REPORT / "article.ipynb"
HIDDEN = "notebook"  # tag of cells that only who opens the notebook shall see


def build(directory: str | Path) -> tuple[Path, Path]:
    """Write article.html and article.pdf into the build `directory`; both or neither.

    What they are made from stays in its subdirectory `article`: the executed notebook, Markdown, Typst, figures.
    Raises InputError, in one line, for results that are missing or left out and for anything unresolved in the text.
    """
    directory = Path(directory).resolve()
    date = Procedure(Store(directory)).date
    parts = output_directory(directory / PARTS)
    markdown = _markdown(_execute(directory, parts / "article.ipynb"))
    _write(parts / "article.md", markdown)
    day = f"{date.day} {date:%B %Y}"
    _write(parts / "article.typ", pandoc.typst_source(markdown, day))
    page = pandoc.html(markdown, parts, day)
    html, pdf = directory / "article.html", directory / "article.pdf"
    with replacing(pdf) as temporary_pdf, replacing(html) as temporary_html:
        pandoc.pdf(parts / "article.typ", temporary_pdf, date)
        temporary_html.write_text(page, encoding="utf-8")
    return html, pdf


def _execute(directory: Path, executed: Path) -> Path:
    """Run the notebook on the results in `directory`."""
    from papermill.exceptions import PapermillExecutionError

    options = [
        "--IPKernelApp.log_level=CRITICAL",  # it is interrupted when a cell fails, and says so
        "--InteractiveShell.xmode=Plain",  # others read the templates in a traceback as Python, and lose the error
    ]
    try:
        execute_notebook(NOTEBOOK, executed, {"build": str(directory)}, REPORT, threads=1, extra_arguments=options)
    except PapermillExecutionError as error:
        if error.ename == "InputError":
            raise InputError(error.evalue) from None
        where = f"cell {error.exec_count} of {executed}"
        raise InputError(f"the article's notebook failed: {error.ename}: {error.evalue} ({where})") from None
    return executed


def _markdown(executed: Path) -> str:
    """What the cells of the notebook show."""
    import nbformat
    from nbconvert import MarkdownExporter

    settings = Config()
    settings.NbConvertBase.display_data_priority = ["text/markdown"]
    settings.TagRemovePreprocessor.enabled = True
    settings.TagRemovePreprocessor.remove_cell_tags = {HIDDEN}
    exporter = MarkdownExporter(config=settings, exclude_input=True)
    return str(exporter.from_notebook_node(nbformat.read(executed, as_version=4))[0])


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
