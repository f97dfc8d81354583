"""Numbers that cannot be: every numeric option of every command, settings of the core, notebooks and profiles."""

import inspect
import sys
import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
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
from resnest_core.ranges import RANGES, SPECIAL, Range
from resnest_core.study.arguments import parse
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
    command: str,
    name: str,
    flag: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    valid = ranges.range_of(name, command)
    monkeypatch.chdir(tmp_path)
    for value in [*NONSENSE, *(["0.5"] if valid.whole else []), *(["0"] if valid.low > 0 else [])]:
        out = [] if command == "benchmark" else ["--out", "out"]
        monkeypatch.setattr("sys.argv", [command, *NEEDED.get(command, []), *out, f"{flag}={value}"])
        if command in BENCHMARKS:
            with pytest.raises(SystemExit) as end:
                cli.run(BENCHMARKS[command], command)
        else:
            monkeypatch.setattr("sys.argv", ["resnest-core", *sys.argv])
            with pytest.raises(SystemExit) as end:
                cli.main()
        error = capsys.readouterr().err
        assert end.value.code == 2
        assert error.startswith(f"error: {flag} ")
        assert error.endswith(f" is not possible; valid: {valid}\n")
        assert error.count("\n") == 1
        assert len(error) < 250
        assert not list(tmp_path.iterdir())
