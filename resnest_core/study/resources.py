"""What a job may take: its share of this machine, or what the profile asks a cluster for."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import psutil
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from resnest_core import ranges
from resnest_core.study.arguments import cores

MIB = 2**20
UNITS = {"MiB": 1, "GiB": 1024}
Threads = Literal["all"] | None


def ranged(name: str) -> BeforeValidator:
    """The check of a key of a profile by the declared range of its name."""

    def checked(value: object) -> object:
        ranges.check(**{name: value})
        return value

    return BeforeValidator(checked)


class Resources(BaseModel):
    """What a job of a cluster gets; on this machine, where --jobs shares out the cores, only `memory` counts."""

    model_config = ConfigDict(extra="forbid", strict=True)
    cores: Annotated[int, ranged("cores")] = 1
    memory: Annotated[str, Field(pattern=rf"^[1-9]\d{{0,6}} ({'|'.join(UNITS)})$")] = "4 GiB"
    gpus: Annotated[int, ranged("gpus")] = 0
    minutes: Annotated[int, ranged("minutes")] = 60

    def updated(self, other: "Resources") -> "Resources":
        """These, but for what `other` says."""
        return self.model_copy(update=other.model_dump(exclude_unset=True))

    @property
    def mebibytes(self) -> int:
        number, unit = self.memory.split()
        return int(number) * UNITS[unit]


@dataclass(frozen=True)
class Executor:
    """Where jobs run ("local" or "slurm"), how many at a time, and the cores and the memory (MiB) of this machine."""

    name: str
    jobs: int
    cores: int
    mebibytes: int

    @property
    def on_slurm(self) -> bool:
        return self.name == "slurm"

    @property
    def threads(self) -> int:
        """Threads of a job on this machine, so that `jobs` of them use each core once."""
        return max(1, self.cores // self.jobs)

    def request(self, threads: Threads, wanted: Resources) -> dict[str, Any]:
        """What Snakemake is told of a job: `slots` of its --cores, `threads` of its kernel, its `resources` by name."""
        if self.on_slurm:
            return {"slots": wanted.cores, "threads": wanted.cores, "resources": _asked(threads, wanted)}
        alone = {"slots": self.jobs, "threads": self.cores}
        own = alone if threads == "all" else {"slots": 1, "threads": self.threads}
        return {**own, "resources": {"mem_mb": wanted.mebibytes}}

    def __str__(self) -> str:
        if self.on_slurm:
            return f"at most {self.jobs} at a time through Slurm"
        return f"{self.jobs} at a time, {self.threads} {'thread' if self.threads == 1 else 'threads'} each"

    @property
    def flags(self) -> list[str]:
        """Snakemake's flags for it."""
        if self.on_slurm:
            # A result that a node has written can take this long to be seen on another one.
            return ["--executor", "slurm", "--jobs", str(self.jobs), "--latency-wait", "60"]
        return ["--cores", str(self.jobs), "--resources", f"mem_mb={self.mebibytes}"]


def executor(name: str, jobs: int | None) -> Executor:
    """The executor `name` on this machine, of `jobs` jobs at a time (None: one a core; on a cluster, many)."""
    usual = {"local": cores(), "slurm": 100}
    return Executor(name, jobs or usual[name], cores(), psutil.virtual_memory().total // MIB)


def _asked(threads: Threads, wanted: Resources) -> dict[str, Any]:
    """The resources of Snakemake's Slurm plugin; Slurm's megabytes are mebibytes."""
    asked: dict[str, Any] = {"mem_mb": wanted.mebibytes, "runtime": wanted.minutes}
    if wanted.gpus:
        asked["gpu"] = wanted.gpus
    if threads == "all":
        asked["slurm_extra"] = "--exclusive"
    return asked
