"""The small study through a real Slurm: its jobs do the work, a failure is a line, and none is left in the queue."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import one_node_slurm
import pytest
from small_study import Tree, wait_for

from resnest_core.errors import InputError
from resnest_core.study import slurm as slurm_module

RESOURCES = "resources: {cores: 2, memory: 1 GiB, minutes: 60}"  # a crowded machine takes long; Slurm ends what is late
WAITING = ("pending", "running", "completing")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if reason := one_node_slurm.obstacle():
        pytest.skip(reason)
    with one_node_slurm.one_node(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture
def on_slurm(slurm: None, tree: Tree) -> Iterator[Tree]:
    """A tree in which nothing has run, with Slurm soon asked about its jobs; at the end none is left."""
    tree.write("cluster/config.yaml", "slurm-init-seconds-before-status-checks: 1\n")
    tree.environment["SNAKEMAKE_PROFILE"] = str(tree.root / "cluster")
    yield tree
    for process in tree.started:
        process.kill()
    one_node_slurm.cancel_all()


def set_profile(tree: Tree, base: str, others: str = "") -> None:
    tree.write("profiles/default.yaml", f"description: x\n{RESOURCES}\nstudies:\n  base: {base}\n{others}")


def slurm_job(tree: Tree, key: str) -> str:
    """The number of the job that ran an experiment, by its own log."""
    return str(re.search(r"Slurm's job (\d+)", (tree.layout.out(key) / "log.txt").read_text())[1])


def test_experiments_run_as_jobs_and_a_failure_is_a_line(on_slurm: Tree) -> None:
    sizes = "  sizes: {threads: all, experiments: [{name: x, weights_from: base/good}]}\n"
    small = "{resources: {cores: 1}, experiments: [{name: good}, {name: wrong, parameters: {fail: of course}}]}"
    set_profile(on_slurm, small, sizes)
    output, errors = on_slurm.run("--executor", "slurm", "--jobs", "2", status=1)
    assert output.splitlines()[0].endswith("3 of 3 experiments and the article, at most 2 at a time through Slurm")
    assert errors.splitlines() == [
        "base/wrong: cell 4: ValueError: of course more of it "
        "(executed notebook: build/default/base/wrong/notebook.ipynb)",
        "2 finished, 1 failed, 0 not run; the article is not up to date. Run again to go on.",
    ]
    result = on_slurm.results()["sizes/x/result.json"]
    assert (result["weights"], result["threads"]) == ("a 0\n", "2")
    states = {line.split()[0]: line.split()[1:] for line in one_node_slurm.jobs()}
    assert states[slurm_job(on_slurm, "base/good")] == ["COMPLETED", "1"]
    assert states[slurm_job(on_slurm, "base/wrong")] == ["FAILED", "1"]
    assert states[slurm_job(on_slurm, "sizes/x")] == ["COMPLETED", str(one_node_slurm.CORES)]
    assert not (on_slurm.layout.build / "kernels.log").exists()
    assert not (on_slurm.layout.plans / "slurm.txt").exists()


def test_an_interrupted_run_leaves_no_job_and_a_killed_one_s_are_ended_by_the_next(on_slurm: Tree) -> None:
    tree = on_slurm
    set_profile(tree, "{experiments: [{name: '{model}', grid: {model: [a, b]}, parameters: {epochs: 3}}]}")
    process = begin(tree, epoch=1)
    assert tree.processes() == []  # no job looks like something that a local run left
    wait_for(lambda: len(one_node_slurm.jobs(*WAITING)) == 2)  # one of them waits for the cores
    process.send_signal(signal.SIGINT)
    assert "interrupted; the same command goes on from here" in process.communicate()[1]
    assert process.returncode == 130
    assert one_node_slurm.jobs(*WAITING) == []
    process = begin(tree, epoch=2)
    process.kill()
    process.communicate()
    assert one_node_slurm.jobs(*WAITING) != []
    (tree.root / "hold").unlink()
    tree.run("--executor", "local")
    assert one_node_slurm.jobs(*WAITING) == []
    for model in "ab":
        assert tree.results()[f"base/{model}/result.json"]["lines"] == "".join(f"{model} {n}\n" for n in range(3))


def begin(tree: Tree, epoch: int) -> subprocess.Popen[str]:
    """A run on Slurm of which a training waits before `epoch`."""
    tree.write("hold", str(epoch))
    process = tree.start("--executor", "slurm")
    trained = tree.layout.build.glob
    wait_for(lambda: any(len(path.read_text().splitlines()) == epoch for path in trained("base/*/partial.txt")))
    return process


def test_what_slurm_does_not_take_is_told_in_a_line(on_slurm: Tree) -> None:
    set_profile(on_slurm, "{resources: {gpus: 1}, experiments: [{name: a}]}")
    _, errors = on_slurm.run("--executor", "slurm", status=1)
    first, *_ = errors.splitlines()
    assert first.startswith("Slurm did not take a job: Invalid generic resource (gres) specification")
    assert "(log: build/default/snakemake.log)" in first


def test_without_slurm_the_run_ends_before_any_work(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tree.root))
    tree.layout.plans.mkdir(parents=True)
    slurm_module.end(tree.layout)  # no run of it has used Slurm
    with pytest.raises(InputError, match="there is no squeue here"):
        slurm_module.begin(tree.layout)
    (tree.layout.plans / "slurm.txt").touch()
    with pytest.raises(InputError, match="there is no squeue here"):
        slurm_module.end(tree.layout)


@pytest.fixture
def queue(tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that stands for Slurm's queue: scancel takes jobs 5 and 7 out of it, and notes what it was asked."""
    queue = tmp_path / "queue"
    commands = {"squeue": f"cat '{queue}'", "scancel": f"echo $@ > '{tmp_path}/ended'; sed -i '/^[57]|/d' '{queue}'"}
    for name, command in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    tree.layout.plans.mkdir(parents=True)
    return queue


def test_only_jobs_of_the_directory_are_ended(tree: Tree, queue: Path) -> None:
    """As another profile's run, which goes on at the same time, has them."""
    own = tree.layout.build
    queue.write_text(f"5|RUNNING|None|{own}\n6|RUNNING|None|{own}2\n7|PENDING|Priority|{own}\n")
    slurm_module.begin(tree.layout)
    slurm_module.end(tree.layout)
    assert (queue.parent / "ended").read_text() == "5 7\n"
    assert "6|" in queue.read_text()


def test_a_reason_to_wait_that_may_last_for_ever_is_told_once(
    tree: Tree, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tree.layout.build
    late = "".join(f"{number}|PENDING|PartitionTimeLimit|{own}\n" for number in (5, 7))
    other = f"6|PENDING|PartitionDown|{own}2\n8|PENDING|None|{own}\n11|COMPLETING|NonZeroExitCode|{own}\n"
    queue.write_text(late + other)
    monkeypatch.setattr(slurm_module, "PAUSE", 0)
    waiting = slurm_module.Waiting(tree.layout)
    assert waiting.new() == [
        "Slurm lets 5, 7 wait: PartitionTimeLimit (what jobs ask for is `resources:` in the profile)"
    ]
    queue.write_text(f"{late}9|PENDING|ReqNodeNotAvail, UnavailableNodes:a|{own}\n10|PENDING|Priority|{own}\n")
    assert [line.partition(" (")[0] for line in waiting.new()] == [
        "Slurm lets 9 wait: ReqNodeNotAvail, UnavailableNodes:a"
    ]
    (queue.parent / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert waiting.new() == []


def test_slurm_is_asked_from_time_to_time_only(tree: Tree, queue: Path) -> None:
    queue.write_text("")
    waiting = slurm_module.Waiting(tree.layout)
    assert waiting.new() == []
    queue.write_text(f"5|PENDING|PartitionDown|{tree.layout.build}\n")
    assert waiting.new() == []
