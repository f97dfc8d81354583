"""The plan of a run: every experiment of a profile, whether it runs, and why.

An experiment is up to date if the state file that its run left holds what is wanted now and its files are as that run
left them. The plan tells Snakemake by taking away the result.json of what must run.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from resnest_core.errors import InputError, unknown
from resnest_core.files import write_json
from resnest_core.places import PLACES, expanded
from resnest_core.study.article_job import PROGRAMS
from resnest_core.study.fingerprint import PACKAGE, Code, digest, notebook_digest
from resnest_core.study.inputs import Inputs
from resnest_core.study.layout import Layout
from resnest_core.study.notebooks import Notebook, code_cells, read_notebook
from resnest_core.study.profiles import RUNS, Experiment, Parameters, Profile, experiments, load_profile
from resnest_core.study.resources import Executor
from resnest_core.study.state import read_json, read_state, results, why_stale

VERSIONS = ("torch", "numpy", "pillow")
SOURCES = ("report", "benchmarks/results/machines")


@dataclass(frozen=True)
class Step:
    """An experiment that runs a notebook.

    `given` are the parameters that the profile sets, `parameters` all of them; `wanted` is what the result depends
    on; `reason` says why it runs (None: it is up to date), `missing` what it lacks to do so.
    """

    experiment: Experiment
    given: Parameters
    parameters: Parameters
    wanted: dict[str, Any]
    reason: str | None = None
    missing: str | None = None

    @property
    def status(self) -> str:
        if self.reason is None:
            absent = [name for name, content in self.wanted["data"].items() if content is None]
            return f"up to date (not here to compare with: {', '.join(absent)})" if absent else "up to date"
        return f"missing: {self.missing}" if self.missing else f"will run: {self.reason}"


@dataclass(frozen=True)
class Plan:
    """All experiments of a profile by key; the steps of those that run; which of them this run covers (`selected`)."""

    layout: Layout
    profile: Profile
    experiments: dict[str, Experiment]
    steps: dict[str, Step]
    selected: frozenset[str]
    forced: frozenset[str]
    sources: dict[str, Any] = field(repr=False)

    @property
    def to_run(self) -> dict[str, Step]:
        chosen = {key: step for key, step in self.steps.items() if key in self.selected}
        return {key: step for key, step in chosen.items() if step.reason and not step.missing}

    @property
    def left_out(self) -> list[str]:
        """Experiments that the article needs and this run does not cover."""
        return [key for key, step in self.steps.items() if key not in self.selected and step.reason]

    @property
    def article(self) -> dict[str, Any]:
        """What the article depends on beside the results."""
        return {**self.sources, "plan": digest(json.dumps(self.description).encode())}

    @property
    def article_reason(self) -> str | None:
        """Why the article is made; None if it is up to date, or if experiments that it needs are left out."""
        state = read_state(self.layout.state_file("article"))
        if self.left_out or self.to_run:
            return None if self.left_out else "results will change"
        if state is None or not all(path.is_file() for path in self.layout.articles):
            return "new"
        if changed := [name for name, value in self.article.items() if state["wanted"].get(name) != value]:
            return f"changed: {', '.join(changed)}"
        return None if state["results"] == results(self.layout, self.reported) else "changed: results"

    @property
    def article_status(self) -> str:
        if self.left_out:
            return f"waits for {len(self.left_out)} experiments that this run leaves out"
        return f"will run: {self.article_reason}" if self.article_reason else "up to date"

    @property
    def reported(self) -> list[str]:
        """The experiments whose results the article reads."""
        return [key for key, step in self.steps.items() if not step.missing]

    @property
    def description(self) -> dict[str, Any]:
        """The content of plan.json: every experiment of the profile, for the article."""
        listed = [_describe(experiment, self.steps) for experiment in self.experiments.values()]
        return {"profile": self.layout.profile, "description": self.profile.description, "experiments": listed}

    def request(self, step: Step, executor: Executor) -> dict[str, Any]:
        """What the job of a step gets of the executor's machines."""
        study = self.profile.studies[step.experiment.study]
        return executor.request(study.threads, self.profile.resources.updated(study.resources))

    def without(self, missing: Mapping[str, str]) -> "Plan":
        """The plan in which the steps of `missing` (key -> reason), and those that need them, do not run."""

        @cache
        def lacks(key: str) -> str | None:
            lost = [need for need in self.experiments[key].needs if lacks(need)]
            return missing.get(key) or (f"needs {lost[0]}, which is missing" if lost else None)

        return replace(self, steps={key: replace(step, missing=lacks(key)) for key, step in self.steps.items()})


def make_plan(layout: Layout, *, only: str | None = None, data: str | None = None, force: bool = False) -> Plan:
    """Compare a profile with what is there; nothing is written.

    Args: `only`: the study to cover, with what it needs; `data`: the parameter `data` of every notebook that has one;
    `force`: run what is covered even if it is up to date.
    Raises: InputError for a profile, study, notebook or parameter that is not as it must be.
    """
    profile = load_profile(layout.profile_file)
    if only is not None and only not in profile.studies:
        raise unknown(f"study of profile {layout.profile}", only, profile.studies)
    known = experiments(profile)
    code = Code(layout.root)
    steps = _steps(layout, profile, known, data, code)
    chosen = [key for key, experiment in known.items() if only in (None, experiment.study)]
    forced = frozenset(key for key in chosen if force and key in steps)
    reasons = _reasons(layout, steps, forced)
    steps = {key: replace(step, reason=reasons[key]) for key, step in steps.items()}
    return Plan(layout, profile, known, steps, _with_needs(known, chosen), forced, _article_sources(layout, code))


def write_plan(plan: Plan, executor: Executor) -> None:
    """Store the plan for Snakemake, its jobs and the article; take away the results that the run renews."""
    layout = plan.layout
    covered = {key: step for key, step in plan.steps.items() if key in plan.selected}
    for key, step in covered.items():
        if step.reason:
            layout.result(key).unlink(missing_ok=True)
        if key in plan.forced:
            layout.state_file(key).unlink(missing_ok=True)
        _write(layout.plan_file(key), _job(plan, step))
    if plan.article_reason:
        layout.state_file("article").unlink(missing_ok=True)
    _write(layout.plan_file("article"), {"profile": layout.profile, "wanted": plan.article, "reported": plan.reported})
    _write(layout.build / "plan.json", plan.description)
    rules = [
        {"key": key, "needs": step.experiment.needs, **plan.request(step, executor)}
        for key, step in covered.items()
        if not step.missing
    ]
    _write(layout.plans / "workflow.json", {"experiments": rules, "article": not plan.left_out})


def _steps(
    layout: Layout, profile: Profile, known: dict[str, Experiment], data: str | None, code: Code
) -> dict[str, Step]:
    """The step of each experiment that is no alias, with its parameters checked and its reason left open."""
    notebooks = {study: _notebook(layout, study) for study in profile.studies}
    if data and not any("data" in notebook.annotations for notebook in notebooks.values()):
        raise InputError(f"--data {data}: no notebook of profile {layout.profile} reads data; leave the flag out")
    shared = {**profile.parameters, **({"data": data} if data else {})}
    if unused := [name for name in shared if not any(name in notebook.annotations for notebook in notebooks.values())]:
        raise InputError(f"profile {layout.profile}: parameter '{unused[0]}' is one of no notebook; remove it")
    versions = {name: version(name) for name in VERSIONS}
    wanted = {
        study: {
            "notebook": notebook_digest(notebook.sources),
            "code": code.digests(notebook.sources),
            "versions": versions,
        }
        for study, notebook in notebooks.items()
    }
    steps, inputs = {}, Inputs(layout.root)
    for key, experiment in known.items():
        if not experiment.same_as:
            notebook = notebooks[experiment.study]
            given = _given(layout, experiment, notebook, shared)
            parameters = {**notebook.defaults, **given}
            del parameters["out"]
            own = {"parameters": parameters, "data": inputs.of(experiment, parameters)}
            steps[key] = Step(experiment, given, parameters, {**own, **wanted[experiment.study]})
    return steps


def _notebook(layout: Layout, study: str) -> Notebook:
    if not layout.notebook(study).is_file():
        raise unknown(
            f"study in profile {layout.profile}: no notebook of that name,",
            study,
            layout.stored_in("notebooks", ".ipynb"),
        )
    return read_notebook(layout.notebook(study))


def _given(layout: Layout, experiment: Experiment, notebook: Notebook, shared: Parameters) -> Parameters:
    """The parameters that an experiment hands to its notebook, except `out`; all checked."""
    ours = {name: value for name, value in shared.items() if name in notebook.annotations}
    own = experiment.parameters
    read = {RUNS: [layout.relative(layout.out(key)) for key in experiment.runs_from]} if experiment.runs_from else {}
    if taken := own.keys() & {"out", *experiment.inherited, *read}:
        raise InputError(f"experiment '{experiment.key}' sets '{sorted(taken)[0]}', which the runner sets; remove it")
    weights = {
        parameter: layout.relative(layout.out(key) / "weights.safetensors")
        for parameter, key in experiment.inherited.items()
    }
    given = {**ours, **own, **weights, **read}
    notebook.check(given, f"experiment '{experiment.key}'")
    if not given.get(RUNS) and "small_runs(" in "".join(notebook.sources):
        raise InputError(f"experiment '{experiment.key}' reads runs, and names none; give it runs_from: [STUDY/NAME]")
    return {name: _home_expanded(value) if name in PLACES else value for name, value in given.items()}


def _home_expanded(value: Any) -> Any:
    """A parameter that names places, with ~ as the home directory."""
    return [expanded(place) for place in value] if isinstance(value, list) else expanded(value)


def _with_needs(known: dict[str, Experiment], chosen: Iterable[str]) -> frozenset[str]:
    """The keys `chosen` and all that they need or stand for."""
    waiting, found = list(chosen), set()
    while waiting:
        experiment = known[waiting.pop()]
        found.add(experiment.key)
        waiting += [*experiment.needs, *([experiment.same_as] if experiment.same_as else [])]
    return frozenset(found)


def _reasons(layout: Layout, steps: dict[str, Step], forced: frozenset[str]) -> dict[str, str | None]:
    @cache
    def reason(key: str) -> str | None:
        needs = steps[key].experiment.needs
        if key in forced:
            return "forced"
        if renewed := [need for need in needs if reason(need)]:
            return f"needs {renewed[0]}, which will run"
        return why_stale(layout, key, steps[key].wanted, needs)

    return {key: reason(key) for key in steps}


def _describe(experiment: Experiment, steps: dict[str, Step]) -> dict[str, Any]:
    step = steps[experiment.same_as or experiment.key]
    return {
        "study": experiment.study,
        "name": experiment.name,
        "parameters": step.parameters,
        "same_as": experiment.same_as,
        "status": "missing" if step.missing else "run",
        "reason": step.missing,
    }


def _job(plan: Plan, step: Step) -> dict[str, Any]:
    """What the job of an experiment has to know."""
    experiment = step.experiment
    return {
        "profile": plan.layout.profile,
        "key": experiment.key,
        "notebook": plan.layout.relative(plan.layout.notebook(experiment.study)),
        "parameters": {**step.given, "out": plan.layout.relative(plan.layout.out(experiment.key))},
        "timeout": plan.profile.studies[experiment.study].timeout,
        "needs": experiment.needs,
        "wanted": step.wanted,
    }


def _article_sources(layout: Layout, code: Code) -> dict[str, Any]:
    """Digests of what the article is made of, in the folders `SOURCES`, and of the code that makes it and the site."""
    report = sorted(path for folder in SOURCES for path in (layout.root / folder).rglob("*") if path.is_file())
    shown = [path for path in report if not {".ipynb_checkpoints", "__pycache__"} & set(path.parts)]
    notebooks = [source for path in shown if path.suffix == ".ipynb" for source, _ in code_cells(path)]
    files = {layout.relative(path): digest(path.read_bytes()) for path in shown}
    programs = [f"import {PACKAGE}.{name}.__main__" for name in PROGRAMS]
    return {"report": files, "code": code.digests([*programs, *notebooks])}


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write the file if its content is not that already."""
    if read_json(path) != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
