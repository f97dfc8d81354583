"""Profiles: which experiments a run has, and with which parameters (`profiles/*.yaml`)."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from resnest_core.errors import InputError
from resnest_core.study.resources import Resources, Threads, ranged
from resnest_core.texts import read_text

Parameters = dict[str, Any]
NAME = r"^[A-Za-z0-9][\w.-]*$"
# Keys of an entry that name another experiment, and the parameter in which its weights file is handed over.
INHERITED = {"weights_from": "weights", "backbone_from": "backbone"}
RUNS = "runs"  # the parameter in which the directories of the experiments in `runs_from` are handed over


class Entry(BaseModel):
    """One line of a study's list: an experiment for every point of `grid`; the texts may use {the grid's keys}."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    parameters: Parameters = {}
    same_as: str | None = None
    weights_from: str | None = None
    backbone_from: str | None = None
    runs_from: list[str] = []


class Study(BaseModel):
    """The experiments that share notebooks/STUDY.ipynb.

    With `threads: all` each has its machine to itself; `resources` are those of the profile, but for what stands here;
    `timeout` is in seconds and holds for each cell.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    parameters: Parameters = {}
    threads: Threads = None
    resources: Resources = Resources()
    timeout: Annotated[int, ranged("timeout")] | None = None
    experiments: Annotated[list[Entry], Field(min_length=1)]


class Profile(BaseModel):
    """The content of a profile file; its `parameters` go to those notebooks that have them."""

    model_config = ConfigDict(extra="forbid", strict=True)
    description: str
    parameters: Parameters = {}
    resources: Resources = Resources()
    studies: Annotated[dict[Annotated[str, Field(pattern=NAME)], Study], Field(min_length=1)]


@dataclass(frozen=True)
class Experiment:
    """One run of a notebook, or an alias: `same_as` is then the key "STUDY/EXPERIMENT" whose result it shares."""

    study: str
    name: str
    parameters: Parameters
    same_as: str | None = None
    weights_from: str | None = None
    backbone_from: str | None = None
    runs_from: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.study}/{self.name}"

    @property
    def inherited(self) -> dict[str, str]:
        """The parameters that get the weights of other experiments, with the keys of those."""
        sources = {parameter: getattr(self, reference) for reference, parameter in INHERITED.items()}
        return {parameter: key for parameter, key in sources.items() if key}

    @property
    def needs(self) -> list[str]:
        return list(dict.fromkeys([*self.inherited.values(), *self.runs_from]))


def load_profile(path: Path) -> Profile:
    """Read a profile.

    Raises: InputError, a line, naming the file, the key, what is wrong and what is valid.
    """
    try:
        return Profile.model_validate(yaml.safe_load(read_text(path)))
    except ValidationError as error:
        raise InputError(f"profile {path.name}: {_describe(error.errors()[0])}") from None
    except yaml.YAMLError as error:
        raise InputError(f"profile {path.name} is not YAML: {' '.join(str(error).split())}") from None


def experiments(profile: Profile) -> dict[str, Experiment]:
    """The experiments of a profile by key, in the order of the file.

    Raises: InputError for a name that is no file name or stands twice, and for a reference that leads nowhere or
    in a circle.
    """
    listed = [
        _experiment(study, profile.studies[study], entry, point)
        for study in profile.studies
        for entry in profile.studies[study].experiments
        for point in _points(entry)
    ]
    result = {experiment.key: experiment for experiment in listed}
    if len(result) < len(listed):
        twice = next(experiment.key for experiment in listed if result[experiment.key] is not experiment)
        raise InputError(f"experiment '{twice}' stands twice in the profile; put the keys of its grid into its name")
    for experiment in listed:
        _check_references(experiment, result)
    return result


def _points(entry: Entry) -> list[Parameters]:
    return [dict(zip(entry.grid, values, strict=True)) for values in itertools.product(*entry.grid.values())]


def _experiment(study: str, settings: Study, entry: Entry, point: Parameters) -> Experiment:
    where = f"experiment '{study}/{entry.name}'"
    if both := point.keys() & entry.parameters.keys():
        raise InputError(f"{where} has '{sorted(both)[0]}' in its grid and in its parameters; keep one")
    texts = {text: _fill(getattr(entry, text), point, where) for text in ("name", "same_as", *INHERITED)}
    runs = tuple(_fill(key, point, where) for key in entry.runs_from)
    parameters = {**settings.parameters, **entry.parameters, **point}
    return Experiment(study=study, parameters=parameters, runs_from=runs, **texts)


def _fill(template: str | None, point: Parameters, where: str) -> Any:
    try:
        return template and template.format_map(point)
    except (KeyError, ValueError, IndexError) as error:
        keys = ", ".join(point) or "none"
        raise InputError(f"{where}: '{template}' cannot be filled in ({error}); its grid has: {keys}") from None


def _check_references(experiment: Experiment, known: dict[str, Experiment]) -> None:
    key = experiment.key
    if not re.match(NAME, experiment.name):
        raise InputError(f"experiment '{key}' cannot name a directory; use letters, digits, '_', '-' and '.'")
    references = [(reference, getattr(experiment, reference)) for reference in ("same_as", *INHERITED)]
    references += [("runs_from", run) for run in experiment.runs_from]
    if experiment.same_as and experiment.needs:
        raise InputError(f"experiment '{key}' has same_as and needs another's files; an alias runs nothing, keep one")
    for kind, target in references:
        if target is not None and (target not in known or known[target].same_as or target == key):
            raise InputError(f"experiment '{key}': {kind} '{target}' is no experiment of this profile that runs")
    _check_order(known, [key])


def _check_order(known: dict[str, Experiment], path: list[str]) -> None:
    """InputError if what the last of `path` needs leads back to one of them."""
    for need in known[path[-1]].needs if path[-1] in known else []:
        if need in path:
            raise InputError(f"experiment '{path[0]}' needs its own weights: {' <- '.join([*path, need])}")
        _check_order(known, [*path, need])


def _describe(error: ErrorDetails) -> str:
    """A validation error in a line; the models tell which keys are valid where the error lies."""
    location = [str(part) for part in error["loc"] if part != "[key]"]
    where = ".".join(location) or "the file"
    if error["type"] == "value_error":
        return ".".join([*location[:-1], str(error["ctx"]["error"])])  # which begins with the key
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg'][0].lower()}{error['msg'][1:]}, but it is {error['input']!r}"
    models: dict[int, type[BaseModel]] = {1: Profile, 2: Resources, 3: Study, 4: Resources, 5: Entry}
    return f"{where}: unknown key '{location[-1]}'; valid: {', '.join(models[len(location)].model_fields)}"
