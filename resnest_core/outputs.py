"""What an output directory holds, so that no run replaces the work of another one."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from resnest_core.errors import InputError
from resnest_core.files import output_directory, write_json

P = ParamSpec("P")
T = TypeVar("T")
MARK = ".run.json"  # which run the other files are of, until the result says so
RESULT = "result.json"  # the last that a run writes
TRAINED = ("training_state.pt", "weights.safetensors", "curves.csv")
MEASURED = ("records.parquet", "truths.parquet", "detections.parquet", "segments.parquet")
# Of analyses; what a training or an evaluation writes beside its work, to be made again in seconds.
OTHERS = ("passes.parquet", "classes.parquet", "attention.parquet", "blocks.parquet", "examples.npz", "partial")
REPLACE = "give another --out, or --overwrite (in Python overwrite=True)"
REMOVE = "give another out, or remove that one"
MOST_DIFFERENCES = 6  # in one line
Facts = dict[str, Any]  # a run's `kind` (a word), its `model` if it has one, and its settings


@contextmanager
def claimed(out: str | Path, facts: Facts, *, overwrite: bool = False, remedy: str = REPLACE) -> Iterator[Path]:
    """The directory `out` for the run of these `facts`, made if need be; a run of the same facts continues there.

    A run that fails before it has any work to keep leaves nothing behind. Raises InputError, before anything is
    written, if the directory holds another run's work; with `overwrite` that is removed instead.
    """
    out, facts = Path(out), json.loads(json.dumps(facts))
    if problem := _held(out, facts):
        if not overwrite:
            raise InputError(f"'{out}' holds {problem}; {remedy}")
        _clear(out)
    new = not out.exists()
    output_directory(out)
    write_json(out / MARK, facts)
    try:
        yield out
    except BaseException:
        if not _work(out):
            _clear(out)
            if new:
                with suppress(OSError):  # which is raised where others have put something there
                    out.rmdir()
        raise


def claims(kind: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let an analysis of a `kind` claim the directory that is its argument `out`; its other arguments are the facts."""

    def claiming(analysis: Callable[P, T]) -> Callable[P, T]:
        @wraps(analysis)
        def run(*positional: P.args, **named: P.kwargs) -> T:
            given = signature(analysis).bind(*positional, **named)
            given.apply_defaults()
            facts = {name: str(value) for name, value in given.arguments.items() if name not in ("out", "device")}
            with claimed(given.arguments["out"], {"kind": kind, **facts}, remedy=REMOVE):
                return analysis(*positional, **named)

        return run

    return claiming


def _held(out: Path, facts: Facts) -> str:
    """What of another run than that of `facts` is in `out`, in words; empty if nothing is."""
    there, work = facts_of(out), _work(out)
    if not there and facts["kind"] != "training":
        work = [name for name in work if name not in TRAINED]  # weights that lie there are not written
    if not work or there == facts:
        return ""
    return _described(there, facts, work)


def _work(out: Path) -> list[str]:
    """The files in `out` that are worth keeping."""
    names = [name for name in (RESULT, *TRAINED, *MEASURED) if (out / name).exists()]
    return names + ["partial"] * any(out.glob("partial/*/*.parquet"))


def facts_of(out: Path) -> Facts:
    """The facts of the run in `out`; none if that is not known."""
    for name, find in ((MARK, dict), (RESULT, lambda result: dict(result["run"]))):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return find(json.loads((out / name).read_text(encoding="utf-8")))
    return {}


def _described(there: Facts, facts: Facts, work: list[str]) -> str:
    if not there:
        return f"{', '.join(work)} of another run"
    state = "a finished" if RESULT in work else "an unfinished"
    whose = f" of {there['model']}" if "model" in there else ""
    if there["kind"] != facts["kind"]:
        return f"{state} {there['kind']}{whose}, and this is another {facts['kind']}"
    return f"{state} {there['kind']}{whose} ({_differences(there, facts)})"


def _differences(there: Facts, facts: Facts) -> str:
    names = [name for name in {**there, **facts} if there.get(name) != facts.get(name)]
    shown = [f"{name}: {there.get(name, 'none')} -> {facts.get(name, 'none')}" for name in names[:MOST_DIFFERENCES]]
    return ", ".join([*shown, *([f"and {len(names) - len(shown)} more"] if len(names) > len(shown) else [])])


def _clear(out: Path) -> None:
    """Remove what runs write, the result first, without which nothing counts as finished."""
    for name in (RESULT, *TRAINED, *MEASURED, *OTHERS, MARK):
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)
