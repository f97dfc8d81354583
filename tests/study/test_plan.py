"""Why an experiment runs again, and that nothing else does, on copies of a study that has run."""

import json
import os

import pytest
from small_study import Tree

from resnest_core.errors import InputError
from resnest_core.study import plan as plan_module
from resnest_core.study.layout import Layout
from resnest_core.study.plan import make_plan, write_plan
from resnest_core.study.resources import Executor
from resnest_core.study.state import differences

HERE = Executor("local", 2, 2, 1000)
TRAINING, EVALUATION = "resnest_core/training.py", "resnest_core/evaluation.py"


def test_nothing_runs_that_did_not_change(finished: Tree) -> None:
    for path in finished.root.rglob("*.*"):
        os.utime(path)
    finished.replace(TRAINING, '"""Docstring."""', '"""Another."""  # and a comment')
    finished.replace("notebooks/base.ipynb", "import resnest_core as rc", "import resnest_core as rc  # why")
    finished.write("resnest_core/plots.py", "nobody_imports_this = 1")
    finished.write("resnest_core/other.py", "nor_this = 1")
    assert finished.reasons() == {}
    assert finished.plan().article_reason is None


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (
            ("profiles/default.yaml", "epochs: 3", "epochs: 4"),
            {"base/c": "parameters changed: epochs 3 -> 4"},
        ),
        (
            ("profiles/default.yaml", "batch_size: 16", "batch_size: 32"),
            dict.fromkeys(("sizes/of_a", "sizes/of_b"), "parameters changed: batch_size 16 -> 32"),
        ),
        (
            ("notebooks/sizes.ipynb", "evaluate(out,", "evaluate( out + '',"),
            dict.fromkeys(("sizes/of_a", "sizes/of_b"), "notebook changed"),
        ),
        (
            (EVALUATION, '"metrics": {}', '"metrics": {"x": 1}'),
            dict.fromkeys(("sizes/of_a", "sizes/of_b"), "code changed: evaluation.py"),
        ),
        (
            ("notebooks/sizes.ipynb", "batch_size: int = 1", "batch_size: int = 2"),
            {},  # a default that every experiment overrides
        ),
        (
            (TRAINING, 'f"{model} {epoch}', 'f"{model}: {epoch}'),
            dict.fromkeys(("base/a", "base/b", "base/c"), "code changed: training.py")
            | {f"sizes/of_{x}": f"needs base/{x}, which will run" for x in "ab"},
        ),
    ],
)
def test_a_change_reruns_what_depends_on_it(
    finished: Tree, change: tuple[str, str, str], reasons: dict[str, str]
) -> None:
    finished.replace(*change)
    assert finished.reasons() == reasons
    assert finished.plan().article_reason == ("results will change" if reasons else None)


def test_another_weights_file_of_the_same_name_counts(tree: Tree) -> None:
    tree.write("own.pth", "weights")
    tree.replace("profiles/default.yaml", 'weights_from: "base/{model}"', "parameters: {weights: own.pth}")
    tree.replace("profiles/default.yaml", ", parameters: {batch_size: 16}", "")
    before = tree.plan().steps["sizes/of_a"].wanted
    tree.write("own.pth", "other weights")
    (change,) = differences(before, tree.plan().steps["sizes/of_a"].wanted)
    assert change == "data changed: weights"


def test_another_version_of_torch_reruns_all(finished: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    known = plan_module.version
    monkeypatch.setattr(plan_module, "version", lambda name: "99" if name == "torch" else known(name))
    assert finished.reasons()["base/a"] == f"versions changed: torch {known('torch')} -> 99"


@pytest.mark.parametrize("name", ["article.html", "article.pdf", "index.html"])
def test_a_lost_page_is_made_again(finished: Tree, name: str) -> None:
    (finished.layout.build / name).unlink()
    assert finished.reasons() == {}
    assert finished.plan().article_reason == "new"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("base/a/weights.safetensors", "weights.safetensors is gone"),
        ("base/a/result.json", "result.json is gone"),
        (".plan/base/a.state.json", "new"),
    ],
)
def test_a_lost_file_reruns_what_made_it(finished: Tree, path: str, reason: str) -> None:
    (finished.layout.build / path).unlink()
    assert finished.reasons() == {"base/a": reason, "sizes/of_a": "needs base/a, which will run"}


def test_a_result_changed_by_hand_is_made_again(finished: Tree) -> None:
    finished.replace("build/default/base/c/result.json", '"time"', '"edited"')
    assert finished.reasons() == {"base/c": "result.json was changed"}


def test_a_result_that_was_renewed_reruns_what_used_it(finished: Tree) -> None:
    """As after `--only base --force`: the producer's plan is as before, its result is another."""
    finished.replace("build/default/base/a/result.json", '"time"', '"renewed"')
    state = finished.layout.state_file("base/a")
    content = json.loads(state.read_text())
    content["finished"]["result"] = plan_module.results(finished.layout, ["base/a"])["base/a"]
    state.write_text(json.dumps(content))
    assert finished.reasons() == {"sizes/of_a": "needs base/a, which has changed"}


@pytest.mark.parametrize(
    "path", ["report/article.md", "resnest_core/article/__main__.py", "resnest_core/site/__main__.py"]
)
def test_the_article_is_made_again_when_only_it_changed(finished: Tree, path: str) -> None:
    finished.write(path, "changed = 1\n")
    plan = finished.plan()
    assert not plan.to_run
    assert plan.article_reason in ("changed: report", "changed: code")


def test_only_covers_a_study_and_what_it_needs(tree: Tree) -> None:
    plan = tree.plan(only="sizes")
    assert set(plan.to_run) == {"base/a", "base/b", "base/c", "sizes/of_a", "sizes/of_b"}  # c: for the alias
    plan = tree.plan(only="base")
    assert set(plan.to_run) == {"base/a", "base/b", "base/c"}
    assert plan.left_out == ["sizes/of_a", "sizes/of_b"]
    assert plan.article_reason is None


def test_force_runs_the_study_again_but_not_what_it_needs(finished: Tree) -> None:
    assert finished.reasons(only="sizes", force=True) == {"sizes/of_a": "forced", "sizes/of_b": "forced"}
    assert set(finished.reasons(force=True)) == {"base/a", "base/b", "base/c", "sizes/of_a", "sizes/of_b"}


def test_force_forgets_what_a_killed_run_left(finished: Tree) -> None:
    write_plan(finished.plan(only="base", force=True), HERE)
    assert not finished.layout.state_file("base/a").exists()
    assert finished.layout.state_file("sizes/of_a").exists()


def test_what_must_run_loses_its_result_and_nothing_else_does(finished: Tree) -> None:
    finished.replace("profiles/default.yaml", "epochs: 3", "epochs: 4")
    write_plan(finished.plan(), HERE)
    left = {key for key in finished.plan().steps if finished.layout.result(key).exists()}
    assert left == {"base/a", "base/b", "sizes/of_a", "sizes/of_b"}
    assert (finished.layout.out("base/c") / "partial.txt").exists()  # its job empties the rest


def test_the_list_for_the_article(finished: Tree) -> None:
    content = json.loads((finished.layout.build / "plan.json").read_text())
    assert content["profile"] == "default"
    assert content["description"] == "a tiny study"
    listed = {f"{entry['study']}/{entry['name']}": entry for entry in content["experiments"]}
    assert list(listed) == ["base/a", "base/b", "base/c", "sizes/of_a", "sizes/of_b", "sizes/again"]
    assert listed["sizes/again"]["same_as"] == "base/c"
    assert listed["base/c"]["parameters"] == {"model": "c", "epochs": 3, "fail": ""}
    assert listed["sizes/of_a"]["parameters"]["weights"] == "build/default/base/a/weights.safetensors"
    assert {entry["status"] for entry in content["experiments"]} == {"run"}


def test_what_needs_something_missing_is_missing_too(tree: Tree) -> None:
    plan = tree.plan().without({"base/a": "weights of a"})
    assert set(plan.to_run) == {"base/b", "base/c", "sizes/of_b"}
    listed = {entry["name"]: (entry["status"], entry["reason"]) for entry in plan.description["experiments"]}
    assert listed["a"] == ("missing", "weights of a")
    assert listed["of_a"] == ("missing", "needs base/a, which is missing")
    assert listed["b"] == ("run", None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("epochs: 3", "epoch: 3"), ["base/c", "epoch", "valid: epochs, fail, model"]),
        (("epochs: 3", "epochs: three"), ["base/c", "epochs", "'three'", "int"]),
        (("epochs: 3", "out: here"), ["base/c", "'out'", "the runner sets"]),
        (("batch_size: 16", "weights: here"), ["sizes/of_{model}".format(model="a"), "'weights'", "the runner sets"]),
        (("parameters: {epochs: 2}", "parameters: {epoch: 2}"), ["'epoch'", "no notebook"]),
        (("  sizes:\n", "  seizes:\n"), ["'seizes'", "valid: base, sizes"]),
    ],
)
def test_a_profile_that_does_not_fit_the_notebooks_is_an_error(
    tree: Tree, change: tuple[str, str], words: list[str]
) -> None:
    tree.replace("profiles/default.yaml", *change)
    with pytest.raises(InputError) as caught:
        tree.plan()
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_study_is_an_error_that_lists_those_there_are(tree: Tree) -> None:
    with pytest.raises(InputError, match=r"'seizes'.*valid: base, sizes"):
        tree.plan(only="seizes")


def test_data_goes_to_the_notebooks_that_read_it(tree: Tree) -> None:
    steps = make_plan(tree.layout, data=str(tree.root)).steps
    assert steps["sizes/of_a"].given["data"] == str(tree.root)
    assert "data" not in steps["base/a"].given
    tree.set_profile("{name: x}", "dry")
    with pytest.raises(InputError, match="reads data"):
        make_plan(Layout("dry", tree.root), data=str(tree.root))


def test_the_directories_of_other_experiments_are_handed_over(finished: Tree) -> None:
    finished.replace("profiles/default.yaml", "      - {name: again, same_as: base/c}\n", READER)
    finished.replace("notebooks/sizes.ipynb", "batch_size: int = 1", "runs: list[str] = []\\nbatch_size: int = 1")
    plan = finished.plan()
    step = plan.steps["sizes/reader"]
    assert step.given["runs"] == ["build/default/base/a", "build/default/base/c"]
    assert step.experiment.needs == ["base/a", "base/c"]
    assert plan.without({"base/c": "gone"}).steps["sizes/reader"].missing == "needs base/c, which is missing"


def test_what_the_runner_hands_over_is_not_set_by_hand(finished: Tree) -> None:
    own = READER.replace("reader,", "reader, parameters: {runs: [x]},")
    finished.replace("profiles/default.yaml", "      - {name: again, same_as: base/c}\n", own)
    with pytest.raises(InputError, match="sets 'runs', which the runner sets"):
        finished.plan()


READER = "      - {name: reader, runs_from: [base/a, base/c]}\n"
