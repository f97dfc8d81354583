"""The tiny runs, made once, and copies of them that a test may damage."""

import shutil
from pathlib import Path

import pytest
from tiny_runs import make


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build directory with the tiny runs, not to be changed."""
    path = tmp_path_factory.mktemp("study") / "build"
    make(path)
    return path


@pytest.fixture
def copied(build: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(build, tmp_path / "build"))
