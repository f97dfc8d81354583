"""From where things are called: links, CDPATH, other directories, spaces; what a relative path and ~ mean."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from resnest_core import cli, data
from resnest_core.checkpoints import weights_directory
from resnest_core.errors import InputError
from resnest_core.experiments.finished import Finished
from resnest_core.explore import application
from resnest_core.places import ROOT, expanded, from_caller, from_root, here_or_from_root
from resnest_core.study import preflight
from resnest_core.study.arguments import parse, parser
from resnest_core.study.layout import Layout
from resnest_core.study.plan import make_plan

WORDS = ["", "published", "s3://bucket/set", "https://host/list.csv"]


class TestRunAll:
    """`run_all.sh` with a core that says from where it was imported and with what it was called."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        root = tmp_path / "a project's (root)"
        package = root / "resnest_core" / "study"
        package.mkdir(parents=True)
        (root / "resnest_core" / "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "environment.py").write_text("import os, sys\nprint(__file__, os.getcwd(), sys.argv[1:], sep='\\n')")
        shutil.copy2(ROOT / "run_all.sh", root)
        return root

    def called(self, command: list[str], cwd: Path, **environment: str) -> list[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": "", **environment}
        done = subprocess.run(command, cwd=cwd, env=os.environ | own, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout.splitlines()

    @pytest.mark.parametrize("way", ["direct", "relative", "link", "link to a link", "bash", "sh", "PATH", "bash PATH"])
    @pytest.mark.parametrize("cdpath", [False, True])
    def test_it_finds_its_root(self, way: str, cdpath: bool, project: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "else where"
        elsewhere.mkdir()
        script = project / "run_all.sh"
        (elsewhere / "study").symlink_to(os.path.relpath(script, elsewhere))
        (tmp_path / "bin").symlink_to(elsewhere)
        (elsewhere / "again").symlink_to("../bin/study")
        commands = {
            "direct": [str(script)],
            "relative": [os.path.relpath(script, elsewhere)],
            "link": ["./study"],
            "link to a link": [str(tmp_path / "bin" / "again")],
            "bash": ["bash", str(script)],
            "sh": ["sh", os.path.relpath(script, elsewhere)],
            "PATH": ["run_all.sh"],
            "bash PATH": ["bash", "run_all.sh"],
        }
        environment = {"CDPATH": f".:{tmp_path}:{project}"} if cdpath else {}
        if "PATH" in way:
            environment["PATH"] = f"{project}:{Path(sys.executable).parent}:{os.environ['PATH']}"
            if way == "PATH":
                commands[way] = ["env", "run_all.sh"]
        found = self.called([*commands[way], "--only", "a study"], elsewhere, **environment)
        assert found == [str(project / "resnest_core/study/environment.py"), str(elsewhere), "['--only', 'a study']"]

    def test_beside_itself(self, project: Path) -> None:
        assert self.called(["sh", "run_all.sh"], project, CDPATH="/")[1:] == [str(project), "[]"]

    def test_a_root_that_no_path_of_pythons_can_hold_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "a:b").mkdir()
        shutil.copy2(ROOT / "run_all.sh", tmp_path / "a:b")
        done = subprocess.run([tmp_path / "a:b" / "run_all.sh"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith(f"error: no path of Python's can hold '{tmp_path}/a:b'")


class TestPlaces:
    def test_a_relative_path_is_the_callers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert from_caller("mine/set") == str(tmp_path / "mine/set")
        assert from_caller("/data/set") == "/data/set"
        monkeypatch.chdir(ROOT)
        assert from_caller("mine/set") == "mine/set"  # as profiles and results have it

    @pytest.mark.parametrize("place", WORDS)
    def test_what_is_no_path_stays(self, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert {expanded(place), from_caller(place), from_root(place), here_or_from_root(place)} == {place}

    def test_home_is_expanded_everywhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("RESNEST_WEIGHTS", "~/weights")
        found = {seen("~/x") for seen in (expanded, from_caller, from_root, here_or_from_root)}
        assert found == {str(tmp_path / "x")}
        assert weights_directory() == tmp_path / "weights"
        (tmp_path / "x").mkdir()
        assert parse(["--data=~/x"]).data == str(tmp_path / "x")

    def test_a_place_that_is_here_goes_before_one_at_the_root(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert here_or_from_root("profiles") == str(ROOT / "profiles")
        (tmp_path / "profiles").mkdir()
        assert here_or_from_root("profiles") == str(tmp_path / "profiles")

    def test_help_says_where_a_relative_path_begins(self) -> None:
        text = " ".join(parser().format_help().split())
        assert "a relative path begins here, one in a profile at the project's root" in text


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["resnest-core", *arguments])
    cli.run(cli.app)


def images(root: Path) -> None:
    for split in ("train", "val"):
        for name, shade in (("cat", 40), ("dog", 200)):
            (root / split / name).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (40, 32), (shade, 10 * i, 90)).save(root / split / name / f"{i}.png")


def test_a_run_that_was_named_by_relative_paths_is_opened_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    images(tmp_path / "here" / "set")
    monkeypatch.chdir(tmp_path / "here")
    given = ["--dataset", "imagefolder", "--data", "set", "--workers", "0", "--device", "cpu"]
    run(monkeypatch, "train", "mini_resnetd11", *given, "--batch-size", "3", "--epochs", "0", "--out", "trained")
    weights = ["--weights", "trained/weights.safetensors", "--limit", "4"]
    run(monkeypatch, "evaluate", "mini_resnetd11", *given, *weights, "--out", "sub/evaluated")
    stored = json.loads((tmp_path / "here/sub/evaluated/result.json").read_text())["parameters"]
    assert stored["data"] == str(tmp_path / "here/set")
    assert stored["weights"] == str(tmp_path / "here/trained/weights.safetensors")
    monkeypatch.chdir(tmp_path / "there")
    for directory in ("trained", "sub/evaluated"):
        opened = Finished(str(tmp_path / "here" / directory))
        assert len(opened.test_set) in (4, 6)
        assert opened.network is not None


def test_what_stands_relative_in_a_result_is_seen_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {
        "metrics": {"top1": {}},
        "parameters": {
            "model": "mini_resnetd11",
            "out": "build/x",
            "weights": "build/y/weights.safetensors",
            "data": "sets/a",
            "protocol": {},
            "recipe": {},
        },
    }
    (tmp_path / "result.json").write_text(json.dumps(content))
    (tmp_path / "sets/a").mkdir(parents=True)  # another of the same name, where the caller stands
    monkeypatch.chdir(tmp_path)
    settings = Finished(str(tmp_path)).settings
    assert settings.weights == str(ROOT / "build/y/weights.safetensors")
    assert settings.data == str(ROOT / "sets/a")


PROFILE = """
description: x
studies:
  base_results:
    experiments:
      - {name: a, parameters: {dataset: imagefolder, data: sets/mine, weights: own/w.pth}}
      - {name: b, parameters: {dataset: imagefolder, data: ~/sets, weights: ~/w.pth}}
"""


@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_the_check_before_a_run_sees_a_profile_from_the_root(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    for folder in ("notebooks", "profiles", "report"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "profiles" / "default.yaml").write_text(PROFILE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / where)
    asked: set[str] = set()

    def opened(name: str, place: str, **_: Any) -> SimpleNamespace:
        asked.add(place)
        return SimpleNamespace(digest="x")

    monkeypatch.setattr(data, "open_any", opened)
    monkeypatch.setattr(preflight.checkpoints, "resolve", lambda place, model: asked.add(place))
    plan = make_plan(Layout("default", root))
    home = tmp_path / "home"
    assert asked <= {str(root / "sets/mine"), str(home / "sets")}, "what decides whether it is stale"
    assert preflight.missing(plan) == []
    assert asked == set(map(str, [root / "own/w.pth", root / "sets/mine", home / "sets", home / "w.pth"]))
    assert plan.steps["base_results/b"].given["data"] == str(home / "sets")
    assert plan.steps["base_results/a"].given["data"] == "sets/mine"  # short, for records


def test_data_of_the_command_line_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse(["--data", "mine"]).data == str(tmp_path / "mine")
    assert parse(["--data", "s3://bucket/set"]).data == "s3://bucket/set"
    for absent in ("", "nowhere", "~/nowhere"):
        with pytest.raises(InputError, match=f"^--data '{absent}' is not a directory, a file or a URL"):
            parse([f"--data={absent}"])


def test_explore_looks_into_the_projects_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Path] = []
    monkeypatch.setattr(application, "find_runs", lambda build: (looked_at.append(build), ([], []))[1])
    (tmp_path / "notebooks").mkdir()
    for place in (tmp_path, tmp_path / "notebooks", ROOT):
        monkeypatch.chdir(place)
        application.explore()
    application.explore("mine")
    assert looked_at == [ROOT / "build", tmp_path / "build", ROOT / "build", Path("mine")]
