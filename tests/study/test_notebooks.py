"""The parameters of a notebook, checked before papermill would let them pass."""

from typing import Any

import pytest
from small_study import Tree

from resnest_core.errors import InputError
from resnest_core.study.notebooks import read_notebook

PARAMETERS = """
out: str = "x"
epochs: float = 1
seed: int = 0  # a comment
names: list[str] = ["a"]
rule: Literal["centre_square", "resize_then_crop"] = "centre_square"
limit: int | None = None
"""


def test_annotations_and_defaults_are_read(tree: Tree) -> None:
    tree.notebook("n", PARAMETERS, "print(out)")
    notebook = read_notebook(tree.layout.notebook("n"))
    assert notebook.annotations["names"] == "list[str]"
    assert notebook.defaults["names"] == ["a"]
    assert notebook.sources == ("print(out)",)


@pytest.mark.parametrize(
    "given",
    [{"epochs": 2}, {"epochs": 0.5, "seed": 3}, {"names": ["b", "c"]}, {"rule": "resize_then_crop"}, {"limit": 1}],
)
def test_what_fits_passes(tree: Tree, given: dict[str, Any]) -> None:
    tree.notebook("n", PARAMETERS)
    read_notebook(tree.layout.notebook("n")).check(given, "experiment 's/a'")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epoch": 2}, ["s/a", "epoch", "n.ipynb", "valid: epochs, limit, names"]),
        ({"epochs": "two"}, ["s/a", "epochs", "'two'", "float"]),
        ({"seed": 1.5}, ["seed", "1.5", "int"]),
        ({"seed": True}, ["seed", "True", "int"]),
        ({"seed": "1"}, ["seed", "'1'", "int"]),
        ({"names": "b"}, ["names", "'b'", "list[str]"]),
        ({"rule": "crop"}, ["rule", "'crop'", "resize_then_crop"]),
    ],
)
def test_a_wrong_name_or_type_is_an_error(tree: Tree, given: dict[str, Any], words: list[str]) -> None:
    tree.notebook("n", PARAMETERS)
    with pytest.raises(InputError) as caught:
        read_notebook(tree.layout.notebook("n")).check(given, "experiment 's/a'")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("epochs: int = 1", "no parameter 'out: str'"),
        ("out: str = 'x'\nepochs = 1", "'epochs = 1' is no parameter"),
        ("out: str = 'x'\nepochs: int = len('x')", "must be a literal"),
        ("out: str = 'x'\nepochs: int = 'x'", "parameter epochs of n.ipynb is 'x'"),
        ("out: str = 'x'\nepochs: Numbers = 1", "'Numbers' is no type"),
        ("out: str = (", "is not Python"),
    ],
)
def test_a_notebook_with_bad_parameters_is_an_error(tree: Tree, parameters: str, words: str) -> None:
    tree.notebook("n", parameters)
    with pytest.raises(InputError, match=f"n.ipynb|{words}") as caught:
        read_notebook(tree.layout.notebook("n"))
    assert words in str(caught.value)


def test_a_cell_that_is_not_python_is_an_error(tree: Tree) -> None:
    tree.notebook("n", PARAMETERS, "x = (")
    with pytest.raises(InputError, match=r"n\.ipynb' is not Python"):
        read_notebook(tree.layout.notebook("n"))


def test_a_file_that_is_no_notebook_is_an_error(tree: Tree) -> None:
    tree.write("notebooks/n.ipynb", "print(1)")
    with pytest.raises(InputError, match=r"n\.ipynb' is no Jupyter notebook"):
        read_notebook(tree.layout.notebook("n"))
