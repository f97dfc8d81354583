"""`./run_all.sh test`: the checks of code and notebooks, then the tests."""

import subprocess
import sys
from pathlib import Path

from resnest_core.study.arguments import cores

MOST_WORKERS = 4  # of the tests: each can take 3 GiB
STRIPPED = "metadata.papermill cell.metadata.papermill metadata.language_info"


def commands(root: Path) -> dict[str, list[str]]:
    """Each check's command, by name."""
    notebooks = sorted(
        str(path.relative_to(root)) for folder in ("notebooks", "report") for path in (root / folder).glob("*.ipynb")
    )
    python = [sys.executable, "-P", "-m"]
    side_by_side = ["-n", str(min(cores(), MOST_WORKERS)), "--dist", "loadfile", "--no-loadscope-reorder"]
    return {
        "ruff check": [*python, "ruff", "check", "."],
        "ruff format": [*python, "ruff", "format", "--check", "."],
        "mypy": [*python, "mypy"],
        "nbstripout": [*python, "nbstripout", "--verify", "--extra-keys", STRIPPED, *notebooks],
        "pytest": [*python, "pytest", "-q", *side_by_side],
    }


def run_checks(root: Path) -> int:
    """Run all checks, whatever their outcome; returns 0 if every one passed, else 1."""
    failed = []
    for name, command in commands(root).items():
        print(f"== {name}", flush=True)
        if subprocess.run(command, cwd=root).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all checks and tests passed")
    return int(bool(failed))
