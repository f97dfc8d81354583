"""pandoc and Typst: from Markdown to HTML and PDF."""

import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pypandoc
import typst

from resnest_core.article.published import REPORT
from resnest_core.errors import InputError

MARKDOWN = "markdown-tex_math_single_backslash"
FILTER = ("--lua-filter", str(REPORT / "crossref.lua"))
AFTER = ("--lua-filter", str(REPORT / "references.lua"))  # sees the list of references, which citeproc makes


def preview(markdown: str) -> str:
    """A part of the article as HTML; references to other parts show their labels."""
    return _run([*FILTER, "--metadata=preview", "--to=html5", "--mathml", "--wrap=none"], markdown, REPORT)


def html(markdown: str, directory: Path, date: str) -> str:
    """The article as one file that needs no other; figures are read from `directory`."""
    options = ["--to=html5", "--mathml", "--embed-resources", "--toc", "--toc-depth=2"]
    options += [f"--template={REPORT / 'article.html5'}", f"--css={REPORT / 'article.css'}"]
    return _run([*options, *_whole(date), f"--resource-path={directory}:{REPORT}"], markdown, REPORT)


def typst_source(markdown: str, date: str) -> str:
    """The article in Typst's language."""
    return _run(["--to=typst", f"--template={REPORT / 'article.typ'}", *_whole(date)], markdown, REPORT)


def pdf(source: Path, target: Path, date: datetime) -> None:
    """Typeset a Typst file; equal sources give equal bytes."""
    try:
        typst.compile(
            str(source), output=str(target), ignore_system_fonts=True, timestamp=int(date.timestamp()), format="pdf"
        )
    except typst.TypstError as error:
        raise InputError(f"the article cannot be typeset: {' '.join(str(error).split())}") from None


def _whole(date: str) -> list[str]:
    """Options of the whole article, standing on its own."""
    metadata = f"--metadata-file={REPORT / 'article.yaml'}"
    return ["--standalone", metadata, f"--metadata=date:{date}", *FILTER, "--citeproc", *AFTER]


def _run(options: Sequence[str], markdown: str, directory: Path) -> str:
    """Run pandoc; a warning is an error, since it means that something of the article is lost."""
    command = [pypandoc.get_pandoc_path(), f"--from={MARKDOWN}", "--columns=10000", *options]
    done = subprocess.run(command, input=markdown, capture_output=True, text=True, cwd=directory, check=False)
    if done.returncode or done.stderr:
        raise InputError(f"the article cannot be converted: {' '.join(done.stderr.split())}")
    return done.stdout
