"""Reading a build directory, and remembering what the article took from it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from resnest_core.errors import InputError, unknown

Model = TypeVar("Model", bound=BaseModel)


class Experiment(BaseModel):
    """One line of plan.json. `same_as` is the STUDY/NAME whose results stand for this one's."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    study: str
    name: str
    parameters: dict[str, Any]
    same_as: str | None = None
    status: Literal["run", "missing"]
    reason: str | None = None

    @property
    def key(self) -> str:
        return f"{self.study}/{self.name}"

    def __hash__(self) -> int:
        return hash(self.key)


class Metric(BaseModel):
    """A value with its interval and the number of observations behind it, where those make sense; never NaN."""

    model_config = ConfigDict(allow_inf_nan=False)
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""


class Result(BaseModel):
    """What one experiment stored as result.json."""

    metrics: dict[str, Metric]
    parameters: dict[str, Any]
    provenance: dict[str, Any]


class Plan(BaseModel):
    """plan.json: what a profile asked for, and what of it could not run."""

    model_config = ConfigDict(extra="forbid")
    profile: str
    description: str
    experiments: list[Experiment]


class Store:
    """The results of one build directory. Every access is noted, so that `unused` can name what the text left out."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.plan = _read(Plan, self.directory / "plan.json", "run ./run_all.sh first")
        self.experiments = {experiment.key: experiment for experiment in self.plan.experiments}
        self.used: set[str] = set()
        self.used_metrics: set[tuple[str, str]] = set()
        self._results: dict[str, Result] = {}

    def study(self, name: str) -> list[Experiment]:
        """The experiments of a study, in the order of the plan; none if it was not planned."""
        return [experiment for experiment in self.plan.experiments if experiment.study == name]

    def source(self, experiment: Experiment) -> Experiment:
        """The experiment that ran: `experiment` itself, or the one that it is the same as."""
        if experiment.same_as is None:
            return experiment
        if experiment.same_as not in self.experiments:
            raise unknown(f"experiment in the plan of '{experiment.key}':", experiment.same_as, self.experiments)
        return self.experiments[experiment.same_as]

    def parameters(self, experiment: Experiment) -> dict[str, Any]:
        """The parameters: those planned, and whatever more its result tells."""
        source = self.source(experiment)
        stored = self._load(source).parameters if source.status == "run" else {}
        return {**stored, **experiment.parameters, **source.parameters}

    def ran(self, experiment: Experiment) -> bool:
        """Whether there are results; noted as used either way, since the article then says why there are none."""
        self._use(experiment)
        return self.source(experiment).status == "run"

    def reason(self, experiment: Experiment) -> str:
        """Why an experiment has no results."""
        return self.source(experiment).reason or "no reason recorded"

    def result(self, experiment: Experiment) -> Result:
        self._use(experiment)
        return self._load(experiment)

    def _load(self, experiment: Experiment) -> Result:
        source = self.source(experiment)
        if source.key not in self._results:
            advice = f"the plan lists '{experiment.key}', so run it first"
            self._results[source.key] = _read(Result, self._path(source, "result.json"), advice)
        return self._results[source.key]

    def metric(self, experiment: Experiment, name: str) -> Metric:
        metrics = self.result(experiment).metrics
        if name not in metrics:
            raise unknown(f"metric of '{experiment.key}'", name, metrics)
        self.used_metrics.add((self.source(experiment).key, name))
        return metrics[name]

    def peek(self, experiment: Experiment, name: str) -> Metric | None:
        """A metric, if there is one; this is no use of the result."""
        return self._load(experiment).metrics.get(name)

    def records(self, experiment: Experiment, columns: Iterable[str]) -> pd.DataFrame:
        """The rows of records.parquet, by image index; of `columns`, those that the file has."""
        path = self.file(experiment, "records.parquet")
        frame = pd.read_parquet(path)
        return frame.set_index("index").sort_index()[[name for name in columns if name in frame]]

    def curves(self, experiment: Experiment) -> pd.DataFrame:
        """The rows of curves.csv, one an epoch."""
        return pd.read_csv(self.file(experiment, "curves.csv"))

    def unused(self) -> list[str]:
        """The experiments that no section has used."""
        return [key for key in self.experiments if key not in self.used]

    def provenance(self, experiment: Experiment) -> dict[str, Any]:
        """Where a result comes from; reading it is no use of the result."""
        return self._load(experiment).provenance

    def _use(self, experiment: Experiment) -> None:
        self.used |= {experiment.key, self.source(experiment).key}

    def _path(self, experiment: Experiment, name: str) -> Path:
        return self.directory / experiment.study / experiment.name / name

    def file(self, experiment: Experiment, name: str) -> Path:
        """A file that an experiment stored beside its result."""
        self._use(experiment)
        path = self._path(self.source(experiment), name)
        if not path.is_file():
            raise InputError(f"'{path}' is missing; experiment '{experiment.key}' must store it")
        return path


def _read(model: type[Model], path: Path, advice: str) -> Model:
    """Parse and check a JSON file."""
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"'{path}' is missing; {advice}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise InputError(f"'{path}' is not as it should be at {place}: {first['msg']}") from None
