"""Trees of the small study: one in which nothing has run, and copies of one that is finished."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_study import Tree, plant


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A tree in which nothing has run; at the end no process of its runs is left."""
    tree = plant(tmp_path / "a tree")
    yield tree
    for process in [*tree.started, *tree.processes()]:
        process.kill()


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, str]:
    """A tree whose study has run to the end, not to be changed, and what the run printed."""
    tree = plant(tmp_path_factory.mktemp("finished") / "a tree")
    return tree, tree.run()[0]


@pytest.fixture
def finished(first_run: tuple[Tree, str], tmp_path: Path) -> Tree:
    """A copy of the finished tree."""
    copy: Callable[..., object] = shutil.copytree
    copy(first_run[0].root, tmp_path / "a tree")
    return Tree(tmp_path / "a tree")
