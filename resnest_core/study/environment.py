"""The first step of ./run_all.sh: an environment that has everything; standard library only.

The Python that runs this is used as it is if all requirements are there in their locked versions; otherwise `.venv`
is made, or brought up to date, and used.
"""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from resnest_core.errors import InputError
from resnest_core.study.arguments import parse
from resnest_core.study.layout import ROOT
from resnest_core.texts import never_fail_to_print, printable


def main() -> int:
    never_fail_to_print()
    try:
        options = parse(sys.argv[1:])
        python = ready_python(ROOT, tests=options.command == "test")
        os.execv(python, [python, "-P", "-m", "resnest_core.study", *sys.argv[1:]])
    except (InputError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def ready_python(root: Path, tests: bool) -> str:
    """Path of a Python that has the requirements of `root`, and with `tests` those of the tests; installs if need be.

    Raises: InputError if nothing can be installed.
    """
    files = [root / "requirements.txt", *([root / "requirements-test.txt"] if tests else [])]
    if not lacking(files, root / "requirements.lock"):
        return sys.executable
    return virtual_environment(root, files)


def lacking(files: list[Path], lock: Path) -> list[str]:
    """The requirements in `files` that this Python has not, or not in the version of `lock`."""
    locked = {_name(line): line.split("==")[1] for line in _lines(lock)}
    missing = [name for file in files for name in map(_name, _lines(file)) if _installed(name) != locked.get(name, "")]
    # A CPU build of torch with the index's torchvision (or the reverse) installs and then fails on import.
    pair = {_installed(name, build=True).partition("+")[2] for name in ("torch", "torchvision")}
    return missing if len(pair) == 1 else [*missing, "torch and torchvision of one build"]


def virtual_environment(root: Path, files: list[Path]) -> str:
    """Path of the Python of `root`/.venv, with `files` installed; a stamp spares the second run the work."""
    venv = root / ".venv"
    python = venv / "bin" / "python"
    venv.mkdir(exist_ok=True)
    with _alone(venv):
        stamp = venv / f"installed.{files[-1].stem}"
        if not stamp.exists() or stamp.read_text() != _digest(root, files, python):
            _install(root, venv, files)
            stamp.write_text(_digest(root, files, python))
    return str(python)


def _install(root: Path, venv: Path, files: list[Path]) -> None:
    """Install `files` into `venv`; pip shows its progress the first time, later it would list what is there already."""
    first = not any(venv.glob("installed.*"))
    print("Installing what the study needs into .venv" + (": some minutes" if first else ""), flush=True)
    command = [*_pip(venv), "install", "--disable-pip-version-check", *([] if first else ["--quiet"])]
    requirements = [*(f"-r{file}" for file in files), f"-c{root / 'requirements.lock'}", "-e", str(root)]
    if subprocess.run([*command, *requirements]).returncode:
        raise InputError("pip could not install the requirements into .venv: see its message above, then run again")


def _pip(venv: Path) -> list[str]:
    """A pip for `venv`, which is made if need be; Debian's Python without python3-venv lends its own pip."""
    python = str(venv / "bin" / "python")
    make, own, lent = [sys.executable, "-m", "venv", str(venv)], [python, "-m", "pip"], [sys.executable, "-m", "pip"]
    if _runs([*own, "--version"]) or _runs(make):
        return own
    lent += ["--python", python]
    if _runs([*make, "--without-pip"]) and _runs([*lent, "--version"]):
        return lent
    raise InputError(f"{sys.executable} can make no virtual environment; install python3-venv (or python3-pip)")


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _digest(root: Path, files: list[Path], python: Path) -> str:
    """Changes with the requirements, with the place of the repository and with the Python behind `python`."""
    contents = [file.read_bytes() for file in (*files, root / "requirements.lock", root / "pyproject.toml")]
    return hashlib.sha256(b"\0".join([*contents, bytes(root), bytes(python.resolve())])).hexdigest()


@contextmanager
def _alone(venv: Path) -> Iterator[None]:
    with open(venv / "installing.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lines(file: Path) -> list[str]:
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def _name(line: str) -> str:
    """The distribution that a requirement names, as the index compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", line)[0]).lower()


def _installed(name: str, build: bool = False) -> str:
    """Version of the distribution `name`, or "absent"; with its local label ("+cpu") only for `build`."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return "absent"
    return found if build else found.partition("+")[0]


if __name__ == "__main__":
    raise SystemExit(main())
