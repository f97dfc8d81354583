"""What the runner reads in a study notebook before it runs: its parameters and its code."""

import ast
import json
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from resnest_core.errors import InputError, unknown
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
        """Raise InputError, naming the experiment `where`, if `given` has a wrong name or type; papermill would not."""
        for name, value in given.items():
            if name not in self.annotations:
                raise InputError(f"{where}: {unknown(f'parameter of {self.path.name}', name, self.annotations)}")
            try:
                _adapter(self.annotations[name]).validate_json(json.dumps(value), strict=True)
            except (ValidationError, TypeError):
                expected = self.annotations[name]
                raise InputError(
                    f"{where}: parameter {name} of {self.path.name} is {value!r}; valid: {expected}"
                ) from None


def read_notebook(path: Path) -> Notebook:
    """Read a study notebook.

    Raises: InputError if it is no notebook, has not one cell tagged "parameters", or has a parameter there that is
    not written `name: type = literal`, or none named `out`.
    """
    cells = code_cells(path)
    tagged = [source for source, tags in cells if "parameters" in tags]
    if len(tagged) != 1:
        raise InputError(f"notebook '{path}' has {len(tagged)} cells tagged 'parameters'; it must have one")
    annotations, defaults = {}, {}
    for statement in parse(tagged[0], f"the cell 'parameters' of notebook '{path}'").body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
                annotations[name] = ast.unparse(annotation)
                defaults[name] = _literal(value, name, path)
                Notebook(path, annotations, {}, ()).check({name: defaults[name]}, "default")
            case _:
                raise InputError(
                    f"notebook '{path}': '{ast.unparse(statement)}' is no parameter; write name: type = value"
                )
    if annotations.get("out") != "str":
        raise InputError(f"notebook '{path}' has no parameter 'out: str', the directory that its results go to")
    sources = tuple(source for source, tags in cells if "parameters" not in tags)
    parse("\n".join(sources), f"the code of notebook '{path}'")
    return Notebook(path, annotations, defaults, sources)


def code_cells(path: Path) -> list[tuple[str, list[str]]]:
    """Source and tags of each code cell of a notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [
            ("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells if cell["cell_type"] == "code"
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"'{path}' is no Jupyter notebook ({type(error).__name__}: {error})") from None


def _literal(value: ast.expr, name: str, path: Path) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise InputError(
            f"notebook '{path}': default of '{name}' is '{ast.unparse(value)}'; it must be a literal"
        ) from None


@cache
def _adapter(annotation: str) -> TypeAdapter[Any]:
    """The validator of an annotation, which may use the built-in types and those of `typing`."""
    try:
        return TypeAdapter(eval(annotation, {**vars(typing)}))  # the notebook that it stands in will be run as well
    except Exception as error:
        raise InputError(
            f"'{annotation}' is no type for a parameter ({error}); use built-in types and typing's"
        ) from None
