"""Profiles: what they may hold, what they become, and the four of the repository."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from resnest_core.errors import InputError
from resnest_core.study.layout import ROOT, Layout
from resnest_core.study.plan import make_plan
from resnest_core.study.profiles import Experiment, experiments, load_profile

PROFILES = ("smoke", "default", "extended", "paper")


def expand(tmp_path: Path, text: str) -> dict[str, Experiment]:
    path = tmp_path / "given.yaml"
    path.write_text(text)
    return experiments(load_profile(path))


def one_study(entries: str, settings: str = "") -> str:
    return f"description: x\nstudies: {{s: {{{settings} experiments: [{entries}]}}}}\n"


def test_a_grid_becomes_an_experiment_for_every_point(tmp_path: Path) -> None:
    found = expand(
        tmp_path,
        one_study(
            '{name: "{m}_{k}", grid: {m: [a, b], k: [1, 2]}, parameters: {e: 9}},'
            '{name: "of_{m}", grid: {m: [a]}, weights_from: "s/{m}_1"}, {name: same, same_as: s/b_2}',
            "parameters: {e: 1, f: 2},",
        ),
    )
    assert list(found) == ["s/a_1", "s/a_2", "s/b_1", "s/b_2", "s/of_a", "s/same"]
    assert found["s/b_1"].parameters == {"e": 9, "f": 2, "m": "b", "k": 1}
    assert found["s/of_a"].needs == ["s/a_1"]
    assert found["s/same"].same_as == "s/b_2"


def test_weights_and_trunks_may_come_from_other_experiments(tmp_path: Path) -> None:
    entries = "{name: a}, {name: b}, {name: c, weights_from: s/a, backbone_from: s/b}, {name: d, backbone_from: s/c}"
    found = expand(tmp_path, one_study(entries))
    assert found["s/c"].inherited == {"weights": "s/a", "backbone": "s/b"}
    assert found["s/c"].needs == ["s/a", "s/b"]
    assert found["s/d"].needs == ["s/c"]
    assert found["s/a"].needs == []


def test_an_experiment_may_read_others_that_have_run(tmp_path: Path) -> None:
    entries = "{name: '{m}', grid: {m: [a, b]}}, {name: of_a, runs_from: [s/a, s/b], weights_from: s/a},"
    entries += "{name: 'x{m}', grid: {m: [a, b]}, runs_from: ['s/{m}']}"
    found = expand(tmp_path, one_study(entries))
    assert found["s/of_a"].needs == ["s/a", "s/b"]
    assert found["s/xb"].runs_from == ("s/b",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (one_study("{name: a}", "treads: 1,"), ["given.yaml", "studies.s.treads", "valid: parameters, threads"]),
        (one_study("{name: a, grd: {}}"), ["unknown key 'grd'", "valid: name, grid"]),
        ("descripton: x\nstudies: {}\n", ["given.yaml", "description"]),
        (one_study("{name: a}", "threads: many,"), ["threads", "'all'", "many"]),
        (one_study("{name: a}", "resources: {coers: 1},"), ["studies.s.resources.coers", "valid: cores, memory, gpus"]),
        (
            one_study("{name: a}") + "resources: {minuts: 1}",
            ["resources.minuts", "valid: cores, memory, gpus, minutes"],
        ),
        (one_study("{name: a}") + "resources: {memory: 4 GB}", ["resources.memory", "(MiB|GiB)", "'4 GB'"]),
        (one_study("{name: a}", "resources: {gpus: -1},"), ["studies.s.resources.gpus", "-1"]),
        (one_study("{name: a}", "resources: {minutes: 1.5},"), ["studies.s.resources.minutes", "whole number", "1.5"]),
        (one_study(""), ["experiments", "at least 1"]),
        (one_study("{name: 3}"), ["name", "string", "3"]),
        (one_study("{name: a}, {name: a}"), ["s/a", "twice"]),
        (one_study("{name: a/b}"), ["s/a/b", "directory"]),
        (one_study("{name: '{n}', grid: {m: [1]}}"), ["{n}", "its grid has: m"]),
        (one_study("{name: '{m}', grid: {m: [1]}, parameters: {m: 2}}"), ["'m'", "grid", "parameters"]),
        (one_study("{name: a, same_as: s/b}"), ["s/a", "same_as", "s/b"]),
        (one_study("{name: a, same_as: s/b}, {name: b, same_as: s/a}"), ["s/a", "same_as"]),
        (one_study("{name: a, weights_from: s/b}, {name: b, weights_from: s/a}"), ["s/a <- s/b <- s/a"]),
        (one_study("{name: a, backbone_from: s/b}, {name: b, weights_from: s/a}"), ["s/a <- s/b <- s/a"]),
        (one_study("{name: a, backbone_from: s/c}"), ["s/a", "backbone_from", "s/c"]),
        (one_study("{name: a, runs_from: [s/c]}"), ["s/a", "runs_from", "s/c"]),
        (one_study("{name: a, runs_from: [s/b]}, {name: b, runs_from: [s/a]}"), ["s/a <- s/b <- s/a"]),
        (one_study("{name: a, runs_from: s/c}"), ["runs_from", "list", "s/c"]),
        ("description: [", ["given.yaml", "not YAML"]),
        ("", ["given.yaml", "the file"]),
    ],
)
def test_a_wrong_profile_is_an_error_of_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        expand(tmp_path, text)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", PROFILES)
def test_the_repository_s_profiles_fit_its_notebooks(name: str) -> None:
    plan = make_plan(Layout(name))
    assert {"base_results", "batch_size", "ablation", "efficiency"} <= plan.profile.studies.keys()
    assert plan.profile.studies["efficiency"].threads == "all"  # or its timings would mean nothing


def test_every_study_of_the_paper_says_what_it_takes_and_what_runs_networks_gets_a_gpu() -> None:
    profile = load_profile(Layout("paper").profile_file)
    gpus = {study: profile.resources.updated(settings.resources).gpus for study, settings in profile.studies.items()}
    assert all(settings.resources.model_fields_set for settings in profile.studies.values())
    assert {study for study, number in gpus.items() if number == 0} == {"calibration", "errors"}
    assert set(gpus.values()) == {0, 1}


def shape(value: Any) -> Any:
    """A profile without its numbers; a list of numbers counts as one."""
    match value:
        case dict():
            return {key: shape(item) for key, item in value.items()}
        case list() if all(isinstance(item, int | float) for item in value):
            return "numbers"
        case list():
            return [shape(item) for item in value]
        case int() | float():
            return "number"
    return value


@pytest.mark.parametrize("name", ["smoke", "extended"])
def test_smoke_and_extended_differ_from_default_in_numbers_only(name: str) -> None:
    shapes = {}
    for profile in ("default", name):
        content = yaml.safe_load((ROOT / "profiles" / f"{profile}.yaml").read_text())
        del content["description"]
        shapes[profile] = shape(content)
    assert shapes[name] == shapes["default"]


def test_the_environment_of_conda_is_made_of_the_one_list() -> None:
    *_, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip["pip"] == ["-r requirements.txt", "-c requirements.lock", "-e ."]
    for file in ("requirements.txt", "requirements.lock", "pyproject.toml"):
        assert (ROOT / file).is_file()
