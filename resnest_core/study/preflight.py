"""Before any work: everything that the planned experiments need and that is not there.

The parameters of these names mean the same in every notebook: `model` with `weights` ("published" or a file), and
`dataset` with `data` (its directory, "" for the embedded one).
"""

import io
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass

from resnest_core import checkpoints, data
from resnest_core.errors import InputError
from resnest_core.study.layout import Layout
from resnest_core.study.plan import Plan, Step

SPACE = 50e6  # bytes that an experiment may take: weights, records and the state of its training


@dataclass(frozen=True)
class Missing:
    """A thing that is not there: what and how to get it, in a line, and the experiments that need it."""

    what: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        others = f" and {len(self.keys) - 1} more" if len(self.keys) > 1 else ""
        return f"{self.what} [{self.keys[0]}{others}]"


def missing(plan: Plan) -> list[Missing]:
    """What the steps that will run lack, each thing once."""
    needed: dict[tuple[str, str, str], list[str]] = {}
    for key, step in plan.to_run.items():
        for need in _needs(step):
            needed.setdefault(need, []).append(key)
    problems = ((_problem(plan.layout, *need), keys) for need, keys in needed.items())
    return [Missing(problem, tuple(keys)) for problem, keys in problems if problem]


def reasons(found: list[Missing]) -> dict[str, str]:
    """What each experiment lacks, by key."""
    keys = {key for item in found for key in item.keys}
    return {key: "; ".join(item.what for item in found if key in item.keys) for key in keys}


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
    if parameters.get("weights") and not step.experiment.weights_from:
        yield "weights", str(parameters.get("model", "")), str(parameters["weights"])
    if parameters.get("dataset"):
        yield "data", str(parameters["dataset"]), str(parameters.get("data") or "")


def _problem(layout: Layout, kind: str, name: str, where: str) -> str | None:
    """What is wrong with a thing that is needed, with the way to get it; None if it is there and right."""
    try:
        if kind == "weights":
            checkpoints.resolve(where if where == "published" else layout.root / where, name)
        else:
            with redirect_stdout(io.StringIO()):
                data.open_dataset(name, where or None)
    except InputError as error:
        flag = "; then give its directory with --data DIR" if kind == "data" and not where else ""
        return f"{error}{flag}"
    return None
