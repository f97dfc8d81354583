"""What lies in a user's directories, without what systems and editors leave there; how it is told what was left out.

Left out are dot files and folders (`.DS_Store`, `._*`, `.ipynb_checkpoints`, `.git`), the folders that archives, disks
and storage servers add, thumbnails, marks of downloads (`a.jpg:Zone.Identifier`) and backups of editors (`a.txt~`).
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# In lower case: the systems that write them do not tell cases apart.
_LEFTOVERS = re.compile(
    r"\..*|thumbs\.db|ehthumbs(_vista)?\.db|desktop\.ini|__macosx|@eadir|#recycle|\$recycle\.bin|icon\r"
    r"|system volume information|lost\+found|.*:zone\.identifier|.+\.\w+~",
    re.DOTALL,
)
_IMAGES = re.compile(r".+\.(jpe?g|jpe|jfif|png|webp|bmp|gif|tiff?|p[gp]m|jp2|avif|heic)", re.DOTALL)


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name (no path) is none of the user's."""
    return _LEFTOVERS.fullmatch(name.lower()) is not None


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image."""
    return _IMAGES.fullmatch(name.lower()) is not None


def holds_nothing(folder: Path) -> bool:
    """Whether there is nothing in a directory but leftovers."""
    return all(is_leftover(name) for name in os.listdir(folder))


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many there are besides."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def left_out(names: Sequence[str]) -> tuple[str, ...]:
    """A line on leftovers, none if there are none."""
    kind = "leftover of systems or editors" if len(names) == 1 else "leftovers of systems or editors"
    return (f"{len(names):,} {kind} left out: {some(names)}",) if names else ()


def alike(classes: Sequence[str]) -> tuple[str, ...]:
    """A line on classes whose names differ in capitals alone, none if there are none."""
    by_name: dict[str, list[str]] = {}
    for name in classes:
        by_name.setdefault(name.casefold(), []).append(name)
    found = [" and ".join(names) for names in by_name.values() if len(names) > 1]
    return (f"classes that differ in capitals alone: {some(found)}",) if found else ()


def told(lacking: str, problems: Sequence[str], remarks: Sequence[str]) -> str:
    """What has to be said of a data set in its line: the first problem, and how many there are besides."""
    more = f" (and {len(problems) - 1:,} more problems)" if len(problems) > 1 else ""
    first = [f"{problems[0]}{more}"] if problems else []
    return "".join(f"; {line}" for line in (lacking, *first, *remarks) if line)


@dataclass
class Tree:
    """The directory `root`. What was left out so far is in `leftovers` and `loops`, paths relative to it.

    Links are followed, but for `loops`: those that lead back to a folder above them.
    """

    root: Path
    leftovers: dict[str, None] = field(default_factory=dict)  # in their order, each once
    loops: dict[str, None] = field(default_factory=dict)

    @property
    def remarks(self) -> tuple[str, ...]:
        """A line on leftovers and a line on loops, as far as there are any."""
        back = f"{len(self.loops):,} link(s) back to a folder above left out: {some(sorted(self.loops))}"
        return (*left_out(sorted(self.leftovers)), *([back] if self.loops else []))

    def folders(self) -> list[str]:
        """Names of the folders in `root`, sorted."""
        return sorted(name for name, identity in self._entries("", self._above) if identity)

    def files(self) -> list[str]:
        """Names of the files in `root`, sorted."""
        return sorted(name for name, identity in self._entries("", self._above) if not identity)

    def below(self, folder: str) -> list[str]:
        """Paths of all files at any depth below a folder in `root`, sorted."""
        return sorted(self._walk(folder, self._above | {_identity(self.root / folder)}))

    @property
    def _above(self) -> frozenset[tuple[int, int]]:
        own = self.root.resolve()
        return frozenset(map(_identity, (own, *own.parents)))

    def _walk(self, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
        for path, identity in self._entries(f"{folder}/", above):
            if identity:
                yield from self._walk(path, above | {identity})
            else:
                yield path

    def _entries(self, inside: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, tuple[int, int] | None]]:
        """Path of each file and folder, with the identity of a folder; OSError if it cannot be read."""
        with os.scandir(self.root / inside) as entries:
            for entry in entries:
                path, identity = f"{inside}{entry.name}", None
                if is_leftover(entry.name):
                    self.leftovers[path] = None
                    continue
                if _is_folder(entry) and (identity := _identity(entry)) in above:
                    self.loops[path] = None
                    continue
                yield path, identity


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _identity(path: Path | os.DirEntry[str]) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
