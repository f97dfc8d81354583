"""What the runner reads in a study notebook before it runs: its parameters and its code."""

import json
from dataclasses import dataclass
from pathlib import Path

from resnest_core import parameters
from resnest_core.errors import InputError
from resnest_core.study.fingerprint import parse
from resnest_core.study.profiles import Parameters


@dataclass(frozen=True)
class Notebook:
    """A notebook: annotation and default of each of its parameters, and the sources of its other code cells."""

    path: Path
    annotations: dict[str, str]
    defaults: Parameters
    sources: tuple[str, ...]

    def check(self, given: Parameters, where: str) -> None:
        """Raise InputError, naming the experiment `where`, if `given` has a wrong name, type or range."""
        try:
            parameters.check(given, self.annotations, self.path.stem)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None


def read_notebook(path: Path) -> Notebook:
    """Read a study notebook.

    Raises: InputError if it is no notebook, has not one cell tagged "parameters", or has a parameter there that is
    not written `name: type = literal`, or none named `out`.
    """
    cells = code_cells(path)
    tagged = [source for source, tags in cells if "parameters" in tags]
    if len(tagged) != 1:
        raise InputError(f"notebook '{path}' has {len(tagged)} cells tagged 'parameters'; it must have one")
    cell = parse(tagged[0], f"the cell 'parameters' of notebook '{path}'")
    found = parameters.declared(cell, f"notebook '{path}'")
    annotations = {name: annotation for name, (annotation, _) in found.items()}
    defaults = {name: default for name, (_, default) in found.items()}
    if annotations.get("out") != "str":
        raise InputError(f"notebook '{path}' has no parameter 'out: str', the directory that its results go to")
    sources = tuple(source for source, tags in cells if "parameters" not in tags)
    parse("\n".join(sources), f"the code of notebook '{path}'")
    notebook = Notebook(path, annotations, defaults, sources)
    notebook.check(defaults, "default")
    return notebook


def code_cells(path: Path) -> list[tuple[str, list[str]]]:
    """Source and tags of each code cell of a notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [
            ("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells if cell["cell_type"] == "code"
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"'{path}' is no Jupyter notebook ({type(error).__name__}: {error})") from None
