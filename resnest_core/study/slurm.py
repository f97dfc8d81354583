"""The jobs of a run in Slurm's queue: known by the directory that they run in, cancelled when their run has ended."""

import getpass
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from resnest_core.errors import InputError
from resnest_core.study.layout import Layout

LONGEST_END = 120  # seconds from scancel to the end of a job; Slurm kills what does not end by itself after 30
PAUSE = 30  # seconds between questions why jobs wait
ORDINARY = {"None", "Priority", "Resources", "Dependency", "BeginTime"}  # of a queue that only takes its time


def begin(layout: Layout) -> None:
    """Note that a run is about to hand jobs to Slurm; raise InputError if Slurm does not answer."""
    _queued(layout.build)
    _note(layout).touch()


def end(layout: Layout) -> None:
    """Cancel the jobs of the last run that handed some to Slurm, however it ended, and wait until they are gone.

    Raises: InputError if Slurm does not answer, or if a job does not end.
    """
    if not _note(layout).exists():
        return
    until = time.monotonic() + LONGEST_END
    time.sleep(1)  # Slurm may not have done yet with what a submission that was killed has told it
    while jobs := _queued(layout.build):
        if time.monotonic() > until:
            raise InputError(f"Slurm's jobs {', '.join(jobs)} of {layout.build} do not end; see squeue, then run again")
        _ask("scancel", *jobs)
        time.sleep(1)
    _note(layout).unlink()


class Waiting:
    """Tells once of each reason, beyond the ordinary ones, for which Slurm lets jobs of a run wait, maybe for ever."""

    def __init__(self, layout: Layout) -> None:
        self.directory, self.told, self.next = layout.build, set(ORDINARY), time.monotonic()

    def new(self) -> list[str]:
        """A line for each reason that came up since the last call; Slurm is asked from time to time only."""
        if time.monotonic() < self.next:
            return []
        self.next = time.monotonic() + PAUSE
        found: dict[str, list[str]] = {}
        with suppress(InputError):  # a scheduler too busy to answer is asked again
            for number, state, reason in _jobs(self.directory):
                if state == "PENDING":  # of one that ends, the reason is that of its end
                    found.setdefault(reason, []).append(number)
        lines = [
            f"Slurm lets {', '.join(numbers)} wait: {reason} (what jobs ask for is `resources:` in the profile)"
            for reason, numbers in found.items()
            if reason not in self.told
        ]
        self.told |= found.keys()
        return lines


def status_flags() -> list[str]:
    """Snakemake's flags for asking about jobs: sacct, its usual way, needs a database that not every cluster has."""
    try:
        _ask("sacct", "--noheader", "--allocations")
    except InputError:
        return ["--slurm-status-command", "squeue"]
    return []


def refusal(log: Path) -> str | None:
    """What sbatch said of the first job that Slurm did not take, by Snakemake's `log`; None if it took all."""
    found = re.search(r"sbatch: error: (?:Batch job submission failed: )?(.+?)'?\.?$", log.read_text(), re.MULTILINE)
    return found and found[1]


def _note(layout: Layout) -> Path:
    return layout.plans / "slurm.txt"


def _queued(directory: Path) -> list[str]:
    """Numbers of the user's jobs that wait, run or end in `directory`."""
    return sorted({number for number, *_ in _jobs(directory)})


def _jobs(directory: Path) -> list[tuple[str, str, str]]:
    """Number, state and reason (of being in it) of each job of the user in `directory`."""
    lines = _ask("squeue", "--noheader", "--user", getpass.getuser(), "--format", "%A|%T|%r|%Z").splitlines()
    rows = [line.split("|", 3) for line in lines]
    return [(number, state, reason) for number, state, reason, where in rows if where == str(directory)]


def _ask(*command: str) -> str:
    """What one of Slurm's commands prints; InputError if it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise InputError(f"there is no {command[0]} here; run this where jobs are submitted to Slurm") from None
    except subprocess.CalledProcessError as error:
        why = " ".join(error.stderr.split()) or f"status {error.returncode}"
        raise InputError(f"Slurm does not answer: {why}") from None
