"""Kernels that start ready: one process imports what the notebooks import, and forks for each kernel.

`python -m resnest_core.study.ready SOCKET IMPORT ...` is that process, which the runner starts; `ready_kernel.py` is
what Jupyter starts in place of a kernel. It asks for a fork and lives as long as that. Where nobody listens, as on
another machine, it becomes an ordinary kernel itself, which only takes longer to start.
"""

import ast
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from resnest_core.files import write_json
from resnest_core.study.fingerprint import parse
from resnest_core.study.processes import die_with_parent

SOCKET = "RESNEST_READY_SOCKET"
LAUNCHER = Path(__file__).with_name("ready_kernel.py")
INLINE = "module://matplotlib_inline.backend_inline"


def imported(sources: Iterable[str]) -> list[str]:
    """The import statements at the top level of these cells, each once."""
    statements = [statement for source in sources for statement in parse(source, "a cell").body]
    return list(dict.fromkeys(ast.unparse(s) for s in statements if isinstance(s, ast.Import | ast.ImportFrom)))


def write_kernel_specification(directory: Path) -> None:
    """Put a kernel "python3" into `directory`/kernels that starts as a fork."""
    (directory / "kernels" / "python3").mkdir(parents=True)
    command = [sys.executable, "-S", "-P", str(LAUNCHER), "ipykernel", "-f", "{connection_file}"]
    content = {"argv": command, "display_name": "Python 3", "language": "python"}
    write_json(directory / "kernels" / "python3" / "kernel.json", content)


def main(address: str, *imports: str) -> None:
    """Run the statements `imports`, then fork a kernel for each that connects to the socket at `address`, until killed.

    What is there before the forks is frozen: a fork's garbage collector would touch, and so copy, all of it.
    """
    die_with_parent()
    for statement in ("import ipykernel.kernelapp", *imports):
        with contextlib.suppress(Exception):  # the notebook imports it again, and shows the error
            exec(statement, {})
    if "torch" in sys.modules:
        importlib.import_module("torch._dynamo")  # which the first optimiser would import
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended kernels need no one to wait for them
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                become_kernel(connection)
            connection.close()


def become_kernel(connection: socket.socket) -> NoReturn:
    """Be the kernel that the launcher at the other end of `connection` asks for; end when the launcher is gone."""
    message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
    wanted: dict[str, Any] = json.loads(message)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(wanted["directory"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    for target, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, target)
    if "torch" in sys.modules and "OMP_NUM_THREADS" in os.environ:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].rcParams["backend"] = INLINE
    threading.Thread(target=_end_with, args=[connection], daemon=True).start()
    status = 1
    try:
        from ipykernel.kernelapp import launch_new_instance

        sys.argv = ["ipykernel_launcher", *wanted["arguments"]]
        launch_new_instance()
        status = 0
    finally:
        with contextlib.suppress(OSError):
            connection.sendall(bytes([status]))
        os._exit(status)


def _end_with(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.recv(1)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
