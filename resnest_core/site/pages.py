"""What the site tells of each experiment, in text: parameters, metrics, provenance, files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnest_core.article import phrases
from resnest_core.article.results import Experiment, Metric, Store
from resnest_core.study.execute import SCORES, undefined_score
from resnest_core.study.state import files

PAGE, NOTEBOOK, EXECUTED = "index.html", "notebook.html", "notebook.ipynb"
UNITS = ("B", "KiB", "MiB", "GiB")

Facts = list[tuple[str, str]]  # names with their values


@dataclass(frozen=True)
class Line:
    """A metric, as a row of a table."""

    name: str
    value: str
    interval: str
    n: str
    unit: str


@dataclass(frozen=True)
class File:
    """A file with its path, as seen from the page that names it, and its size."""

    path: str
    size: str


@dataclass(frozen=True)
class Page:
    """An experiment. `same_as` is the key of the one whose result it shares, `reason` why there is no result."""

    key: str
    study: str
    name: str
    same_as: str | None
    reason: str | None
    networks: str
    score: str
    seconds: str
    parameters: Facts
    metrics: dict[str, list[Line]]  # by what stands before the point in their names; "" where there is none
    provenance: Facts
    files: list[File]


def page(store: Store, experiment: Experiment) -> Page:
    """What there is to tell of an experiment of the plan.

    Raises: InputError if it ran and its result or its executed notebook is not there.
    """
    ran = store.source(experiment).status == "run"
    own = ran and experiment.same_as is None
    metrics = store.result(experiment).metrics if ran else {}
    provenance = store.provenance(experiment) if own else {}
    return Page(
        key=experiment.key,
        study=experiment.study,
        name=experiment.name,
        same_as=experiment.same_as,
        reason=None if ran else store.reason(experiment),
        networks=_networks(store.parameters(experiment)),
        score=_score(metrics, store.parameters(experiment)),
        seconds=f"{provenance['seconds']:,.1f}{phrases.HARD}s" if own else "",
        parameters=list(_flat(store.parameters(experiment))),
        metrics=_grouped(metrics) if own else {},
        provenance=list(_flat(_readable(provenance))),
        files=_files(store.file(experiment, EXECUTED).parent) if own else [],
    )


def size(count: float) -> str:
    """A number of bytes: "598 B", "1.3 MiB"."""
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:,.{min(unit, 1)}f}{phrases.HARD}{UNITS[unit]}"


def _networks(parameters: Mapping[str, Any]) -> str:
    """The network, or how many there are."""
    several = parameters.get("models") or parameters.get("networks") or {}
    names = dict.fromkeys(several.values() if isinstance(several, dict) else several)
    names |= {parameters["model"]: None} if parameters.get("model") else {}
    return str(next(iter(names))) if len(names) == 1 else f"{len(names)} networks" if names else ""


def _score(metrics: Mapping[str, Metric], parameters: Mapping[str, Any]) -> str:
    """The best known of the scores with its interval; of results with others, how many there are."""
    for name, label in SCORES.items():
        if metric := metrics.get(name):
            limits = phrases.interval(metric.low, metric.high)
            return f"{label} {phrases.number(metric.value)}{phrases.HARD}%" + (f" ({limits})" if limits else "")
    return undefined_score(parameters) or f"{len(metrics)} metrics" if metrics else ""


def _grouped(metrics: Mapping[str, Metric]) -> dict[str, list[Line]]:
    """Metrics by class, network or run: by what stands before the first point in their names."""
    groups: dict[str, list[Line]] = {}
    for name, metric in metrics.items():
        group, point, own = name.partition(".")
        groups.setdefault(group if point else "", []).append(_line(own or name, metric))
    return groups


def _line(name: str, metric: Metric) -> Line:
    limits = [_number(limit) for limit in (metric.low, metric.high) if limit is not None]
    count = "" if metric.n is None else f"{metric.n:,}"
    unit = "" if metric.unit == "1" else metric.unit
    return Line(name, _number(metric.value), " to ".join(limits), count, unit)


def _number(value: float) -> str:
    """Whole numbers in full, others to six digits."""
    text = f"{value:,.0f}" if value.is_integer() else f"{value:#,.6g}".rstrip(".")
    return text.replace("-", phrases.MINUS)


def _readable(provenance: Mapping[str, Any]) -> dict[str, Any]:
    peak = provenance.get("peak_memory")
    return {**provenance, **({"peak_memory": size(peak)} if peak else {})}


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values, of which nested ones have the outer name before a point."""
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "–" if value in ("", None) else str(value)


def _files(directory: Path) -> list[File]:
    """What the experiment left, without the pages that are about it."""
    names = [name for name in files(directory) if name not in (PAGE, NOTEBOOK)]
    return [File(name, size((directory / name).stat().st_size)) for name in names]
