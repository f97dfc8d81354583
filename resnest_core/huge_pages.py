"""Memory in huge pages: asking the kernel for small ones takes a tenth to a fifth of a large network's forward pass."""

import os
import sys

VARIABLE, WANTED = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def wanted() -> dict[str, str]:
    """What a program's environment must hold as it starts, for glibc (2.35 or newer) to ask for huge pages.

    Nothing outside Linux, or where the variable is set, to whatever value.
    """
    return {VARIABLE: WANTED} if sys.platform == "linux" and VARIABLE not in os.environ else {}


def restart() -> None:
    """Begin this program anew with huge pages, if they are wanted."""
    if lacking := wanted():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | lacking)
