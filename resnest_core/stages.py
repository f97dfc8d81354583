"""Where the time of an evaluation goes: seconds by stage, of this process."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

READING = ("read", "decode", "resize")  # in the processes that read, which can be several at a time
_seconds: defaultdict[str, float] = defaultdict(float)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the time of the block for the stage `name`; stages do not nest."""
    start = time.perf_counter()
    try:
        yield
    finally:
        _seconds[name] += time.perf_counter() - start


def spent(before: Mapping[str, float] | None = None) -> dict[str, float]:
    """The seconds of each stage so far, or since those `before`."""
    return {name: value - (before or {}).get(name, 0.0) for name, value in _seconds.items()}
