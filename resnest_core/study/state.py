"""What ran: the state file of an experiment, and how it differs from what is wanted now.

A state file holds `wanted` (what the result depends on), `results` (the digest of each needed experiment's result)
and, once the run is through, `finished` (the digest of its own result, its files, its seconds).
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from resnest_core.files import sha256
from resnest_core.study.layout import Layout

State = dict[str, Any]


def read_json(path: Path) -> State | None:
    """The object in a file of JSON; None if there is none, or if it is not what this program writes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def read_state(path: Path) -> State | None:
    """The state in a file; None if there is none, or if it was not written by this program."""
    state = read_json(path)
    return state if state and {"wanted", "results", "finished"} <= state.keys() else None


def results(layout: Layout, keys: Iterable[str]) -> dict[str, str | None]:
    """Digest of the result.json of each experiment; None where there is none."""
    paths = {key: layout.result(key) for key in keys}
    return {key: sha256(path) if path.is_file() else None for key, path in paths.items()}


def files(directory: Path) -> list[str]:
    """The files of an experiment that a reader or the article may use: none that is hidden."""
    paths = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


def can_go_on(state: State | None, wanted: State, needed: dict[str, str | None]) -> bool:
    """Whether what a killed run left in an experiment's directory belongs to the run that is wanted now."""
    return state is not None and state == {"wanted": wanted, "results": needed, "finished": None}


def why_stale(layout: Layout, key: str, wanted: State, needs: Iterable[str]) -> str | None:
    """Why the experiment must run although nothing forces it and what it needs is up to date; None if it need not."""
    state = read_state(layout.state_file(key))
    if state is None:
        return "new"
    if changes := differences(state["wanted"], wanted):
        return "; ".join(changes)
    if renewed := [need for need, result in results(layout, needs).items() if state["results"].get(need) != result]:
        return f"needs {renewed[0]}, which has changed"
    if state["finished"] is None:
        return "not finished"
    lost = [file for file in state["finished"]["files"] if not (layout.out(key) / file).is_file()]
    if lost:
        return f"{lost[0]} is gone"
    return None if state["finished"]["result"] == results(layout, [key])[key] else "result.json was changed"


def differences(old: State, new: State) -> list[str]:
    """What has changed from `old` to `new`, a phrase for each kind of dependency."""
    found = []
    if old.get("notebook") != new["notebook"]:
        found.append("notebook changed")
    if names := [name for name, content in new["data"].items() if content not in (None, old.get("data", {}).get(name))]:
        found.append(f"data changed: {', '.join(names)}")
    for kind in ("parameters", "versions"):
        before, now = old.get(kind, {}), new[kind]
        if names := _changed(before, now):
            values = (f"{name} {before.get(name, 'none')} -> {now.get(name, 'none')}" for name in names)
            found.append(f"{kind} changed: {', '.join(values)}")
    if names := _changed(old.get("code", {}), new["code"]):
        found.append(f"code changed: {', '.join(names)}")
    return found


def _changed(old: State, new: State) -> list[str]:
    return [name for name in {**old, **new} if name not in old or name not in new or old[name] != new[name]]
