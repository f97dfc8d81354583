"""The job of one experiment: papermill runs its notebook. `python -m resnest_core.study.execute PLANFILE THREADS`."""

import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resnest_core.files import sha256, write_json
from resnest_core.study.events import tell
from resnest_core.study.layout import Layout
from resnest_core.study.processes import die_with_parent
from resnest_core.study.ready import SOCKET, write_kernel_specification
from resnest_core.study.state import State, can_go_on, files, read_state, results

LONGEST_SOCKET = 90  # characters of its directory
# Slow to import: jsonschema's formats of IRIs and of durations, papermill's way to the file system of Hadoop.
NEEDLESS = ("rfc3987_syntax", "isoduration", "pyarrow.fs")
SLURM_JOB = "SLURM_JOB_ID"
START = 300  # seconds that a kernel may take to start, on a busy machine


SCORES = {"top1": "top-1", "mIoU": "mIoU", "mask_AP": "mask AP", "box_AP": "box AP"}
TASKS = {"view": "mIoU", "category_ids": "box AP"}  # the score of results that have such a parameter


def main(plan_file: str, threads: str) -> int:
    die_with_parent()
    job = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    layout, key, started = Layout(job["profile"]), job["key"], time.monotonic()
    tell(layout, "started", key)
    try:
        state = prepare(layout, job)
        run_notebook(layout, job, int(threads))
        result = read_result(layout, key)
        seconds = time.monotonic() - started
        finished = {"result": sha256(layout.result(key)), "files": files(layout.out(key)), "seconds": seconds}
        write_json(layout.state_file(key), {**state, "finished": finished})
    except Exception as error:
        logging.getLogger(__name__).exception("%s failed", key)
        notebook = layout.relative(layout.out(key) / "notebook.ipynb")
        tell(layout, "failed", key, line=f"{key}: {describe(error, layout, job)} (executed notebook: {notebook})")
        return 1
    tell(layout, "finished", key, seconds=seconds, score=score(result))
    return 0


def score(result: dict[str, Any]) -> str:
    """The first of the well-known scores that a result has, for the line in which it is announced."""
    found = ((label, result["metrics"][name]["value"]) for name, label in SCORES.items() if name in result["metrics"])
    return next((f", {label} {value:.2f} %" for label, value in found), undefined_score(result.get("parameters", {}), ", "))


def undefined_score(parameters: Mapping[str, Any], before: str = "") -> str:
    """What is said of a result without its task's score, after no pixel or object that counts; else nothing."""
    return next((f"{before}{label} undefined" for name, label in TASKS.items() if name in parameters), "")


def prepare(layout: Layout, job: dict[str, Any]) -> State:
    """Make the experiment's directory ready: as a killed run of the same plan left it, or else empty."""
    key, out = job["key"], layout.out(job["key"])
    state = {"wanted": job["wanted"], "results": results(layout, job["needs"]), "finished": None}
    if not can_go_on(read_state(layout.state_file(key)), state["wanted"], state["results"]):
        layout.state_file(key).unlink(missing_ok=True)  # first: half a directory must not look like one to go on with
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        write_json(layout.state_file(key), state)
    log = os.open(out / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    job_of_slurm = f", Slurm's job {os.environ[SLURM_JOB]}" if SLURM_JOB in os.environ else ""
    logging.getLogger(__name__).info("%s on %s%s", key, socket.gethostname(), job_of_slurm)
    return state


def run_notebook(layout: Layout, job: dict[str, Any], threads: int) -> None:
    """Execute an experiment's notebook in the root of the repository; raises what papermill raises."""
    execute_notebook(
        layout.root / job["notebook"],
        layout.out(job["key"]) / "notebook.ipynb",
        job["parameters"],
        layout.root,
        threads,
        language="python",
        start_timeout=START,
        execution_timeout=job["timeout"],
    )


def execute_notebook(
    notebook: Path, executed: Path, parameters: dict[str, Any], directory: Path, threads: int, **options: Any
) -> None:
    """Run papermill on `notebook` with a kernel of its own in `directory`; `options` and errors are papermill's."""
    absent = {module for module in NEEDLESS if module not in sys.modules}
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # whoever imports them does without
    import papermill

    for module in absent:
        del sys.modules[module]  # what else this process does may need them
    from traitlets.config import Config

    with kernel_environment(threads) as sockets:
        # Of the kernel's transports only ipc is out of reach for other users; a socket's path has at most 107 bytes.
        transport = {"transport": "ipc", "ip": f"{sockets}/kernel"} if len(sockets) < LONGEST_SOCKET else {}
        papermill.execute_notebook(
            notebook,
            executed,
            parameters=parameters,
            kernel_name="python3",
            cwd=directory,
            progress_bar=False,
            config=Config({"KernelManager": transport}),
            **options,
        )


@contextmanager
def kernel_environment(threads: int) -> Iterator[str]:
    """Set what a kernel inherits; yield a directory for its connection and history, which no other kernel shares."""
    with tempfile.TemporaryDirectory() as own:
        os.environ |= {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
        os.environ |= {"JUPYTER_RUNTIME_DIR": own, "IPYTHONDIR": own, "JUPYTER_PREFER_ENV_PATH": "1"}
        if SOCKET in os.environ:
            write_kernel_specification(Path(own))
            os.environ["JUPYTER_PATH"] = own
        yield own


def read_result(layout: Layout, key: str) -> dict[str, Any]:
    """The experiment's result.json, which must be there."""
    try:
        return dict(json.loads(layout.result(key).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RuntimeError("the notebook ended without a result.json") from None


def describe(error: Exception, layout: Layout, job: dict[str, Any]) -> str:
    """An error of a job in a line: the cell, the error's name, its message."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import PapermillExecutionError

    match error:
        case PapermillExecutionError():
            cell, name, message = error.exec_count, error.ename, error.evalue
        case DeadKernelError():
            cell, name = last_cell(layout, job), "DeadKernelError"
            message = "its kernel was killed, as the system does when memory runs out (then give fewer --jobs)"
        case CellTimeoutError():
            cell, name, message = last_cell(layout, job), "CellTimeoutError", f"longer than {job['timeout']} s"
        case _:
            cell, name, message = last_cell(layout, job), type(error).__name__, str(error)
    where = f"cell {cell}: " if cell else ""
    return f"{where}{name}: {' '.join(message.split())}"


def last_cell(layout: Layout, job: dict[str, Any]) -> int:
    """Number of the last code cell that was begun, as JupyterLab counts them; 0 if none was."""
    try:
        cells = json.loads((layout.out(job["key"]) / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    except (FileNotFoundError, ValueError):
        return 0
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return sum(bool(cell["metadata"].get("papermill", {}).get("start_time")) for cell in code)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
