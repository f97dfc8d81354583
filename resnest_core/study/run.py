"""A run: plan, check, hand over to Snakemake, end tidily."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from resnest_core.errors import InputError
from resnest_core.files import output_directory
from resnest_core.study import preflight
from resnest_core.study.events import Listener
from resnest_core.study.layout import Layout
from resnest_core.study.notebooks import code_cells
from resnest_core.study.plan import Plan, make_plan, write_plan
from resnest_core.study.processes import MARK, die_with_parent, end_leftovers, sole_run
from resnest_core.study.progress import Progress
from resnest_core.study.ready import SOCKET, imported

INTERRUPTED = 130
SCRATCH = "resnest-"


def run(layout: Layout, options: argparse.Namespace) -> int:
    """Carry out ./run_all.sh with checked `options`; returns the exit status: 0, or 1 if something failed.

    Raises: InputError, before any work, for what is wrong with the profile, and if something that it needs is missing.
    """
    if options.list:
        show(planned(layout, options), options.allow_missing)
        return 0
    output_directory(layout.build)
    with sole_run(layout.build):
        end_leftovers(layout.build)
        plan = planned(layout, options)
        found = preflight.missing(plan)
        preflight.check_space(plan)
        if found and not options.allow_missing:
            print(preflight.listed(found), file=sys.stderr)
            raise InputError(f"{len(found)} needed thing(s) missing, see above; --allow-missing runs the rest")
        plan = plan.without(preflight.reasons(found))
        write_plan(plan)
        return carry_out(plan, options.jobs)


def planned(layout: Layout, options: argparse.Namespace) -> Plan:
    return make_plan(layout, only=options.only, data=options.data, force=options.force)


def show(plan: Plan, allow_missing: bool) -> None:
    """Print each experiment and whether it will run, and why; then what is missing for that."""
    found = preflight.missing(plan)
    plan = plan.without(preflight.reasons(found)) if allow_missing else plan
    shown = [experiment for key, experiment in plan.experiments.items() if key in plan.selected]
    width = max(len(experiment.key) for experiment in shown)
    for experiment in shown:
        status = f"same as {experiment.same_as}" if experiment.same_as else plan.steps[experiment.key].status
        print(f"{experiment.key:{width}}  {status}")
    print(f"{'article':{width}}  {plan.article_status}")
    if found:
        print(preflight.listed(found))


def carry_out(plan: Plan, jobs: int) -> int:
    """Run what the written `plan` says, `jobs` experiments at a time; returns the exit status."""
    progress = Progress(plan)
    if not plan.to_run and not plan.article_reason:
        return progress.conclude()
    progress.announce(jobs)
    listener = Listener(plan.layout)
    signal.signal(signal.SIGTERM, _interrupt)
    scratch = new_scratch(plan.layout)
    os.environ[SOCKET] = str(scratch / "ready")
    kernels = start_ready(plan) if plan.to_run else None
    process = start_snakemake(plan.layout, jobs, scratch)
    try:
        while process.poll() is None:
            progress.report(listener.new())
            time.sleep(0.2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    finally:
        for started in filter(None, (process, kernels)):
            started.kill()
            started.wait()
        end_leftovers(plan.layout.build)
        shutil.rmtree(scratch, ignore_errors=True)
    progress.report(listener.new())
    return progress.conclude(process.returncode)


def new_scratch(layout: Layout) -> Path:
    """A directory for the temporary files of a run; that of a run that was killed is removed."""
    note = layout.plans / "scratch.txt"
    if note.is_file() and (old := Path(note.read_text())).name.startswith(SCRATCH):
        shutil.rmtree(old, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH))
    note.write_text(str(scratch))
    return scratch


def start_ready(plan: Plan) -> subprocess.Popen[bytes]:
    """Start the process that imports what the notebooks of `plan` do, and whose forks are their kernels."""
    notebooks = {plan.layout.notebook(step.experiment.study) for step in plan.to_run.values()}
    modules = imported(source for notebook in sorted(notebooks) for source, _ in code_cells(notebook))
    return _start(plan.layout, "kernels.log", ["resnest_core.study.ready", os.environ[SOCKET], *modules])


def start_snakemake(layout: Layout, jobs: int, scratch: Path) -> subprocess.Popen[bytes]:
    """Start Snakemake on the plan; it remembers nothing between runs, since the plan decides what is up to date.

    Its own variable SNAKEMAKE_PROFILE adds settings, such as an executor for a cluster.
    """
    shutil.rmtree(layout.build / ".snakemake", ignore_errors=True)
    environment = {"TMPDIR": str(scratch)}
    if "XDG_CACHE_HOME" not in os.environ and not os.access(Path.home(), os.W_OK):
        environment["XDG_CACHE_HOME"] = str(scratch)  # Snakemake insists on one
    flags = ["--keep-going", "--nolock", "--scheduler", "greedy", "--workflow-profile", "none", "--cores", str(jobs)]
    where = ["--snakefile", str(layout.root / "workflow" / "Snakefile"), "--directory", str(layout.build)]
    return _start(layout, "snakemake.log", ["snakemake", *where, *flags], **environment)


def _start(layout: Layout, log: str, module: list[str], **environment: str) -> subprocess.Popen[bytes]:
    """Start a Python `module` with its arguments, in a session of its own: Ctrl-C is for the runner, which ends it."""
    with (layout.build / log).open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", *module],
            env={**os.environ, "PYTHONPATH": str(layout.root), MARK: str(layout.build), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
