"""What a job is given: a share of this machine's cores by --jobs, or what its study asks of a cluster."""

from typing import Any

import pytest
from small_study import Tree

from resnest_core.study.arguments import cores
from resnest_core.study.plan import write_plan
from resnest_core.study.resources import Executor, Resources, executor
from resnest_core.study.state import read_json

PROFILE = """
description: x
resources: {memory: 3 GiB, minutes: 7}
studies:
  base:
    resources: {cores: 3, memory: 500 MiB, gpus: 2}
    experiments: [{name: a}]
  sizes:
    threads: all
    experiments: [{name: b, weights_from: base/a}]
"""


def rules(tree: Tree, where: Executor) -> dict[str, dict[str, Any]]:
    """What the workflow is told of each experiment of `PROFILE`."""
    tree.write("profiles/default.yaml", PROFILE)
    write_plan(tree.plan(), where)
    written = read_json(tree.layout.plans / "workflow.json")
    assert written
    return {rule["key"]: rule for rule in written["experiments"]}


@pytest.mark.parametrize(
    ("jobs", "machine", "threads"), [(2, 2, 1), (1, 2, 2), (2, 8, 4), (3, 8, 2), (8, 8, 1), (8, 2, 1), (1, 1, 1)]
)
def test_jobs_side_by_side_share_the_cores_and_one_that_wants_all_is_alone(
    tree: Tree, jobs: int, machine: int, threads: int
) -> None:
    where = Executor("local", jobs, machine, 4000)
    found = rules(tree, where)
    assert (found["base/a"]["slots"], found["base/a"]["threads"]) == (1, threads)
    assert (found["sizes/b"]["slots"], found["sizes/b"]["threads"]) == (jobs, machine)
    assert found["base/a"]["resources"] == {"mem_mb": 500}
    assert where.flags == ["--cores", str(jobs), "--resources", "mem_mb=4000"]
    assert str(where) == f"{jobs} at a time, {threads} thread{'s' * (threads > 1)} each"


def test_a_cluster_is_asked_for_what_the_study_needs(tree: Tree) -> None:
    where = Executor("slurm", 5, 64, 4000)
    found = rules(tree, where)
    assert (found["base/a"]["slots"], found["base/a"]["threads"]) == (3, 3)
    assert found["base/a"]["resources"] == {"mem_mb": 500, "runtime": 7, "gpu": 2}
    assert (found["sizes/b"]["slots"], found["sizes/b"]["threads"]) == (1, 1)
    assert found["sizes/b"]["resources"] == {"mem_mb": 3072, "runtime": 7, "slurm_extra": "--exclusive"}
    assert where.flags[:4] == ["--executor", "slurm", "--jobs", "5"]


def test_without_jobs_there_is_one_a_core_or_many_on_a_cluster() -> None:
    assert executor("local", None).jobs == cores()
    assert executor("local", 3).jobs == 3
    assert executor("slurm", None).jobs == 100


def test_a_study_changes_only_what_it_says() -> None:
    both = Resources(cores=2, memory="2 GiB", gpus=1).updated(Resources(memory="100 MiB"))
    assert (both.cores, both.mebibytes, both.gpus, both.minutes) == (2, 100, 1, 60)
