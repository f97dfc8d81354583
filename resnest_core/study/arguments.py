"""The arguments of ./run_all.sh; standard library only, since they are read before anything is installed."""

import argparse
import os
import re
from pathlib import Path
from typing import NoReturn

from resnest_core.errors import InputError, unknown
from resnest_core.places import expanded
from resnest_core.ranges import LONGEST, range_of, refusal
from resnest_core.study.layout import ROOT, Layout

USAGE = """./run_all.sh [--profile NAME] [--only STUDY] [--data DIR] [--jobs N] [--executor NAME]
                    [--force] [--allow-missing] [--list]
       ./run_all.sh test"""
EXECUTORS = ("local", "slurm")
DESCRIPTION = """Run the study of a profile and write its article to build/PROFILE/article.html and article.pdf.
What is up to date is not run again; an interrupted run goes on where it was.
`test` checks the code and the notebooks and runs the tests."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that lists the valid flags."""

    def error(self, message: str) -> NoReturn:
        problem, _, values = message.partition(": ")
        if problem == "unrecognized arguments":
            raise unknown("argument", values, flags())
        raise InputError(re.sub(r"^argument (--\S+): ", r"\1 ", message))


def flags() -> list[str]:
    """Every flag and command of ./run_all.sh."""
    return [*re.findall(r"--[a-z-]+", USAGE), "--help", "test"]


def parser() -> Parser:
    result = Parser(usage=USAGE, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter,
                    allow_abbrev=False)  # fmt: skip
    add = result.add_argument
    add("command", metavar="test", nargs="?", help="check the code and run the tests")
    add("--profile", metavar="NAME", default="default", help=f"one of {', '.join(profiles())} (default: default)")
    add("--only", metavar="STUDY", help="run this study and what it needs")
    add(
        "--data",
        metavar="DIR",
        type=_place,
        help="directory, list or URL of the data set; a relative path begins here, one in a profile at the "
        "project's root (default: the embedded one)",
    )
    add("--jobs", metavar="N", type=_jobs, help="experiments at a time (default: one a core; 100 on a cluster)")
    add(
        "--executor", metavar="NAME", default="local", help=f"where they run: {' or '.join(EXECUTORS)} (default: local)"
    )
    add("--force", action="store_true", help="run what is up to date as well, from the beginning")
    add("--allow-missing", action="store_true", help="leave out what lacks its data or weights, and run the rest")
    add("--list", action="store_true", help="only say what would run, and why")
    return result


def parse(arguments: list[str]) -> argparse.Namespace:
    """The checked `arguments`.

    Raises: InputError, a line, for an unknown flag, command or profile, or a value that will not do.
    """
    options = parser().parse_args(arguments)
    if options.command not in (None, "test"):
        raise unknown("command", options.command, ["test"])
    if options.command and len(arguments) > 1:
        raise InputError(f"'test' takes no flags, but got '{' '.join(arguments)}'")
    if options.profile not in profiles():
        raise unknown("profile", options.profile, profiles())
    if options.executor not in EXECUTORS:
        raise unknown("executor", options.executor, EXECUTORS)
    return options


def profiles() -> list[str]:
    return Layout("", ROOT).stored_in("profiles", ".yaml")


def _place(value: str) -> str:
    if "://" in value:
        return value
    place = expanded(value)
    if not value or not Path(place).exists():
        raise argparse.ArgumentTypeError(f"'{value}' is not a directory, a file or a URL; give where the data set lies")
    return str(Path(place).absolute())


def _jobs(value: str) -> int:
    valid = range_of("jobs")
    number = int(value) if value.isdecimal() and len(value) < LONGEST else -1
    if number not in valid:
        raise argparse.ArgumentTypeError(str(refusal("", value, valid)).lstrip())
    return number


def cores() -> int:
    """The cores that this process may use, which in a container can be fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
