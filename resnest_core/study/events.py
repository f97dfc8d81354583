"""What the jobs of a run tell its runner: lines of JSON in files, since a job may run on another machine.

Each job has a file of its own, for over a network lines of two machines in one file would overwrite each other.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from resnest_core.study.layout import Layout


def tell(layout: Layout, kind: str, key: str, **facts: Any) -> None:
    """Add an event of `kind` "started", "finished" or "failed" of the experiment `key` (or "article")."""
    with layout.events_file(key).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "key": key, **facts}) + "\n")


class Listener:
    """The events of the jobs `keys` in one run, from its beginning."""

    def __init__(self, layout: Layout, keys: Iterable[str]) -> None:
        shutil.rmtree(layout.plans / "events", ignore_errors=True)
        self._read = {layout.events_file(key): 0 for key in keys}
        for path in self._read:  # made here: that a node has made a file can take long to be seen on another one
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def new(self) -> Iterator[dict[str, Any]]:
        """The events since the last call."""
        for path, read in self._read.items():
            content = path.read_bytes()[read:]
            whole = content[: content.rfind(b"\n") + 1]
            self._read[path] += len(whole)
            yield from map(json.loads, whole.splitlines())
