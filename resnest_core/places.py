"""What a relative path means: the caller's directory on the command line, the project's root in profiles and results.

Standard library only: ./run_all.sh reads its arguments before anything is installed.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = "published"  # stands for weights where a file could
# The parameters of notebooks that name a file or a directory, or several.
PLACES = ("data", "weights", "backbone", "image", "real_labels", "runs")


def is_path(place: str) -> bool:
    """Whether `place` names a file or directory of this machine, and not a URL, "published" or nothing."""
    return bool(place) and place != PUBLISHED and "://" not in place


def expanded(place: str) -> str:
    """`place` with a leading ~ as the home directory, which a shell leaves as it is in quotes and after `=`."""
    return os.path.expanduser(place) if is_path(place) else place


def from_caller(place: str) -> str:
    """`place` as the caller sees it, in a form that can be stored: absolute unless the caller stands at the root."""
    place = expanded(place)
    return place if not is_path(place) or Path.cwd() == ROOT else str(Path(place).absolute())


def below_root(path: str) -> str:
    """A `path` below the root, in the form of `from_caller`."""
    return path if Path.cwd() == ROOT else str(ROOT / path)


def from_root(place: str) -> str:
    """`place` as it is seen from the root, where profiles and results begin."""
    place = expanded(place)
    return str(ROOT / place) if is_path(place) else place


def here_or_from_root(place: str) -> str:
    """`place` as the caller sees it if it is there, else as it is seen from the root: as notebooks mean it."""
    return from_caller(place) if not is_path(place) or Path(expanded(place)).exists() else from_root(place)
