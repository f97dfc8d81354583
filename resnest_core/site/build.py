"""From a build directory to its site: index.html, and STUDY/NAME/index.html and notebook.html for each experiment."""

import base64
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from resnest_core.article.protocol import Procedure
from resnest_core.article.published import REPORT
from resnest_core.article.results import Store
from resnest_core.errors import InputError
from resnest_core.files import output_directory, replacing
from resnest_core.site.notebooks import Notebooks
from resnest_core.site.pages import EXECUTED, NOTEBOOK, PAGE, File, Page, page, size

TEMPLATES = REPORT / "site"
PARTS = "site"  # in the build directory: the stylesheet and the script that all pages share
ARTICLES = ("article.html", "article.pdf")
MARK = Markup('<meta name="generator" content="resnest_core.site">')  # in the head of every page
HEAD = 600  # characters that hold it


def build(directory: str | Path) -> Path:
    """Write the site of a build `directory` beside its article, and remove the pages of experiments that are no more.

    Pages that are up to date are left as they are; each is whole or not there. Returns the index.
    Raises: InputError, before anything is written, for a result, an executed notebook or an article that is missing;
    and for a notebook that cannot be read.
    """
    directory = Path(directory).resolve()
    store, templates = Store(directory), _templates()
    pages = [page(store, experiment) for experiment in store.plan.experiments]
    index = templates.get_template("index.html").render(home="", **_facts(store, pages))
    _write_assets(directory)
    for one in pages:
        _write(directory / one.key / PAGE, templates.get_template("experiment.html").render(page=one, home="../../"))
    _write_notebooks(directory, [one for one in pages if one.files], templates)
    _write(directory / PAGE, index)
    _remove_stale(directory, pages)
    return directory / PAGE


def _facts(store: Store, pages: Sequence[Page]) -> dict[str, Any]:
    """What the index tells."""
    studies = dict.fromkeys(one.study for one in pages)
    return {
        "title": yaml.safe_load((REPORT / "article.yaml").read_text(encoding="utf-8"))["title"],
        "plan": store.plan,
        "procedure": Procedure(store),
        "articles": [_article(store.directory / name) for name in ARTICLES],
        "studies": {study: [one for one in pages if one.study == study] for study in studies},
    }


def _article(path: Path) -> File:
    if not path.is_file():
        raise InputError(f"'{path}' is missing; make it first: python -m resnest_core.article {path.parent}")
    return File(path.name, size(path.stat().st_size))


def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {"mark": MARK, "parts": PARTS, "notebook": NOTEBOOK, "executed": EXECUTED}
    templates.filters |= {"quote": quote, "words": lambda name: name.replace("_", " ")}
    return templates


def _write_assets(directory: Path) -> None:
    """The stylesheet, with its fonts in it since not every browser reads those from files; and the script."""
    parts = output_directory(directory / PARTS)
    _write(parts / "site.css", re.sub(r"url\(([\w./-]+)\)", _embedded, _source("site.css")))
    _write(parts / "search.js", _source("search.js"))


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _embedded(address: re.Match[str]) -> str:
    content = base64.b64encode((TEMPLATES / address[1]).read_bytes()).decode()
    return f"url(data:font/woff2;base64,{content})"


def _write_notebooks(directory: Path, pages: Iterable[Page], templates: Environment) -> None:
    """The executed notebooks of `pages`, but those whose page was made of the same notebook in the same way."""
    notebooks = Notebooks()
    for one in pages:
        path = directory / one.key / NOTEBOOK
        source = path.with_name(EXECUTED)
        show = partial(templates.get_template("notebook.html").render, page=one, home="../../")
        digest = notebooks.digest(source, show(cells="", digest=""))
        if digest not in _head(path):
            _write(path, show(cells=Markup(notebooks.html(source)), digest=digest))


def _write(path: Path, text: str) -> None:
    """Write a file if its content is not that already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        output_directory(path.parent)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _head(path: Path) -> str:
    """The beginning of a page; empty if there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(HEAD)
    except FileNotFoundError:
        return ""


def _remove_stale(directory: Path, pages: Iterable[Page]) -> None:
    """Remove pages that this program made and that are not of `pages`, with the folders that this leaves empty."""
    current = {directory / one.key / name for one in pages for name in (PAGE, *([NOTEBOOK] if one.files else []))}
    for path in {found for name in (PAGE, NOTEBOOK) for found in directory.glob(f"*/*/{name}")} - current:
        if MARK in _head(path):
            path.unlink()
            for folder in path.parents[:2]:
                if not any(folder.iterdir()):
                    folder.rmdir()
