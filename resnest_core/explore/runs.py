"""What there is to look at: experiments that have run, and networks with published weights."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnest_core.checkpoints import MANIFEST
from resnest_core.data.listing import is_leftover
from resnest_core.errors import InputError
from resnest_core.evaluation.results import RESULT
from resnest_core.models import list_models, task_of

DEPTHS = ("*", "*/*", "*/*/*")  # below a build directory: an evaluation by hand, a notebook's, PROFILE/STUDY/EXPERIMENT
FIRST = ("default", "base_results")  # the profile and the study that come first
CLASSIFICATION = "classification"


@dataclass(frozen=True)
class Run:
    """An experiment with the network `model` whose result lies in `directory`.

    Without a directory it stands for the network with its published weights.
    """

    title: str
    model: str
    directory: Path | None = None

    @property
    def task(self) -> str:
        return task_of(self.model)

    @property
    def result(self) -> dict[str, Any]:
        """The content of its result file; InputError if it is gone or is none."""
        if self.directory is None:
            raise InputError(f"'{self.title}' are weights without a result; choose a run")
        return read_result(self.directory)


def read_result(directory: Path) -> dict[str, Any]:
    """The content of a result file with its parameters; InputError if there is none or it is another file."""
    path = directory / RESULT
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(result["parameters"], dict) and isinstance(result["metrics"], dict):
            return dict(result)
        reason = "it holds no parameters and metrics"
    except FileNotFoundError:
        raise InputError(f"'{path}' is gone; run that experiment again, and then this cell") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise InputError(f"'{path}' cannot be read ({reason}); run that experiment again")


def find_runs(build: Path) -> tuple[list[Run], list[str]]:
    """The experiments with one network whose results lie below `build`, and what is wrong with the others, a line each.

    Results of no network, or of several, as analyses have them, are passed over.
    """
    found: list[Run] = []
    problems: list[str] = []
    for directory in sorted(_directories(build), key=lambda path: _order(path, build)):
        try:
            if model := _network(directory):
                found.append(Run(directory.relative_to(build).as_posix(), model, directory))
        except InputError as error:
            problems.append(str(error))
    if not found:
        problems.append(f"no experiment has run in '{build.resolve()}'; run ./run_all.sh, or explore(build=DIRECTORY)")
    return found, problems


def published_networks() -> list[Run]:
    """The networks with published weights, whether these are here or not."""
    return [Run(f"published: {name}", name) for name in list_models() if name in MANIFEST]


def of_tasks(runs: Iterable[Run], *, classification: bool) -> list[Run]:
    """The runs of classifiers, or all others."""
    return [run for run in runs if (run.task == CLASSIFICATION) == classification]


def _network(directory: Path) -> str | None:
    """The network of a result; None if it is of none or of several."""
    model = read_result(directory)["parameters"].get("model")
    if isinstance(model, str) and model not in list_models():
        raise InputError(f"'{directory / RESULT}' is of the network '{model}'; valid: those of 'resnest-core models'")
    return model if isinstance(model, str) else None


def _directories(build: Path) -> list[Path]:
    found = (path.parent for depth in DEPTHS for path in build.glob(f"{depth}/{RESULT}"))
    return [path for path in found if not any(map(is_leftover, path.relative_to(build).parts))]


def _order(directory: Path, build: Path) -> tuple[list[bool], Path]:
    """First the first profile, and of each the first study."""
    return [name not in directory.relative_to(build).parts for name in FIRST], directory
