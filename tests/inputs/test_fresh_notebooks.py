"""Notebooks where nothing has run yet: small runs of their own, a directory for each setting, errors of one line."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import papermill
import pytest
from IPython.core.interactiveshell import InteractiveShell
from repository import ROOT, copy_repository

from resnest_core import parameters, places, ranges
from resnest_core.errors import InputError
from resnest_core.experiments import small
from resnest_core.study.notebooks import read_notebook

STUDIES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem != "explore")
FEW: dict[str, Any] = {"device": "cpu", "limit": 20, "train_limit": 64, "epochs": 0.0, "train_batch_size": 32}
SMALLEST: dict[str, dict[str, Any]] = {
    "efficiency": {"networks": ["mini_resnest11", "mini_resnetd11"], "crop_size": 28, "rounds": 1},
    "frontier": {"batch_size": 8, "rounds": 2},
    "modes": {"batch_size": 8, "rounds": 2, "trial_seconds": 0.01},
    "attention": {"limit": 60},
    "robustness": {"limit": 40},
    "saliency": {"limit": 40},
    "preprocessing": {"sizes": [24, 28]},
    "object_detection": {"train_batch_size": 4},
    "instance_segmentation": {"train_batch_size": 4},
    "semantic_segmentation": {"train_batch_size": 4},
}
READERS = [study for study in STUDIES if "runs" in read_notebook(ROOT / "notebooks" / f"{study}.ipynb").annotations]


def cells(study: str) -> list[str]:
    """The sources of a notebook's code cells."""
    notebook = json.loads((ROOT / "notebooks" / f"{study}.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _literal(value: Any) -> str:
    """As papermill writes it."""
    return f"float('{value}')" if isinstance(value, float) else repr(value)


def begun(study: str, **given: Any) -> dict[str, Any]:
    """The globals of a notebook after its parameters and `begin`, as IPython has them with papermill's own cell."""
    lines = [f"{name} = {_literal(value)}\n" for name, value in given.items()]
    injected = ["".join(["# Parameters\n", *lines])] if given else []
    ran = [cells(study)[0], *injected]
    names: dict[str, Any] = {"In": ["", "%matplotlib inline", *ran], "display": lambda shown: None}
    for cell in ran:
        exec(cell, names)
    parameters.begin(study, names)
    return names


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root without build/, in which small runs are made once."""
    root = tmp_path_factory.mktemp("fresh clone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "ROOT", root)
        patch.setattr(small, "TRAINING", 640)
        patch.setattr(small, "TEST", 200)
        yield root


@pytest.mark.parametrize("study", STUDIES)
def test_it_runs_from_top_to_bottom_where_nothing_has_run(
    study: str, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    declared = read_notebook(ROOT / "notebooks" / f"{study}.ipynb").annotations
    few = {name: value for name, value in {**FEW, **SMALLEST.get(study, {})}.items() if name in declared}
    names = begun(study, **few)
    for cell in cells(study)[1:]:
        exec(cell, names)
        plt.close("all")
    out = Path(names["out"])
    assert out.parent == Path("build/notebooks") / study
    assert (clone / out / "result.json").is_file()
    stored = json.loads((out / "result.json").read_text())["parameters"]
    if study in READERS:
        assert stored["runs"] == [f"build/notebooks/small_runs/{Path(run).name}" for run in stored["runs"]]


def test_the_analyses_were_tried() -> None:
    assert len(READERS) == 8
    assert len(STUDIES) == 15


def test_small_runs_are_made_once(clone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (run,) = small.small_runs("mini_resnetd11")
    assert run == str(clone / "build/notebooks/small_runs/mini_resnetd11")
    before = (Path(run) / "result.json").stat().st_mtime_ns
    monkeypatch.chdir(clone)
    assert small.small_runs("mini_resnetd11") == ["build/notebooks/small_runs/mini_resnetd11"]
    assert (Path(run) / "result.json").stat().st_mtime_ns == before


class TestOut:
    def test_changed_parameters_have_another_directory(self, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(clone)
        changes: list[dict[str, Any]] = [{}, {"epochs": 2.0}, {"seed": 1}, {"data": "x"}, {"model": "mini_resnetd11"}]
        found = [begun("base_results", **change)["out"] for change in changes]
        assert len(set(found)) == len(changes)
        assert found == [begun("base_results", **change)["out"] for change in changes], "and always the same one"

    def test_a_cell_that_runs_again_follows_what_was_changed(
        self, clone: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(clone)
        names = begun("base_results")
        first = names["out"]
        names["epochs"] = 2.0
        parameters.begin("base_results", names)
        assert names["out"] not in ("", first)
        assert names["out"] == begun("base_results", epochs=2.0)["out"]

    def test_what_is_given_stays(self, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(clone)
        assert begun("base_results", out="mine")["out"] == "mine"

    def test_it_lies_in_the_project_wherever_the_notebook_was_opened(
        self, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert Path(begun("errors")["out"]).parent == clone / "build/notebooks/errors"


def test_places_are_seen_from_the_notebook_or_else_from_the_root(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert begun("errors", runs=["mine", "build/a"])["runs"] == [str(tmp_path / "mine"), str(clone / "build/a")]
    seen = begun("base_results", data="s3://bucket/x", weights="build/a/weights.safetensors")
    assert (seen["data"], seen["weights"]) == ("s3://bucket/x", str(clone / "build/a/weights.safetensors"))


WRONG = [
    ({"epochs": "abc"}, "parameter epochs of base_results.ipynb is 'abc'; valid: float, a number from 0 to 10,000"),
    ({"epochs": float("inf")}, "parameter epochs of base_results.ipynb is inf; valid: float, a number from 0 to"),
    ({"seed": 2**64}, "parameter seed of base_results.ipynb is 18446744073709551616; valid: int, a whole number"),
    ({"limit": 1.5}, "parameter limit of base_results.ipynb is 1.5; valid: int"),
    ({"augment": "yes"}, "parameter augment of base_results.ipynb is 'yes'; valid: bool"),
    ({"model": 3}, "parameter model of base_results.ipynb is 3; valid: str"),
    ({"epoch": 3}, "unknown parameter of base_results.ipynb 'epoch' (did you mean 'epochs'?); valid: augment"),
]


@pytest.mark.parametrize(("given", "line"), WRONG)
def test_a_wrong_parameter_is_the_line_of_the_study(given: dict[str, Any], line: str) -> None:
    for check in (by_hand, in_study):
        with pytest.raises(InputError) as caught:
            check(given)
        assert line in str(caught.value)
        assert "\n" not in str(caught.value)


def by_hand(given: dict[str, Any]) -> None:
    begun("base_results", **given)


def in_study(given: dict[str, Any]) -> None:
    read_notebook(ROOT / "notebooks/base_results.ipynb").check(given, "experiment 's/a'")


@pytest.mark.parametrize("study", STUDIES)
def test_every_number_of_every_notebook_has_a_range(study: str) -> None:
    notebook = read_notebook(ROOT / "notebooks" / f"{study}.ipynb")
    numbers = {name for name, kind in notebook.annotations.items() if kind in ("int", "float", "list[int]")}
    for name in numbers:
        valid = ranges.range_of(name, study)
        for value in (-1, 2**70, float("nan"), float("inf")):
            wrong = [value] if notebook.annotations[name].startswith("list") else value
            with pytest.raises(InputError, match=f"parameter {name} of {study}.ipynb is .*; valid: .*"):
                notebook.check({name: wrong}, "experiment 's/a'")
        assert str(valid)


def test_every_notebook_begins_with_the_check_of_its_own() -> None:
    for study in STUDIES:
        body = ast.parse(cells(study)[1]).body
        begins = [node.value for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
        assert ast.unparse(begins[0]) == f"begin('{study}', globals())"


def test_a_refusal_is_one_line_in_a_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    shell = InteractiveShell()
    shell.run_cell("from resnest_core.errors import InputError\nraise InputError('x is 1; valid: 2')")
    assert capsys.readouterr().out == "error: x is 1; valid: 2\n"


def test_plain_papermill_opened_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy_repository(tmp_path / "a copy")
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    papermill.execute_notebook(
        root / "notebooks" / "calibration.ipynb",
        tmp_path / "executed.ipynb",
        kernel_name="python3",
        cwd=root / "notebooks",
        progress_bar=False,
    )
    (result,) = (root / "build/notebooks/calibration").glob("*/result.json")
    runs = json.loads(result.read_text())["parameters"]["runs"]
    assert runs == [str(root / "build/notebooks/small_runs/mini_resnest11")]
