"""The set-up before the first run: what is installed when, and what is told before."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_study import Tree

from resnest_core.errors import InputError
from resnest_core.study import environment
from resnest_core.study.layout import ROOT


class Machine:
    """Stands for the commands of a machine: notes what pip is to install, makes environments of one empty file."""

    def __init__(self, root: Path) -> None:
        self.root, self.python = root, root / ".venv" / "bin" / "python"
        self.ensurepip = self.pip = self.installs = True
        self.installed: list[list[str]] = []
        for name in ("requirements.txt", "requirements.lock", "requirements-test.txt", "pyproject.toml"):
            (root / name).write_text("absent-package==1.2\n" if name.startswith("req") else "")

    def run(self, command: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
        match command[1:]:
            case ["-m", "venv", _, *without_pip]:
                well = self.ensurepip or bool(without_pip)
                self.python.parent.mkdir(parents=True, exist_ok=True)
                self.python.touch()
            case ["-m", "pip", "--python", python, "--version"]:
                well = self.pip and Path(python).exists()
            case ["-m", "pip", "--version"]:
                well = self.ensurepip and Path(command[0]).exists()
            case ["-m", "pip", *_]:
                well = self.installs
                self.installed.append(command)
            case _:
                raise AssertionError(command)
        return subprocess.CompletedProcess(command, 0 if well else 1)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setattr(environment.subprocess, "run", machine.run)
    return machine


def test_the_first_run_installs_and_the_second_does_not_ask_pip(machine: Machine) -> None:
    root, python = machine.root, str(machine.python)
    assert environment.ready_python(root, tests=False) == python
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    locked = [f"-c{root}/requirements.lock", "-e", str(root)]
    assert machine.installed == [[*pip, f"-r{root}/requirements.txt", *locked]]
    assert environment.ready_python(root, tests=False) == python
    assert len(machine.installed) == 1
    environment.ready_python(root, tests=True)
    assert machine.installed[1:] == [
        [*pip, "--quiet", f"-r{root}/requirements.txt", f"-r{root}/requirements-test.txt", *locked]
    ]
    environment.ready_python(root, tests=True)
    assert len(machine.installed) == 2


@pytest.mark.parametrize("name", ["requirements.txt", "requirements.lock", "pyproject.toml"])
def test_a_change_of_the_requirements_installs_again(machine: Machine, name: str) -> None:
    environment.ready_python(machine.root, tests=False)
    with (machine.root / name).open("a") as file:
        file.write("another==1\n")
    environment.ready_python(machine.root, tests=False)
    assert len(machine.installed) == 2


def test_an_installation_that_failed_is_an_error_and_is_tried_again(machine: Machine) -> None:
    machine.installs = False
    for _ in range(2):
        with pytest.raises(InputError, match="pip could not install"):
            environment.ready_python(machine.root, tests=False)
    assert len(machine.installed) == 2


def test_a_python_without_ensurepip_lends_its_pip(machine: Machine) -> None:
    machine.ensurepip = False
    environment.ready_python(machine.root, tests=False)
    assert machine.installed[0][:5] == [sys.executable, "-m", "pip", "--python", str(machine.python)]


def test_a_python_that_can_make_no_environment_is_an_error_of_one_line(machine: Machine) -> None:
    machine.ensurepip = machine.pip = False
    with pytest.raises(InputError, match="install python3-venv"):
        environment.ready_python(machine.root, tests=False)
    assert machine.installed == []


def test_without_a_new_enough_python_one_line_says_so(tree: Tree) -> None:
    for name in ("python3", "python", "python3.11", "python3.12", "python3.13", "python3.14"):
        tree.write(f"bin/{name}", "#!/bin/bash\nexit 1\n")
        (tree.root / "bin" / name).chmod(0o755)
    tree.environment["PATH"] = f"{tree.root}/bin:/usr/bin:/bin"
    _, errors = tree.run("--list", status=2)
    assert errors.count("\n") == 1
    assert "Python 3.11" in errors


def test_wrong_arguments_are_told_before_anything_is_installed(tree: Tree) -> None:
    tree.write("requirements.txt", "absent-package")
    for arguments, words in (
        (
            ["--profle", "x"],
            "--allow-missing, --data, --executor, --force, --help, --jobs, --list, --only, --profile, test",
        ),
        (["--profile", "defualt"], "did you mean 'default'?); valid: default"),
        (["--jobs", "0"], "'0'"),
        (["--executor", "slrm"], "did you mean 'slurm'?); valid: local, slurm"),
        (["--data", "nowhere"], "'nowhere' is not a directory"),
        (["tset"], "unknown command 'tset' (did you mean 'test'?)"),
        (["test", "--force"], "--force"),
    ):
        output, errors = tree.run(*arguments, status=2)
        assert words in errors
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        assert output == ""
    output, _ = tree.run("--help")
    assert "./run_all.sh [--profile NAME]" in output
    assert not (tree.root / ".venv").exists()


def test_the_environment_of_a_python_that_has_all_is_used(tmp_path: Path) -> None:
    requirements, lock = tmp_path / "requirements.txt", tmp_path / "lock"
    requirements.write_text("PyYAML>=1  # why\n-c other.txt\n\ntyping_extensions\n")
    versions = {name: environment.version(name) for name in ("pyyaml", "typing-extensions")}
    lock.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
    assert environment.lacking([requirements], lock) == []
    lock.write_text(f"pyyaml=={versions['pyyaml']}\ntyping-extensions==0.1\n")
    assert environment.lacking([requirements], lock) == ["typing-extensions"]


def test_torch_and_torchvision_of_two_builds_do_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").write_text("")
    monkeypatch.setattr(environment, "version", lambda name: {"torch": "2.15.0+cpu"}.get(name, "0.29.2"))
    assert environment.lacking([], tmp_path / "empty") == ["torch and torchvision of one build"]


def test_the_set_up_needs_nothing_but_the_standard_library() -> None:
    code = "import resnest_core.study.environment"
    bare = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(ROOT)!r}); {code}"])
    assert bare.returncode == 0
