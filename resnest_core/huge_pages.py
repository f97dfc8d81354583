"""Memory in huge pages: asking the kernel for small ones takes a tenth to a fifth of a large network's forward pass."""

import os
import sys

VARIABLE, WANTED = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def restart() -> None:
    """Begin this program anew with huge pages, which glibc (2.35 or newer) reads of at the start alone.

    Nothing happens outside Linux, or where the variable is set, to whatever value.
    """
    if sys.platform == "linux" and VARIABLE not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {VARIABLE: WANTED})
