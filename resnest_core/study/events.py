"""What the jobs of a run tell its runner: lines of JSON in a file, since a job may run on another machine."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resnest_core.study.layout import Layout


def tell(layout: Layout, kind: str, key: str, **facts: Any) -> None:
    """Add an event of `kind` "started", "finished" or "failed" of the experiment `key` (or "article")."""
    line = json.dumps({"kind": kind, "key": key, **facts}) + "\n"
    file = os.open(_path(layout), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, line.encode())  # one write, so that lines of jobs do not mix
    finally:
        os.close(file)


class Listener:
    """The events of one run, from its beginning."""

    def __init__(self, layout: Layout) -> None:
        self._path = _path(layout)
        self._path.unlink(missing_ok=True)
        self._read = 0

    def new(self) -> Iterator[dict[str, Any]]:
        """The events since the last call."""
        content = self._path.read_bytes()[self._read :] if self._path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        yield from map(json.loads, whole.splitlines())


def _path(layout: Layout) -> Path:
    return layout.plans / "events.jsonl"
