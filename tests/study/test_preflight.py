"""What is said to be missing before any work."""

import shutil
from types import SimpleNamespace

import pytest
from small_study import Tree

from resnest_core import checkpoints, data
from resnest_core.errors import InputError
from resnest_core.study import preflight
from resnest_core.study.preflight import Missing

PROFILE = """
description: x
studies:
  sizes:
    parameters: {weights: published, dataset: noise}
    experiments:
      - {name: "{model}_{batch_size}", grid: {model: [a, b], batch_size: [1, 2]}}
      - {name: own, parameters: {weights: own.pth, dataset: ""}}
      - {name: nothing, parameters: {weights: "", dataset: ""}}
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The weights of b and the data set are not there; what is asked for."""
    calls: list[tuple[str, str]] = []

    def resolve(source: str, name: str) -> None:
        calls.append((str(source), name))
        if name == "b":
            raise InputError("the weights of b are not here: fetch b")

    def open_dataset(name: str, root: str | None) -> None:
        print("noise on the terminal")
        calls.append((name, str(root)))
        raise InputError("noise needs a directory; get it there")

    monkeypatch.setattr(checkpoints, "resolve", resolve)
    monkeypatch.setattr(data, "open_any", open_dataset)
    return calls


def test_each_thing_is_asked_for_once_and_all_that_is_missing_is_listed(
    tree: Tree, asked: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    tree.write("profiles/default.yaml", PROFILE)
    found = preflight.missing(tree.plan())
    four = tuple(f"sizes/{name}" for name in ("a_1", "a_2", "b_1", "b_2"))
    assert found == [
        Missing("data set noise", "noise needs a directory; get it there", four),
        Missing("weights of b", "the weights of b are not here: fetch b", four[2:]),
    ]
    own = (str(tree.root / "own.pth"), "a")
    assert sorted(asked) == sorted([("noise", "None"), ("published", "a"), ("published", "b"), own])
    assert capsys.readouterr().out == ""
    assert preflight.listed(found).splitlines() == [
        "Missing:",
        "- noise needs a directory; get it there [for sizes/a_1 and 3 more]",
        "- the weights of b are not here: fetch b [for sizes/b_1 and 1 more]",
    ]
    reasons = preflight.reasons(found)
    assert reasons["sizes/b_1"] == "data set noise and weights of b"
    assert reasons["sizes/a_1"] == "data set noise"


def test_what_is_up_to_date_needs_nothing(finished: Tree, asked: list[tuple[str, str]]) -> None:
    assert preflight.missing(finished.plan()) == []
    assert asked == []


def test_a_full_disk_is_found_before_any_work(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4e6))
    with pytest.raises(InputError, match=r"4 MB free, and 5 experiments may take 250 MB"):
        preflight.check_space(tree.plan())
