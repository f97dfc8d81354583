"""Numbers that cannot be: every numeric option of every command, settings of the core, notebooks and profiles."""

import inspect
import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as machine
from benchmarks import detection as detector_benchmark
from benchmarks import million, workflow
from benchmarks import segmentation as segmenter_benchmark
from resnest_core import cli, ranges
from resnest_core.analyses.conditions import Sweep
from resnest_core.analyses.modes import Timing
from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import InputError
from resnest_core.evaluation import classification, detection, segmentation
from resnest_core.evaluation.views import View
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.detection import ObjectDetection
from resnest_core.experiments.segmentation import SemanticSegmentation
from resnest_core.ranges import RANGES, SPECIAL
from resnest_core.study.arguments import parse
from resnest_core.study.profiles import load_profile
from resnest_core.training import classification as classifier_training
from resnest_core.training import detection as detector_training
from resnest_core.training import segmentation as segmenter_training

BENCHMARKS = {
    "benchmarks": machine.main,
    "benchmarks.detection": detector_benchmark.main,
    "benchmarks.million": million.main,
    "benchmarks.segmentation": segmenter_benchmark.main,
    "benchmarks.workflow": workflow.main,
}
NONSENSE = ["nan", "inf", "-inf", "-1", str(2**70), "1e308", "abc", "", "1.5.2", "9" * 5000]
NUMBERS = {int, float}


def commands(app: typer.Typer) -> dict[str, Callable[..., Any]]:
    """The functions behind the commands of a program, groups included."""
    own = [command.callback for command in app.registered_commands]
    inner = [function for group in app.registered_groups for function in commands(group.typer_instance).values()]
    return {function.__name__: function for function in [*own, *inner]}


def numeric_options(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """Name and flag of each parameter of a command that is annotated as a number, a list of them or one or none."""
    for name, parameter in inspect.signature(function).parameters.items():
        kind = typing.get_args(parameter.annotation)[:1] or (parameter.annotation,)
        if NUMBERS & {*kind, *typing.get_args(kind[0])}:
            yield name, f"--{name.replace('_', '-')}"


FUNCTIONS = {**commands(cli.app), **BENCHMARKS}
OPTIONS = [(command, *option) for command, function in FUNCTIONS.items() for option in numeric_options(function)]
NEEDED = {
    "train": ["mini_resnest11"],
    "evaluate": ["mini_resnest11"],
    "segment": ["mini_deeplab_resnest11", "none.png"],
    "detect": ["mini_faster_rcnn_resnest11", "none.png"],
    "benchmark": ["mini_resnest11"],
    "shard": ["--dataset", "fashion_mnist"],
}


def test_every_command_with_numbers_is_tried() -> None:
    assert {command for command, _, _ in OPTIONS} == {*NEEDED, *BENCHMARKS}
    assert len(OPTIONS) >= 39


@pytest.mark.parametrize(("command", "name", "flag"), OPTIONS)
def test_an_impossible_number_is_one_line(
    command: str, name: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    valid = ranges.range_of(name, command if command in NEEDED else "main")
    for value in [*NONSENSE, *(["0.5"] if valid.whole else []), *(["0"] if valid.low > 0 else [])]:
        out = [] if command == "benchmark" else ["--out", "out"]
        given = [*NEEDED.get(command, []), *out, f"{flag}={value}"]
        monkeypatch.setattr("sys.argv", ["resnest-core", *([command] if command in NEEDED else []), *given])
        with pytest.raises(InputError) as caught:
            cli.run(program(command))
        error = str(caught.value)
        assert error.startswith(f"{flag} ")
        assert error.endswith(f" is not possible; valid: {valid}")
        assert "\n" not in error
        assert len(error) < 250
        assert not list(tmp_path.iterdir())


def test_a_refused_number_ends_the_program_with_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["resnest-core", "train", "mini_resnest11", "--out", "out", "--epochs", "inf"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: --epochs inf is not possible; valid: a number from 0 to 10,000\n"


def program(command: str) -> typer.Typer:
    """The program that the command belongs to."""
    if command in NEEDED:
        return cli.app
    single = typer.Typer()
    single.command()(BENCHMARKS[command])
    return single


SETTINGS: dict[str, tuple[Callable[..., Any], str]] = {
    "classifier's training": (classifier_training.Recipe, "train"),
    "detector's training": (detector_training.Recipe, "object_detection"),
    "segmenter's training": (segmenter_training.Recipe, "semantic_segmentation"),
    "classifier's evaluation": (classification.Protocol, ""),
    "detector's evaluation": (detection.Protocol, ""),
    "segmenter's evaluation": (segmentation.Protocol, ""),
    "view": (View, "view"),
    "timing": (Timing, ""),
    "sweep": (Sweep, ""),
    "classification": (partial(Classification, "mini_resnest11", "out"), ""),
    "detection": (partial(ObjectDetection, "mini_faster_rcnn_resnest11", "out"), ""),
    "segmentation": (partial(SemanticSegmentation, "mini_deeplab_resnest11", "out"), ""),
}
FIELDS = [
    (what, field.name)
    for what, (make, _) in SETTINGS.items()
    for field in fields(getattr(make, "func", make))
    if field.type in NUMBERS
]
WRONG = [math.nan, math.inf, -math.inf, -1, 2**70, 1e308, "abc", "1", None, True, [1]]


@pytest.mark.parametrize(("what", "name"), FIELDS)
def test_settings_of_the_core_have_the_same_ranges(what: str, name: str) -> None:
    make, where = SETTINGS[what]
    valid = ranges.range_of(name, where)
    for value in [*WRONG, *([1.5] if valid.whole else []), *([0] if valid.low > 0 else [])]:
        with pytest.raises(InputError) as caught:
            make(**{name: value})
        assert str(caught.value) == f"{name} {value!r} is not possible; valid: {valid}"


def test_the_crop_of_photographs_has_a_range() -> None:
    for value in (0, -1, 4097, 2**70, 64.0, True, "64", None, math.nan):
        with pytest.raises(InputError, match=r"crop_size .* is not possible; valid: a whole number from 1 to 4,096"):
            Preprocessing(crop_size=value)
    with pytest.raises(InputError, match="ratio nan is not possible"):
        Preprocessing(ratio=math.nan)


@given(st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none()))
def test_a_range_holds_what_lies_in_it_and_nothing_else(value: Any) -> None:
    for valid in RANGES.values():
        kinds = (int,) if valid.whole else (int, float)
        fits = type(value) in kinds and valid.low <= value <= valid.high
        assert (value in valid) == fits


def test_every_default_and_both_ends_are_possible() -> None:
    for make, _ in SETTINGS.values():
        make()
    for valid in (*RANGES.values(), *(one for special in SPECIAL.values() for one in special.values())):
        assert valid.low in valid
        assert valid.high in valid


@pytest.mark.parametrize("value", [*NONSENSE, "0", "0.5", "10001"])
def test_jobs_have_a_range_too(value: str) -> None:
    with pytest.raises(InputError, match=r"^--jobs .* is not possible; valid: a whole number from 1 to 10,000$"):
        parse([f"--jobs={value}"])


@pytest.mark.parametrize("value", [0, -1, 2**70, 1.5, True, "abc", math.nan])
@pytest.mark.parametrize("key", ["cores", "minutes", "timeout"])
def test_numbers_of_a_profile_have_ranges(key: str, value: Any, tmp_path: Path) -> None:
    study = {"timeout": value} if key == "timeout" else {"resources": {key: value}}
    path = tmp_path / "given.yaml"
    content = {"description": "x", "studies": {"s": {**study, "experiments": [{"name": "a"}]}}}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError) as caught:
        load_profile(path)
    assert f".{key} {value!r} is not possible; valid: a whole number from 1 to " in str(caught.value)
