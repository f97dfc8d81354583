"""Kernels that are forks: started fast, alone in what they are told, and gone with their launcher."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from resnest_core.study.ready import SOCKET, imported, write_kernel_specification

IMPORTS = ("import colorsys", "import no_such_module", "from xml import dom")
Started = tuple[KernelManager, BlockingKernelClient]


def test_only_imports_at_the_top_of_cells_are_made_ready() -> None:
    cells = [
        "%pwd\nimport a.b, c as d\nfrom e.f import g\n",
        "def h():\n    import i\nif True:\n    import j\nimport c",
    ]
    assert imported(cells) == ["import a.b, c as d", "from e.f import g", "import c"]


@pytest.fixture
def specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_kernel_specification(tmp_path)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def ready(specification: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    address = specification / "ready"
    monkeypatch.setenv(SOCKET, str(address))
    command = [sys.executable, "-P", "-m", "resnest_core.study.ready", str(address), *IMPORTS]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    wait_until(address.exists)
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def wait_until(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def ask(client: BlockingKernelClient, code: str) -> str:
    printed: list[str] = []

    def take(message: dict) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    client.execute_interactive(code, timeout=60, output_hook=take)
    return "".join(printed).strip()


def test_a_kernel_is_a_fork_with_its_own_surroundings(
    ready: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNEST_TEST", "told after the start")
    monkeypatch.chdir(tmp_path)
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        assert int(ask(client, "import os; print(os.getppid())")) == ready.pid
        names = "('colorsys', 'no_such_module', 'xml.dom')"
        assert ask(client, f"import sys; print([name in sys.modules for name in {names}])") == "[True, False, True]"
        assert int(ask(client, "import gc; print(gc.get_freeze_count())")) > 10_000  # the fork need not look at them
        assert ask(client, "print(os.environ['RESNEST_TEST'])") == "told after the start"
        assert ask(client, "print(os.getcwd())") == str(tmp_path)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    wait_until(lambda: not ready.children())
    assert ready.is_running()


def test_a_fork_ends_with_its_launcher(ready: psutil.Process) -> None:
    manager, client = start_new_kernel(kernel_name="python3")
    fork = psutil.Process(int(ask(client, "import os; print(os.getpid())")))
    launcher = next(p for p in psutil.Process().children() if p.pid != ready.pid)
    launcher.kill()
    wait_until(lambda: not fork.is_running())
    client.stop_channels()
    assert not manager.is_alive()


def test_a_launcher_ends_with_its_fork(ready: psutil.Process) -> None:
    manager, client = start_new_kernel(kernel_name="python3")
    psutil.Process(int(ask(client, "import os; print(os.getpid())"))).kill()
    wait_until(lambda: not manager.is_alive())
    client.stop_channels()


def test_without_the_process_a_kernel_starts_in_the_ordinary_way(
    specification: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SOCKET, str(specification / "nobody"))
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        assert int(ask(client, "import os; print(os.getppid())")) == os.getpid()
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
