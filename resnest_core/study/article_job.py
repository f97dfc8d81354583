"""The last job: a profile's article and the site around it. `python -m resnest_core.study.article_job PLANFILE`."""

import json
import subprocess
import sys
import time
from pathlib import Path

from resnest_core.files import write_json
from resnest_core.programs import run_program
from resnest_core.study.events import tell
from resnest_core.study.fingerprint import PACKAGE
from resnest_core.study.layout import Layout
from resnest_core.study.processes import die_with_parent
from resnest_core.study.state import results

PROGRAMS = ("article", "site")  # packages that are run, in this order: the site links to the article


def main(plan_file: str) -> int:
    die_with_parent()
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    layout = Layout(plan["profile"])
    state = {"wanted": plan["wanted"], "results": results(layout, plan["reported"])}
    started = time.monotonic()
    tell(layout, "started", "article")
    for program in PROGRAMS:
        log = layout.build / f"{program}.log"
        if status := run(layout, program, log):
            last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [f"status {status}"])[-1]
            tell(layout, "failed", "article", line=f"{program}: {last} (log: {layout.relative(log)})")
            return 1
    seconds = time.monotonic() - started
    write_json(layout.state_file("article"), {**state, "finished": {"seconds": seconds}})
    tell(layout, "finished", "article", seconds=seconds, score="")
    return 0


def run(layout: Layout, program: str, log: Path) -> int:
    """Run a package of the core as a program on the build directory; what it says goes to `log`."""
    command = [sys.executable, "-P", "-m", f"{PACKAGE}.{program}", str(layout.build)]
    with log.open("w") as file:
        done = subprocess.run(command, cwd=layout.root, stdout=file, stderr=file, preexec_fn=die_with_parent)
    return done.returncode


if __name__ == "__main__":
    run_program(lambda: main(*sys.argv[1:]))
