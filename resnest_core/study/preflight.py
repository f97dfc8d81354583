"""Before any work: everything that the planned experiments need and that is not there.

The parameters of these names mean the same in every notebook: `model` with `weights` ("published" or a file) or
`backbone` (a file), and `dataset` with `data` (its directory, "" for the embedded one).
"""

import io
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass

from resnest_core import checkpoints, data
from resnest_core.errors import InputError
from resnest_core.places import is_path
from resnest_core.study.layout import Layout
from resnest_core.study.plan import Plan, Step
from resnest_core.study.profiles import INHERITED

SPACE = 50e6  # bytes that an experiment may take: weights, records and the state of its training


@dataclass(frozen=True)
class Missing:
    """A thing that is not there or not right: its name, a line on how to get it, and the experiments that need it."""

    what: str
    remedy: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        others = f" and {len(self.keys) - 1} more" if len(self.keys) > 1 else ""
        return f"{self.remedy} [for {self.keys[0]}{others}]"


def missing(plan: Plan) -> list[Missing]:
    """What the steps that will run lack, each thing once."""
    needed: dict[tuple[str, str, str], list[str]] = {}
    for key, step in plan.to_run.items():
        for need in _needs(step):
            needed.setdefault(need, []).append(key)
    problems = {need: _problem(plan.layout, *need) for need in sorted(needed)}  # data first, then weights
    return [Missing(f"{n[0]} {n[1]}", remedy, tuple(needed[n])) for n, remedy in problems.items() if remedy]


def reasons(found: list[Missing]) -> dict[str, str]:
    """What each experiment lacks, by key: the reason that the article gives."""
    keys = {key for item in found for key in item.keys}
    return {key: " and ".join(item.what for item in found if key in item.keys) for key in keys}


def listed(found: list[Missing]) -> str:
    """The list for the terminal."""
    return "\n".join(["Missing:", *(f"- {item}" for item in found)])


def check_space(plan: Plan) -> None:
    """Raise InputError if the disk has no room for what will run."""
    free, needed = shutil.disk_usage(plan.layout.build).free, SPACE * len(plan.to_run)
    if free < needed:
        have = f"{plan.layout.build} has {free / 1e6:.0f} MB free"
        raise InputError(f"{have}, and {len(plan.to_run)} experiments may take {needed / 1e6:.0f} MB; make room")


def _needs(step: Step) -> Iterator[tuple[str, str, str]]:
    """What an experiment needs from outside: kind, name, and where it is looked for."""
    parameters = step.parameters
    for name in INHERITED.values():
        if parameters.get(name) and name not in step.experiment.inherited:
            yield f"{name} of", str(parameters.get("model", "")), str(parameters[name])
    if parameters.get("dataset"):
        yield "data set", str(parameters["dataset"]), str(parameters.get("data") or "")


def _problem(layout: Layout, kind: str, name: str, where: str) -> str | None:
    """What is wrong with a thing that is needed, with the way to get it; None if it is there and right."""
    try:
        if kind != "data set":
            checkpoints.resolve(str(layout.root / where) if is_path(where) else where, name)
        else:
            with redirect_stdout(io.StringIO()):
                data.open_any(name, str(layout.root / where) if is_path(where) else where or None)
    except InputError as error:
        return str(error)
    return None
