"""What the article reads: results of a build directory, and published figures."""

import json
from pathlib import Path

import pytest
from fabricate import Study

from resnest_core.article.published import AUTHORS, PAPER, REPLICATION, TIMM, quote
from resnest_core.article.results import Store
from resnest_core.errors import InputError


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path, "tiny")
    study.classifier("base_results/mini_resnest11", 80, model="mini_resnest11")
    study.alias("ablation/mini_2s1x64d_seed0", "base_results/mini_resnest11")
    study.classifier("base_results/resnest50", 80, model="resnest50", missing="no weights")
    return study


def test_an_alias_shares_its_result_and_uses_both(study: Study) -> None:
    store = Store(study.write_plan())
    alias = store.experiments["ablation/mini_2s1x64d_seed0"]
    assert store.metric(alias, "top1").value == 80.0
    assert store.unused() == ["base_results/resnest50"]


def test_looking_at_provenance_or_parameters_is_no_use(study: Study) -> None:
    store = Store(study.write_plan())
    for experiment in store.plan.experiments[:2]:
        assert store.parameters(experiment)["model"] == "mini_resnest11"
        assert store.provenance(experiment)["device"] == "cpu"
        assert store.peek(experiment, "top1") is not None
    assert len(store.unused()) == 3


def test_saying_why_an_experiment_is_missing_is_a_use(study: Study) -> None:
    store = Store(study.write_plan())
    missing = store.experiments["base_results/resnest50"]
    assert not store.ran(missing)
    assert store.reason(missing) == "no weights"
    assert missing.key not in store.unused()


def test_no_plan(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plan\.json' is missing; run \./run_all\.sh first"):
        Store(tmp_path)


def test_a_planned_result_that_is_not_there(study: Study) -> None:
    store = Store(study.write_plan())
    (study.directory / "base_results/mini_resnest11/result.json").unlink()
    with pytest.raises(InputError, match=r"result\.json' is missing; the plan lists 'base_results/mini_resnest11'"):
        store.result(store.plan.experiments[0])


@pytest.mark.parametrize(
    ("text", "place"),
    [("{", "the whole file"), ('{"metrics": {"top1": {"value": "high"}}}', r"metrics\.top1\.value")],
)
def test_a_broken_result_is_named_in_one_line(study: Study, text: str, place: str) -> None:
    store = Store(study.write_plan())
    (study.directory / "base_results/mini_resnest11/result.json").write_text(text)
    with pytest.raises(InputError, match=rf"mini_resnest11/result\.json' is not as it should be at {place}") as error:
        store.result(store.plan.experiments[0])
    assert "\n" not in str(error.value)


def test_an_unknown_metric(study: Study) -> None:
    store = Store(study.write_plan())
    with pytest.raises(InputError, match=r"unknown metric of 'base_results/mini_resnest11' 'top2' \(did you mean 'top"):
        store.metric(store.plan.experiments[0], "top2")


def test_an_alias_of_nothing(study: Study) -> None:
    path = study.write_plan() / "plan.json"
    plan = json.loads(path.read_text())
    plan["experiments"][1]["same_as"] = "base_results/mini_resnest12"
    path.write_text(json.dumps(plan))
    store = Store(study.directory)
    with pytest.raises(InputError, match="'base_results/mini_resnest12'"):
        store.result(store.plan.experiments[1])


def test_missing_records(study: Study) -> None:
    store = Store(study.write_plan())
    (study.directory / "base_results/mini_resnest11/records.parquet").unlink()
    with pytest.raises(InputError, match=r"records\.parquet' is missing; experiment 'base_results/mini_resnest11'"):
        store.records(store.plan.experiments[0], ["correct"])


@pytest.mark.parametrize(
    ("model", "metric", "source", "text"),
    [
        ("resnest50", "top1", PAPER, "81.13"),
        ("resnest50", "top1", AUTHORS, "81.03"),
        ("resnest50", "top1", REPLICATION, "81.034"),
        ("resnest50", "top1", TIMM, "80.958"),
        ("resnest101", "top1", PAPER, "83.00"),
        ("resnest50_fast_2s2x40d", "top1", PAPER, "81.00"),
        ("resnest50_fast_2s2x40d", "top1", AUTHORS, "80.61"),
        ("resnest50_fast_1s1x64d", "parameters", AUTHORS, "26.3"),
        ("resnest50_fast_0s1x64d", "throughput", PAPER, "688.2"),
    ],
)
def test_published_figures_keep_their_digits(model: str, metric: str, source: str, text: str) -> None:
    figure = quote(model, metric, source)
    assert figure is not None
    assert figure.text == text
    assert figure.value == float(text)


def test_what_nobody_printed() -> None:
    assert quote("resnest269", "top1", REPLICATION) is None
    with pytest.raises(InputError, match=r"unknown source 'rumour'; valid: paper, .*third-party"):
        quote("resnest50", "top1", "rumour")


def test_the_withdrawn_file_is_on_record() -> None:
    figure = quote("resnest50_fast_2s2x40d", "top1", PAPER)
    assert figure is not None
    assert "0e48a197, now 9d126481" in figure.note
