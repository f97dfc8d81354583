"""`python -m benchmarks.workflow`: how long a profile takes, and for what, by how many experiments run at a time.

Each run is one from the beginning, in a clone of the last commit, whose build is thrown away.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from subprocess import PIPE
from typing import Annotated, Any

import typer

from resnest_core.cli import run_command
from resnest_core.cli.options import number, path
from resnest_core.files import output_directory, write_json
from resnest_core.provenance import Stopwatch
from resnest_core.study.layout import ROOT
from resnest_core.study.resources import executor

JOBS = [1, 2]
STUDY = re.compile(r"  (\w+) +(\d+) jobs? +(\d+) s +\d+ %\n")  # as a run prints at its end what it spent its time on


def main(
    out: Annotated[Path, typer.Option(parser=path, help="File for the measurements.")],
    profile: Annotated[str, typer.Option(help="The profile that is run.")] = "default",
    jobs: Annotated[list[int], number("jobs", "Experiments at a time; may be given several times.")] = JOBS,
) -> None:
    """Time whole runs of the workflow, one after the other; write JSON, print the rows."""
    watch = Stopwatch()
    output_directory(out.parent)
    rows = [_row(profile, number) for number in jobs]
    for row in rows:
        row["times_as_fast"] = rows[0]["seconds"] / row["seconds"]
    write_json(out, {"settings": {"profile": profile}, "rows": rows, "provenance": watch.provenance()})
    print(json.dumps(rows, indent=1))


def _row(profile: str, jobs: int) -> dict[str, Any]:
    """One run: seconds by the clock, and those of its jobs by study."""
    arguments = ["--profile", profile, "--jobs", str(jobs)]
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tree)], check=True)
        start = time.perf_counter()
        printed = _printed(tree, arguments)
        seconds = time.perf_counter() - start
    studies = {study: (int(number), int(spent)) for study, number, spent in STUDY.findall(printed)}
    return {
        "command": " ".join(["./run_all.sh", *arguments]),
        "jobs": jobs,
        "threads": executor("local", jobs).threads,
        "experiments": sum(number for study, (number, _) in studies.items() if study != "article"),
        "seconds": seconds,
        "seconds_of_jobs": {study: spent for study, (_, spent) in studies.items()},
    }


def _printed(tree: Path, arguments: list[str]) -> str:
    """What a run of the clone `tree` prints, shown line by line meanwhile."""
    command = [sys.executable, "-P", "-m", "resnest_core.study", *arguments]
    lines = []
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(tree)}, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(f"error: the run ended with status {process.returncode}; what it printed stands above")
    return "".join(lines)


if __name__ == "__main__":
    run_command(main)
