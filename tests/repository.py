"""A copy of the repository as a user has it after cloning, to run the study in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ["run_all.sh", "pyproject.toml", "requirements.txt", "requirements-test.txt", "requirements.lock", "README.md"]
FOLDERS = ["resnest_core", "notebooks", "profiles", "report", "workflow", "data"]


def copy_repository(to: Path) -> Path:
    """Copy code, notebooks, profiles, report and data to `to`."""
    to.mkdir()
    for name in PARTS:
        shutil.copy2(ROOT / name, to / name)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, to / name, ignore=ignored)
    return to


def run_all(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`./run_all.sh` with the Python that runs the tests first in the path, so that nothing is installed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(root / "run_all.sh"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "PATH": path},
        check=False,
    )
