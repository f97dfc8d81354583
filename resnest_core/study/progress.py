"""What the terminal shows of a run: a line as an experiment starts, one as it ends, and how it all ended."""

import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, TextIO

from resnest_core.study import slurm
from resnest_core.study.plan import Plan
from resnest_core.study.resources import Executor


class Progress:
    """Turns the events of a run into lines and keeps count."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.total = len(plan.to_run)
        self.started: set[str] = set()
        self.ended: dict[str, bool] = {}  # key -> whether it went well
        self.seconds: dict[str, float] = {}
        self.began = time.monotonic()

    def announce(self, where: Executor) -> None:
        article = " and the article" if self.plan.article_reason else ""
        what = f"{self.total} of {len(self.plan.steps)} experiments{article}"
        say(f"profile {self.plan.layout.profile}: {what}, {where}")

    def report(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            key = event["key"]
            if event["kind"] == "started":
                self.started.add(key)
                say(f"{self._count()} {key} started ({self._reason(key)})")
                continue
            self.ended[key] = event["kind"] == "finished"
            if event["kind"] == "failed":
                say(event["line"], sys.stderr)
            else:
                self.seconds[key] = event["seconds"]
                say(f"{self._count()} {key} finished in {event['seconds']:.0f} s{event['score']}")

    def warn(self, lines: Iterable[str]) -> None:
        for line in lines:
            say(line, sys.stderr)

    def conclude(self, status: int = 0) -> int:
        """Print how the run ended, with Snakemake's exit `status`; returns the status of the whole: 0, or 1."""
        layout = self.plan.layout
        for key in sorted(self.started - self.ended.keys()):
            say(
                f"{key}: its process was killed before it ended (log: {layout.relative(layout.out(key))}/log.txt)",
                sys.stderr,
            )
        self._say_times()
        failed = [key for key in self.started if not self.ended.get(key)]
        html, pdf, index = (layout.relative(path) for path in layout.articles)
        if not failed and status == 0:
            say(self._all_well(f"{html} and {pdf}; everything: {index}"))
            return 0
        log = layout.build / "snakemake.log"
        if refusal := slurm.refusal(log):
            say(f"Slurm did not take a job: {refusal} (log: {layout.relative(log)})", sys.stderr)
        elif not failed:
            say(f"Snakemake ended with status {status} (log: {layout.relative(log)})", sys.stderr)
        well = sum(key in self.plan.steps for key, good in self.ended.items() if good)
        undone = self.total - well - len([key for key in failed if key in self.plan.steps])
        count = f"{well} finished, {len(failed)} failed, {undone} not run"
        say(f"{count}; the article is not up to date. Run again to go on.", sys.stderr)
        return 1

    def _say_times(self) -> None:
        """Print what the run's time was spent on: a line a study, the longest first, and one for all."""
        seconds, jobs = Counter[str](), Counter(key.partition("/")[0] for key in self.seconds)
        for key, spent in self.seconds.items():
            seconds[key.partition("/")[0]] += spent  # type: ignore[assignment]  # a Counter sums whatever has +
        width = max(map(len, seconds), default=0)
        for study, spent in seconds.most_common():
            share = 100 * spent / (seconds.total() or 1)
            say(f"  {study:{width}} {_jobs(jobs[study])} {spent:7.0f} s {share:4.0f} %")
        if seconds:
            wall = time.monotonic() - self.began
            say(f"  {'all':{width}} {_jobs(jobs.total())} {seconds.total():7.0f} s, in {wall:.0f} s by the clock")

    def _reason(self, key: str) -> str | None:
        return self.plan.steps[key].reason if key in self.plan.steps else self.plan.article_reason

    def _count(self) -> str:
        done = sum(key in self.plan.steps for key in self.ended)
        return f"[{done:{len(str(self.total))}}/{self.total}]"

    def _all_well(self, places: str) -> str:
        plan = self.plan
        covered = (
            f"{len(plan.selected & plan.steps.keys())} experiments of profile {plan.layout.profile} are up to date"
        )
        if missing := [key for key, step in plan.steps.items() if key in plan.selected and step.missing]:
            covered += f", but for {len(missing)} that lack something"
        if plan.left_out:
            others = f"{len(plan.left_out)} others: ./run_all.sh --profile {plan.layout.profile}"
            return f"{covered}; the article waits for {others}"
        return f"{covered}; the article: {places}"


def _jobs(n: int) -> str:
    return f"{n:4} job{'s' if n > 1 else ' '}"


def say(line: str, stream: TextIO | None = None) -> None:
    print(line, file=stream or sys.stdout, flush=True)
