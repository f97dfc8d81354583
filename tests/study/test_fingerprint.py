"""Which code a notebook depends on."""

from pathlib import Path

import pytest

from resnest_core.errors import InputError
from resnest_core.study.fingerprint import Code, notebook_digest

PACKAGE = {
    "__init__.py": """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from resnest_core.typed import T
from resnest_core.eager import constant

def __getattr__(name):
    from resnest_core import models
    return getattr(models, name)
""",
    "eager.py": "constant = 1",
    "typed.py": "T = int",
    "models/__init__.py": "from resnest_core.models.resnet import build as create_model",
    "models/resnet.py": "from ..layers import block\nimport numpy as np",
    "layers.py": "block = 1",
    "training.py": "def train():\n    from resnest_core import data\n    return data.open_dataset()",
    "data/__init__.py": 'NAMES = {"imagenet": ".imagenet"}\ndef open_dataset():\n    return 1',
    "data/imagenet.py": "import resnest_core.data.base as b\ntable = 'synsets.txt'",
    "data/base.py": "x = 1",
    "data/synsets.txt": "n01440764",
    "cli.py": 'target = "resnest_core.training:train"',
    "unrelated.py": "import resnest_core.training",
}
ALWAYS = {"__init__.py", "eager.py"}
MODELS = {"models/__init__.py", "models/resnet.py", "layers.py"}
DATA = {"data/__init__.py", "data/imagenet.py", "data/base.py", "data/synsets.txt"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in PACKAGE.items():
        (tmp_path / "resnest_core" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "resnest_core" / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy", set()),
        ("import resnest_core", ALWAYS),
        ("import resnest_core as rc\nprint()\nrc.create_model('x')", ALWAYS | MODELS),
        ("from resnest_core import create_model", ALWAYS | MODELS),
        ("import resnest_core.layers", ALWAYS | {"layers.py"}),
        ("import resnest_core as rc\nrc.layers.block", ALWAYS | {"layers.py"}),
        ("from resnest_core import layers", ALWAYS | {"layers.py"}),
        ("def f():\n    from resnest_core import layers", ALWAYS | {"layers.py"}),
        ("from resnest_core.data import base", ALWAYS | {"data/__init__.py", "data/base.py"}),
        ("from resnest_core.data import open_dataset", ALWAYS | DATA),
        ("from resnest_core import data\ndata.open_dataset()", ALWAYS | DATA),
        ("import resnest_core.data\nresnest_core.data.open_dataset()", ALWAYS | DATA),
        ("%time import resnest_core.layers\n!ls\nfrom resnest_core import training", ALWAYS | DATA | {"training.py"}),
        ("from resnest_core.cli import target", ALWAYS | DATA | {"cli.py", "training.py"}),
    ],
)
def test_imports_are_followed_wherever_they_stand(root: Path, source: str, expected: set[str]) -> None:
    assert Code(root).digests([source]).keys() == expected


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("x = 1", "# why\nx  =  1  # so", True),
        ("def f():\n    return 1", 'def f():\n    """Doc."""\n    return 1', True),
        ("class A:\n    pass", 'class A:\n    """Doc."""', True),
        ("x: int = 1", 'x: int = 1\n"""What x is."""', True),
        ("x = 1", "x = 2", False),
        ("def f():\n    return 'a'", "def f():\n    return 'b'", False),
        ("if x:\n    f()", "if x:\n    f()\nelse:\n    g()", False),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(root: Path, old: str, new: str, same: bool) -> None:
    digests = []
    for text in (old, new):
        (root / "resnest_core/layers.py").write_text(text)
        digests.append(Code(root).digests(["import resnest_core.layers"])["layers.py"])
    assert (digests[0] == digests[1]) == same


def test_data_files_that_a_module_names_count(root: Path) -> None:
    before = Code(root).digests(["import resnest_core.data.imagenet"])["data/synsets.txt"]
    (root / "resnest_core/data/synsets.txt").write_text("other")
    assert Code(root).digests(["import resnest_core.data.imagenet"])["data/synsets.txt"] != before


def test_comments_of_a_notebook_do_not_count_but_its_magics_do() -> None:
    assert notebook_digest(["f(1)  # so", ""]) == notebook_digest(["# why\nf(1)", "# nothing"])
    assert notebook_digest(["%time f()"]) != notebook_digest(["%timeit f()"])


def test_code_that_is_not_python_is_an_error_that_names_it(root: Path) -> None:
    (root / "resnest_core/layers.py").write_text("def f(:\n")
    with pytest.raises(InputError, match=r"layers\.py is not Python"):
        Code(root).digests(["import resnest_core.layers"])
