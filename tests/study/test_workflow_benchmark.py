"""The benchmark of the workflow on the small study: what it counts, never how fast."""

import json
import subprocess
from pathlib import Path

import pytest
from commands import run_command
from small_study import Tree

from benchmarks import workflow


@pytest.fixture
def committed(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """The small study as the repository whose last commit is measured."""
    git = ["git", "-C", str(tree.root), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(workflow, "ROOT", tree.root)
    return tree


def test_a_profile_is_run_from_the_beginning_for_each_number_of_jobs(committed: Tree, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "new" / "workflow.json")]
    assert "base/a finished" in run_command(workflow.main, *out, "--jobs", "2", "--jobs", "1")
    found = json.loads((tmp_path / "new" / "workflow.json").read_text())
    assert [row["jobs"] for row in found["rows"]] == [2, 1]
    for row in found["rows"]:
        assert row["experiments"] == 5
        assert set(row["seconds_of_jobs"]) == {"base", "sizes", "article"}
        assert row["times_as_fast"] == found["rows"][0]["seconds"] / row["seconds"]
    assert not (committed.root / "build").exists()


def test_a_run_that_fails_is_no_measurement(committed: Tree, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="the run ended with status 2"):
        workflow.main(tmp_path / "workflow.json", "missing", [1])
    assert not (tmp_path / "workflow.json").exists()
