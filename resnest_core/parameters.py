"""The parameters of a notebook: what they may be, checked before a run by the study and at its beginning by itself."""

import ast
import hashlib
import json
import typing
from collections.abc import Mapping, MutableMapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from resnest_core.errors import InputError, unknown
from resnest_core.places import PLACES, below_root, here_or_from_root
from resnest_core.ranges import find

INJECTED = "# Parameters\n"  # how papermill's own cell begins
OWN = "build/notebooks"
_given_here: set[str] = set()  # the directories that `begin` has chosen


def begin(study: str, names: MutableMapping[str, Any]) -> None:
    """Check the parameters of the notebook of a `study`, whose globals are `names`, and say where its results go.

    `out`, if it is empty, becomes a directory below build/notebooks that follows from the other parameters, so that
    changed ones never replace results. Places are seen from the notebook's directory, or else from the root.
    Raises: InputError for a parameter of an unknown name, a wrong type or a number that is not in its range.
    """
    annotations, given = _of_cells(names["In"])
    check({name: names[name] for name in [*annotations, *given]}, annotations, study)
    for name in PLACES:
        if name in annotations:
            names[name] = _seen(names[name])
    if not names["out"] or names["out"] in _given_here:
        names["out"] = _own_directory(study, {name: names[name] for name in annotations if name != "out"})
        _given_here.add(names["out"])


def check(given: Mapping[str, Any], annotations: Mapping[str, str], study: str) -> None:
    """InputError if a parameter that is `given` to the notebook of a `study` has a wrong name, type or range."""
    for name, value in given.items():
        if name not in annotations:
            raise unknown(f"parameter of {study}.ipynb", name, annotations)
        valid = find(name, study)
        numbers = [one for one in (value if isinstance(value, list) else [value]) if _is_number(one)]
        if not _fits(value, annotations[name]) or (valid and any(number not in valid for number in numbers)):
            expected = annotations[name] + (f", {valid}" if valid else "")
            raise InputError(f"parameter {name} of {study}.ipynb is {value!r}; valid: {expected}")


def declared(cell: ast.Module, where: str) -> dict[str, tuple[str, Any]]:
    """Annotation and default of each parameter of a `cell`; InputError unless they are `name: type = literal`."""
    found = {}
    for statement in cell.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
                found[name] = ast.unparse(annotation), _literal(value, name, where)
            case _:
                raise InputError(f"{where}: '{ast.unparse(statement)}' is no parameter; write name: type = value")
    return found


def _of_cells(cells: list[str]) -> tuple[dict[str, str], list[str]]:
    """The annotations of the parameters among the cells that have run, and the names that papermill has set."""
    parsed = [_parsed(cell) for cell in cells]
    last = max(number for number, cell in enumerate(parsed) if _declares(cell))
    annotations = {name: annotation for name, (annotation, _) in declared(parsed[last], "the parameters").items()}
    injected = [cell for text, cell in zip(cells, parsed, strict=True) if text.startswith(INJECTED)][-1:]
    targets = [node.targets[0] for cell in injected for node in cell.body if isinstance(node, ast.Assign)]
    return annotations, [target.id for target in targets if isinstance(target, ast.Name)]


def _parsed(cell: str) -> ast.Module:
    """A cell that has run; one that is not plain Python declares nothing."""
    try:
        return ast.parse(cell)
    except SyntaxError:
        return ast.Module([], [])


def _declares(cell: ast.Module) -> bool:
    """Whether a cell is that of the parameters."""
    targets = [node.target for node in cell.body if isinstance(node, ast.AnnAssign)]
    return len(targets) == len(cell.body) and any(isinstance(t, ast.Name) and t.id == "out" for t in targets)


def _seen(value: Any) -> Any:
    return [here_or_from_root(one) for one in value] if isinstance(value, list) else here_or_from_root(value)


def _own_directory(study: str, values: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
    name = f"{values['model']}-{digest}" if "model" in values else digest
    return below_root(f"{OWN}/{study}/{name}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits(value: object, annotation: str) -> bool:
    adapter = _adapter(annotation)
    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        return False
    return True


def _literal(value: ast.expr, name: str, where: str) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise InputError(f"{where}: default of '{name}' is '{ast.unparse(value)}'; it must be a literal") from None


@cache
def _adapter(annotation: str) -> TypeAdapter[Any]:
    """The validator of an annotation, which may use the built-in types and those of `typing`."""
    try:
        return TypeAdapter(eval(annotation, {**vars(typing)}))  # the notebook that it stands in will be run as well
    except Exception as error:
        raise InputError(
            f"'{annotation}' is no type for a parameter ({error}); use built-in types and typing's"
        ) from None
