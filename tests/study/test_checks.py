"""`./run_all.sh test`, without running what it runs."""

import subprocess

import pytest

from resnest_core.study import checks
from resnest_core.study.layout import ROOT


def test_every_check_runs_and_those_that_fail_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    failing = {"ruff", "pytest"}

    def run(command: list[str], cwd: object) -> subprocess.CompletedProcess[str]:
        ran.append(command[3])
        return subprocess.CompletedProcess(command, int(command[3] in failing))

    monkeypatch.setattr(checks.subprocess, "run", run)
    assert checks.run_checks(ROOT) == 1
    assert ran == ["ruff", "ruff", "mypy", "nbstripout", "pytest"]
    assert capsys.readouterr().out.splitlines()[-1] == "failed: ruff check, ruff format, pytest"
    failing.clear()
    assert checks.run_checks(ROOT) == 0


def test_all_notebooks_are_checked_and_ci_calls_the_same_command() -> None:
    command = checks.commands(ROOT)["nbstripout"]
    for name in ("notebooks/base_results.ipynb", "notebooks/efficiency.ipynb", "report/article.ipynb"):
        assert name in command
    assert "run_all.sh" in (ROOT / ".ci/run").read_text()
    help_text = subprocess.run([ROOT / "run_all.sh", "--help"], capture_output=True, text=True, check=True).stdout
    assert "./run_all.sh test" in help_text
