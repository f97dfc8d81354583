"""Very many strings that take little more than their letters, and that processes share when they fork."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow as pa

CHUNK = 2**12  # so many are Python strings at a time


class Strings(Sequence[str]):
    """Like a list of str, held by Arrow in one piece: a million Python strings would take 80 bytes more each."""

    def __init__(self, array: pa.Array | pa.ChunkedArray) -> None:
        whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        self.array = whole.cast(pa.large_string())

    @classmethod
    def of(cls, strings: Iterable[str]) -> "Strings":
        """From strings that come one at a time."""
        chunks, waiting = [], []
        for string in strings:
            waiting.append(string)
            if len(waiting) == CHUNK:
                chunks.append(pa.array(waiting, pa.large_string()))
                waiting = []
        return cls(pa.chunked_array([*chunks, pa.array(waiting, pa.large_string())]))

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Strings": ...
    def __getitem__(self, index: int | slice) -> "str | Strings":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self.array[index].as_py()

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), CHUNK):
            yield from self.array.slice(first, CHUNK).to_pylist()

    def take(self, indices: np.ndarray) -> "Strings":
        """Those at `indices` (m,), in that order."""
        return Strings(self.array.take(pa.array(indices)))

    def repeats(self) -> np.ndarray:
        """The indices of strings that are equal to an earlier one."""
        codes = self.array.dictionary_encode().indices.to_numpy()  # counted up as new strings appear
        return np.flatnonzero(np.diff(np.maximum.accumulate(codes), prepend=-1) == 0)
