"""The commit of a result is that of these sources, or none; what git refuses is told from what is no clone."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from resnest_core import provenance
from resnest_core.article.protocol import _origin
from resnest_core.provenance import THIS_FILE, Commit, _commit

IDENTITY = ("-c", "user.email=a@b", "-c", "user.name=x", "-c", "protocol.file.allow=always")


def git(place: Path, *arguments: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *IDENTITY, "-C", str(place), *arguments]
    return subprocess.run(command, env=clean, check=True, capture_output=True, text=True).stdout.strip()


def sources(place: Path) -> Path:
    """The project's sources, as an archive holds them."""
    (place / THIS_FILE).parent.mkdir(parents=True)
    (place / THIS_FILE).write_text("x = 1\n")
    (place / ".gitignore").write_text("build/\n")
    return place


def repository(place: Path) -> Path:
    """A repository of whatever is in `place`."""
    place.mkdir(exist_ok=True)
    git(place, "init", "--quiet")
    git(place, "add", ".")
    git(place, "commit", "--quiet", "--allow-empty", "--message", "all")
    return place


def clone(tmp: Path) -> Path:
    return repository(sources(tmp / "project"))


def inside_another(tmp: Path) -> Path:
    return sources(repository(tmp / "paper") / "project")


def installed_inside_another(tmp: Path) -> Path:
    return sources(repository(tmp / "paper") / ".venv/lib/python3/site-packages")


def at_the_top_of_another(tmp: Path) -> Path:
    shutil.copytree(sources(tmp / "archive"), repository(tmp / "paper"), dirs_exist_ok=True)
    return tmp / "paper"


def vendored(tmp: Path) -> Path:
    """A part of another repository, whose commits are not the project's."""
    sources(tmp / "paper" / "project")
    return repository(tmp / "paper") / "project"


def with_an_empty_git_folder(tmp: Path) -> Path:
    place = sources(clone(tmp) / "copy")
    (place / ".git").mkdir()
    return place


def without_a_commit(tmp: Path) -> Path:
    git(sources(tmp / "project"), "init", "--quiet")
    return tmp / "project"


def worktree(tmp: Path) -> Path:
    git(clone(tmp), "worktree", "add", "--quiet", str(tmp / "tree"))
    return tmp / "tree"


def submodule(tmp: Path) -> Path:
    git(repository(tmp / "paper"), "submodule", "--quiet", "add", str(clone(tmp)), "project")
    return tmp / "paper" / "project"


def linked(tmp: Path) -> Path:
    (tmp / "link").symlink_to(clone(tmp))
    return tmp / "link"


def with_build(tmp: Path) -> Path:
    (clone(tmp) / "build").mkdir()
    (tmp / "project/build/result.json").write_text("{}")
    return tmp / "project"


def changed(tmp: Path) -> Path:
    (clone(tmp) / THIS_FILE).write_text("x = 2\n")
    return tmp / "project"


def with_a_new_file(tmp: Path) -> Path:
    (clone(tmp) / "new.py").write_text("x = 1\n")
    git(tmp / "project", "config", "status.showUntrackedFiles", "no")
    return tmp / "project"


def of_another_user(tmp: Path) -> Path:
    place = clone(tmp)
    if os.geteuid() == 0:  # else the test of the message below is all there is
        for path in [place, *place.rglob("*")]:
            os.chown(path, 4321, 4321)
    return place


NONE = [
    inside_another,
    installed_inside_another,
    at_the_top_of_another,
    vendored,
    with_an_empty_git_folder,
    without_a_commit,
    lambda tmp: sources(tmp / "project"),
]
OWN = {
    **dict.fromkeys([clone, worktree, submodule, linked, with_build, of_another_user], True),
    **dict.fromkeys([changed, with_a_new_file], False),
}


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Commit]:
    def at(root: Path) -> Commit:
        monkeypatch.setattr(provenance, "ROOT", root.resolve())
        return _commit()

    return at


@pytest.mark.parametrize("make", NONE, ids=lambda make: make.__name__)
def test_sources_that_are_no_clone_have_no_commit(
    make: Callable[[Path], Path], tmp_path: Path, ask: Callable[[Path], Commit]
) -> None:
    assert ask(make(tmp_path)) == Commit()
    assert _origin(Commit()._asdict()) == "a copy of the sources without version control"


@pytest.mark.parametrize(("make", "clean"), OWN.items(), ids=[make.__name__ for make in OWN])
def test_a_clone_has_its_own(
    make: Callable[[Path], Path],
    clean: bool,
    tmp_path: Path,
    ask: Callable[[Path], Commit],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = make(tmp_path)
    expected = next((tmp_path / "project/.git/refs/heads").glob("ma*")).read_text().strip()
    other = repository(tmp_path / "other")
    for variables in ({}, {"GIT_DIR": ".git"}, {"GIT_WORK_TREE": "."}, {"GIT_INDEX_FILE": ".git/index"}):
        with monkeypatch.context() as hook:
            for name, value in variables.items():
                hook.setenv(name, str(other / value))
            assert ask(place) == Commit(expected, clean), variables


SAID = {
    "fatal: detected dubious ownership in repository at '/x'\\nTo add an exception, run": "dubious ownership",
    "fatal: unsafe repository ('/x' is owned by someone else)": "dubious ownership",
    "fatal: bad object database": "bad object database",
    "": "no reason",
}


@pytest.mark.parametrize(("said", "reason"), SAID.items())
def test_what_git_refuses_is_said(
    said: str, reason: str, tmp_path: Path, ask: Callable[[Path], Commit], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, script = clone(tmp_path), tmp_path / "bin/git"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nprintf "{said}" >&2\nexit 128\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    found = ask(place)
    assert found == Commit(git=f"git refuses: {reason}")
    assert reason in _origin(found._asdict())
    assert "without version control" not in _origin(found._asdict())


def test_without_git_a_clone_says_so(
    tmp_path: Path, ask: Callable[[Path], Commit], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = clone(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask(place) == Commit(git="git cannot be run: No such file or directory")
