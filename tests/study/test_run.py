"""Runs of the small study: what runs is what the list says, failures are told in a line, a killed run recovers."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from small_study import Tree, wait_for

from resnest_core.study.processes import MARK, end_leftovers

PLACES = "the article: build/default/article.html and build/default/article.pdf; everything: build/default/index.html"


def listed(tree: Tree, *arguments: str) -> dict[str, str]:
    """What --list says of each experiment and of the article."""
    lines = tree.run("--list", *arguments)[0].splitlines()
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines if "  " in line)


def will_run(tree: Tree, *arguments: str) -> set[str]:
    return {key for key, status in listed(tree, *arguments).items() if status.startswith("will run")}


def test_the_first_run_makes_all_and_says_so(first_run: tuple[Tree, str]) -> None:
    tree, output = first_run
    cores = len(os.sched_getaffinity(0))
    lines = output.splitlines()
    assert lines[0] == f"profile default: 5 of 5 experiments and the article, {cores} at a time, 1 thread each"
    assert "[0/5] base/a started (new)" in lines
    assert any(re.fullmatch(r"\[\d/5\] base/c finished in \d+ s, top-1 3.00 %", line) for line in lines)
    assert lines[-1].endswith(f"; {PLACES}")
    *times, whole = [line.split() for line in lines if line.startswith("  ")]
    assert {row[0]: row[1] for row in times} == {"base": "3", "sizes": "2", "article": "1"}
    assert " ".join(whole).startswith("all 6 jobs")
    assert whole[-3:] == ["by", "the", "clock"]
    assert sum(int(row[-2]) for row in times) == pytest.approx(100, abs=2)
    results = tree.results()
    assert results["base/c/result.json"]["lines"] == "c 0\nc 1\nc 2\n"
    assert results["sizes/of_b/result.json"]["weights"] == "b 0\nb 1\n"  # the weights of the one it needs
    assert results["sizes/of_b/result.json"]["threads"] == str(cores)  # threads: all
    assert results["base/a/result.json"]["threads"] == "1"  # its share, as many jobs run at a time
    assert "glibc.malloc.hugetlb=1" in results["base/a/result.json"]["began_with"]  # read by glibc at the start alone
    for name in ("article.pdf", "index.html"):
        assert (tree.layout.build / name).read_text() == "base/a base/b base/c sizes/of_a sizes/of_b"
    executed = json.loads((tree.layout.out("base/a") / "notebook.ipynb").read_text())
    assert [cell["execution_count"] for cell in executed["cells"]] == [1, 2, 3, 4, 5]


def test_a_second_run_has_nothing_to_do(finished: Tree) -> None:
    assert set(listed(finished).values()) == {"up to date", "same as base/c"}
    before = {path: path.stat().st_mtime_ns for path in finished.layout.build.glob("*/*/*")}
    output, errors = finished.run()
    assert output == f"5 experiments of profile default are up to date; {PLACES}\n"
    assert errors == ""
    assert {path: path.stat().st_mtime_ns for path in finished.layout.build.glob("*/*/*")} == before


def test_what_runs_is_what_the_list_says(finished: Tree) -> None:
    finished.replace("resnest_core/training.py", '"""Docstring."""', "# no docstring")
    finished.replace("profiles/default.yaml", "epochs: 3", "epochs: 1")
    finished.replace("resnest_core/evaluation.py", '"metrics": {}', '"metrics": {"x": {}}')
    expected = {"base/c", "sizes/of_a", "sizes/of_b", "article"}
    assert will_run(finished) == expected
    finished.run()
    assert set(finished.events("started")) == expected
    assert finished.results()["base/c/result.json"]["lines"] == "c 0\n"  # nothing of the run with three epochs
    assert will_run(finished) == set()


def test_force_and_only_run_what_the_list_says(finished: Tree) -> None:
    finished.replace("profiles/default.yaml", "{model: [a, b]}", "{model: [a]}")
    assert will_run(finished, "--force", "--only", "base") == {"base/a", "base/c"}
    output, _ = finished.run("--force", "--only", "base")
    assert set(finished.events("started")) == {"base/a", "base/c"}
    assert "the article waits for 1 others: ./run_all.sh --profile default" in output
    assert listed(finished)["sizes/of_a"] == "will run: needs base/a, which has changed"


def test_a_failure_is_a_line_and_stops_nothing_else(tree: Tree) -> None:
    experiments = ["{name: wrong, parameters: {fail: of course}}", "{name: dead, parameters: {fail: killed}}"]
    tree.set_profile(", ".join([*experiments, "{name: good}"]))
    tree.replace("profiles/default.yaml", "}]}}", "}]}, sizes: {experiments: [{name: x, weights_from: base/wrong}]}}")
    output, errors = tree.run(status=1)
    notebook = "(executed notebook: build/default/base/{}/notebook.ipynb)"
    wrong = "base/wrong: cell 4: ValueError: of course more of it " + notebook.format("wrong")
    dead = "base/dead: cell 4: DeadKernelError: its kernel was killed, as the system does when memory runs out"
    *failures, summary = errors.splitlines()
    assert wrong in failures
    assert [line for line in failures if line.startswith(dead) and notebook.format("dead") in line]
    assert len(failures) == 2
    assert summary == "1 finished, 2 failed, 1 not run; the article is not up to date. Run again to go on."
    assert re.search(r"\] base/good finished", output)
    assert "of course" in (tree.layout.out("base/wrong") / "notebook.ipynb").read_text()
    assert not (tree.layout.build / "article.html").exists()
    assert listed(tree)["base/good"] == "up to date"
    assert listed(tree)["base/dead"] == "will run: not finished"


def test_a_job_that_asks_for_more_memory_than_there_is_runs(tree: Tree) -> None:
    """Alone, since it then has all the memory that jobs share."""
    tree.set_profile("{name: large}")
    tree.replace("profiles/default.yaml", "description: one", "description: one\nresources: {memory: 900000 GiB}")
    assert "[1/1] base/large finished" in tree.run()[0]


def test_an_article_that_fails_is_a_line_and_is_tried_again(finished: Tree) -> None:
    finished.write("report/wrong", "")
    _, errors = finished.run(status=1)
    assert errors.splitlines()[0] == (
        "article: error: placeholder 'x' is not resolved (log: build/default/article.log)"
    )
    assert will_run(finished) == {"article"}
    (finished.root / "report/wrong").unlink()
    assert finished.run()[0].splitlines()[-1].startswith("5 experiments of profile default are up to date")


def test_a_site_that_fails_is_a_line_and_is_tried_again(finished: Tree) -> None:
    finished.write("report/wrong_site", "")
    (finished.layout.build / "index.html").unlink()
    _, errors = finished.run(status=1)
    assert errors.splitlines() == [
        "site: error: a notebook is missing (log: build/default/site.log)",
        "0 finished, 1 failed, 0 not run; the article is not up to date. Run again to go on.",
    ]
    assert will_run(finished) == {"article"}
    (finished.root / "report/wrong_site").unlink()
    finished.run()
    assert (finished.layout.build / "index.html").is_file()
    assert will_run(finished) == set()


def test_missing_things_stop_the_run_or_are_left_out(tree: Tree) -> None:
    tree.write(
        "profiles/default.yaml",
        """
description: some of it cannot be had
studies:
  sizes:
    experiments:
      - {name: published, parameters: {weights: published, dataset: noise}}
      - {name: own, parameters: {dataset: ""}}
""",
    )
    output, errors = tree.run(status=2)
    assert output == ""
    assert errors.splitlines() == [
        "Missing:",
        "- noise is not embedded [for sizes/published]",
        "- the weights of 'a' are not here: fetch a [for sizes/published]",
        "error: 2 needed thing(s) missing, see above; --allow-missing runs the rest",
    ]
    assert not tree.layout.plans.exists()
    assert listed(tree, "--allow-missing")["sizes/published"] == "missing: data set noise and weights of a"
    output, _ = tree.run("--allow-missing")
    assert set(tree.events("started")) == {"sizes/own", "article"}
    assert "but for 1 that lack something; the article:" in output
    entries = json.loads((tree.layout.build / "plan.json").read_text())["experiments"]
    assert [(entry["status"], entry["reason"]) for entry in entries] == [
        ("missing", "data set noise and weights of a"),
        ("run", None),
    ]


class Killed:
    """Runs of one long training that are killed; each goes an epoch further than the last one and then waits."""

    def __init__(self, tree: Tree) -> None:
        self.tree, self.epochs = tree, 0
        tree.set_profile("{name: long, parameters: {epochs: 20}}")

    def begin(self) -> subprocess.Popen[str]:
        lines = self.tree.layout.out("base/long") / "partial.txt"
        self.epochs += 1
        self.tree.write("hold", str(self.epochs))
        process = self.tree.start()
        wait_for(lambda: lines.exists() and len(lines.read_text().splitlines()) == self.epochs)
        return process

    def finish(self, starts: int) -> None:
        """Let a last run reach the end; its result must be that of an undisturbed one, made by all the `starts`."""
        (self.tree.root / "hold").unlink()
        self.tree.run()
        expected = "".join(f"a {epoch}\n" for epoch in range(20))
        assert self.tree.results()["base/long/result.json"]["lines"] == expected
        assert (self.tree.layout.out("base/long") / "starts.txt").read_text() == "x" * starts


def test_after_the_runner_is_killed_nobody_goes_on_and_the_next_run_does(tree: Tree) -> None:
    killed = Killed(tree)
    tree.set_profile("{name: other}", "second")
    process = killed.begin()
    _, errors = tree.run(status=2)  # a second run on the same profile
    assert f"{tree.layout.build} is in use by another run (process {process.pid})" in errors
    tree.run("--profile", "second")  # another profile at the same time
    process.kill()
    process.communicate()
    wait_for(lambda: not tree.processes(), 10)
    scratch = Path((tree.layout.plans / "scratch.txt").read_text())
    assert scratch.is_dir()
    process = killed.begin()
    assert not scratch.exists()
    process.send_signal(signal.SIGTERM)
    assert "interrupted; the same command goes on from here" in process.communicate()[1]
    assert process.returncode == 130
    assert not tree.processes()
    assert not Path((tree.layout.plans / "scratch.txt").read_text()).exists()
    tree.write("hold_end", "")
    (tree.root / "hold").unlink()
    process = tree.start()
    wait_for(tree.layout.result("base/long").exists)
    process.kill()  # after the result, before the end of the notebook
    process.communicate()
    assert listed(tree)["base/long"] == "will run: not finished"
    (tree.root / "hold_end").unlink()
    tree.write("hold", "20")
    killed.finish(starts=4)


def test_after_a_part_is_killed_the_run_says_so_and_the_next_one_goes_on(tree: Tree) -> None:
    killed = Killed(tree)
    process = killed.begin()
    tree.processes("ipykernel")[0].kill()
    assert "base/long: cell 4: DeadKernelError" in process.communicate()[1]
    process = killed.begin()
    kernel = tree.processes("ipykernel")[0]
    kernel.suspend()  # or it would see that its parent is gone
    tree.processes("study.execute")[0].kill()
    line = "base/long: its process was killed before it ended (log: build/default/base/long/log.txt)"
    assert line in process.communicate()[1]
    assert process.returncode == 1
    assert not tree.processes()
    process = killed.begin()
    for victim in tree.processes("snakemake"):
        victim.kill()
    assert line in process.communicate()[1]
    process = killed.begin()
    orphan = tree.processes("ipykernel")[0]
    orphan.suspend()
    for victim in [psutil.Process(process.pid), *tree.processes("snakemake", "study.execute")]:
        victim.kill()
    process.communicate()
    assert orphan.is_running()  # what a kill -9 of all but one leaves
    killed.finish(starts=5)
    assert not orphan.is_running()


def test_what_a_killed_run_left_is_not_used_with_other_parameters(tree: Tree) -> None:
    process = Killed(tree).begin()
    process.kill()
    process.communicate()
    tree.set_profile("{name: long, parameters: {epochs: 2, model: b}}")
    (tree.root / "hold").unlink()
    assert listed(tree)["base/long"] == "will run: parameters changed: model a -> b, epochs 20 -> 2"
    tree.run()
    assert tree.results()["base/long/result.json"]["lines"] == "b 0\nb 1\n"


def test_processes_of_another_directory_are_left_alone(tree: Tree) -> None:
    tree.layout.build.mkdir(parents=True)
    environment = {**os.environ, MARK: str(tree.layout.build) + "2"}
    with subprocess.Popen(["sleep", "60"], env=environment) as other:
        end_leftovers(tree.layout.build)
        assert other.poll() is None
        other.kill()
