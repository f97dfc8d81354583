"""A run: plan, check, hand over to Snakemake, end tidily."""

import argparse
import getpass
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from resnest_core import huge_pages
from resnest_core.errors import InputError
from resnest_core.files import output_directory
from resnest_core.study import preflight, slurm
from resnest_core.study.events import Listener
from resnest_core.study.layout import Layout
from resnest_core.study.notebooks import code_cells
from resnest_core.study.plan import Plan, make_plan, write_plan
from resnest_core.study.processes import MARK, die_with_parent, end_leftovers, sole_run
from resnest_core.study.progress import Progress
from resnest_core.study.ready import SOCKET, imported
from resnest_core.study.resources import Executor, executor

INTERRUPTED = 130
SCRATCH = "resnest-"
PAUSE = {"local": 0.2, "slurm": 2.0}  # seconds between looks at what the jobs tell; over a network each costs more


def run(layout: Layout, options: argparse.Namespace) -> int:
    """Carry out ./run_all.sh with checked `options`; returns the exit status: 0, or 1 if something failed.

    Raises: InputError, before any work, for what is wrong with the profile, and if something that it needs is missing.
    """
    if options.list:
        show(planned(layout, options), options.allow_missing)
        return 0
    output_directory(layout.build)
    where = executor(options.executor, options.jobs)
    with sole_run(layout.build):
        end_leftovers(layout.build)
        slurm.end(layout)
        plan = planned(layout, options)
        found = preflight.missing(plan)
        preflight.check_space(plan)
        if found and not options.allow_missing:
            print(preflight.listed(found), file=sys.stderr)
            raise InputError(f"{len(found)} needed thing(s) missing, see above; --allow-missing runs the rest")
        plan = plan.without(preflight.reasons(found))
        write_plan(plan, where)
        return carry_out(plan, where)


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


def carry_out(plan: Plan, where: Executor) -> int:
    """Run what the written `plan` says; returns the exit status."""
    progress = Progress(plan)
    if not plan.to_run and not plan.article_reason:
        return progress.conclude()
    if where.on_slurm:
        slurm.begin(plan.layout)
    progress.announce(where)
    listener = Listener(plan.layout, [*plan.to_run, "article"])
    waiting = slurm.Waiting(plan.layout) if where.on_slurm else None
    interrupt_by_signals()
    try:
        with snakemake(plan, where) as process:
            while process.poll() is None:
                progress.report(listener.new())
                progress.warn(waiting.new() if waiting else [])
                time.sleep(PAUSE[where.name])
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    progress.report(listener.new())
    return progress.conclude(process.returncode)


def interrupt_by_signals() -> None:
    """Let what ends a process, or the connection to it, do what Ctrl-C does; `nohup` goes on protecting."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


@contextmanager
def snakemake(plan: Plan, where: Executor) -> Iterator[subprocess.Popen[bytes]]:
    """Snakemake at work on the `plan`; at the end nothing that it started runs on, here or on a cluster.

    Jobs of a cluster get neither the mark, for they end with the cluster's means, nor what exists on this machine only.
    """
    layout, scratch, processes = plan.layout, new_scratch(plan.layout), []
    here = {MARK: str(layout.build), "TMPDIR": str(scratch), SOCKET: str(scratch / "ready")}
    try:
        if plan.to_run and not where.on_slurm:
            processes.append(start_ready(plan, here))
        processes.append(start_snakemake(layout, where, {} if where.on_slurm else here))
        yield processes[-1]
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        end_leftovers(layout.build)
        slurm.end(layout)
        shutil.rmtree(scratch, ignore_errors=True)


def new_scratch(layout: Layout) -> Path:
    """A directory for the temporary files of a run; that of a run that was killed is removed."""
    note = layout.plans / "scratch.txt"
    if note.is_file() and (old := Path(note.read_text(encoding="utf-8"))).name.startswith(SCRATCH):
        shutil.rmtree(old, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH))
    note.write_text(str(scratch), encoding="utf-8")
    return scratch


def start_ready(plan: Plan, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the process that imports what the notebooks of `plan` do, and whose forks are their kernels."""
    notebooks = {plan.layout.notebook(step.experiment.study) for step in plan.to_run.values()}
    imports = imported(source for notebook in sorted(notebooks) for source, _ in code_cells(notebook))
    command = ["resnest_core.study.ready", environment[SOCKET], *imports]
    return _start(plan.layout, "kernels.log", command, {MARK: environment[MARK]})


def start_snakemake(layout: Layout, where: Executor, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start Snakemake on the plan; it remembers nothing between runs, since the plan decides what is up to date.

    Its own variable SNAKEMAKE_PROFILE adds settings, such as the account and the partition of a cluster.
    """
    own = layout.build / ".snakemake"
    shutil.rmtree(own, ignore_errors=True)
    if "XDG_CACHE_HOME" not in os.environ and not os.access(os.path.expanduser("~"), os.W_OK):
        environment = {**environment, "XDG_CACHE_HOME": str(own)}  # Snakemake insists on one
    flags = ["--keep-going", "--nolock", "--scheduler", "greedy", "--workflow-profile", "none", *where.flags]
    flags += slurm.status_flags() if where.on_slurm else []
    files = ["--snakefile", str(layout.root / "workflow" / "Snakefile"), "--directory", str(layout.build)]
    return _start(layout, "snakemake.log", ["snakemake", *files, *flags], environment)


def identity(layout: Layout) -> dict[str, str]:
    """A home and a name for a user without, as in a container that gives a number alone: programs insist on them."""
    home = {} if os.path.expanduser("~") != "~" else {"HOME": str(layout.plans / "home")}
    try:
        getpass.getuser()
    except (KeyError, OSError):
        return home | {"USER": f"user{os.getuid()}"}
    return home


def _start(layout: Layout, log: str, module: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a Python `module` with its arguments, in a session of its own: Ctrl-C is for the runner, which ends it."""
    environment = {"PYTHONPATH": str(layout.root), **environment}
    with (layout.build / log).open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", *module],
            env={
                **os.environ,
                **identity(layout),
                **huge_pages.wanted(),
                "PYTHONPATH": str(layout.root),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
