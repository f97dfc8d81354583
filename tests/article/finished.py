"""A finished article, and how a user makes one."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from resnest_core.article.published import REPORT


@dataclass(frozen=True)
class Built:
    """A finished build directory and the text of its article."""

    directory: Path
    pdf: str
    html: str


def run(directory: Path) -> subprocess.CompletedProcess[str]:
    """Build an article as a user does."""
    command = [sys.executable, "-m", "resnest_core.article", str(directory)]
    return subprocess.run(command, cwd=REPORT.parent, capture_output=True, text=True, check=False)
