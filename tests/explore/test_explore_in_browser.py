"""The notebook for looking at runs in a real JupyterLab and a real browser, without any other network."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

from resnest_core.study.layout import ROOT
from resnest_core.study.processes import die_with_parent

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 120.0  # seconds, for a machine that is busy
ERRORS = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"

DIGEST = """async image => {
    const bytes = await (await fetch(image.src)).arrayBuffer();
    return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).join();
}"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium, chromium-browser or google-chrome here")


@pytest.fixture
def address(build: Path, tmp_path: Path) -> Iterator[str]:
    """Of the notebook in a JupyterLab of its own, beside the tiny runs."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "explore.ipynb", tmp_path / "notebooks")
    shutil.copytree(build, tmp_path / "build")
    with jupyterlab(tmp_path) as url:
        yield url.replace("?", "lab/tree/notebooks/explore.ipynb?")


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1200, "height": 1000})
            page.set_default_timeout(1000 * PATIENCE)
            expect.set_options(timeout=1000 * PATIENCE)
            yield page
        finally:
            browser.close()


@contextmanager
def jupyterlab(directory: Path) -> Iterator[str]:
    """A server in `directory`, with settings of its own; yields its address, with the token, and ends it."""
    home = directory / "jupyter"
    (home / "labconfig").mkdir(parents=True)
    # It would ask whether it may fetch news.
    silent = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (home / "labconfig" / "page_config.json").write_text(json.dumps(silent))
    names = ("CONFIG", "DATA", "RUNTIME"), ("SETTINGS", "WORKSPACES")
    places = {f"JUPYTER_{name}_DIR": str(home) for name in names[0]}
    places |= {f"JUPYTERLAB_{name}_DIR": str(home / name) for name in names[1]} | {"IPYTHONDIR": str(home / "ipython")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={_free_port()}"]
    with open(directory / "lab.log", "w") as log:
        server = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={directory}", "--IdentityProvider.token=secret"],
            cwd=directory,
            env={**os.environ, **places, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
    try:
        yield f"{_address(server, home)}?token=secret"
    finally:
        _end(server)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _address(server: subprocess.Popen, runtime: Path) -> str:
    """What the server says of itself once it listens."""
    information = runtime / f"jpserver-{server.pid}.json"
    for _ in range(int(PATIENCE * 10)):
        if information.is_file() and information.read_text().endswith("}"):
            return str(json.loads(information.read_text())["url"])
        assert server.poll() is None, (runtime.parent / "lab.log").read_text()
        time.sleep(0.1)
    raise AssertionError((runtime.parent / "lab.log").read_text())


def _end(server: subprocess.Popen) -> None:
    """End the server and its kernels, which have sessions of their own; without it they end by themselves."""
    if server.poll() is not None:
        return
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    server.terminate()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        process.kill()
    server.wait()


def run_all(page: Page, address: str) -> None:
    """Open the notebook and run its cells."""
    page.goto(address)
    expect(page.get_by_role("button", name=re.compile(r"^Python 3.*\| Idle$"))).to_be_visible()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).first.click()


def picture(panel: Locator) -> str:
    """The digest of the picture that the panel shows."""
    image = panel.locator("img.widget-image")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") > 500
    return str(image.evaluate(DIGEST))


def changed(panel: Locator, before: str) -> str:
    """The picture, once it is another one."""
    for _ in range(int(PATIENCE * 10)):
        if (now := picture(panel)) != before:
            return now
        time.sleep(0.1)
    raise AssertionError("the picture stays as it was")


def test_the_panels_answer_in_a_browser(address: str, page: Page, tmp_path: Path) -> None:
    strangers: list[str] = []
    page.on("request", lambda request: strangers.append(request.url))
    run_all(page, address)
    panel = page.locator(".widget-tab-contents > .widget-vbox:visible")
    first = picture(panel)
    expect(panel.get_by_text("Test image 0 of 20")).to_be_visible()

    handle = panel.locator(".noUi-handle").first
    handle.focus()
    page.keyboard.press("ArrowRight")
    expect(panel.get_by_text("Test image 1 of 20")).to_be_visible()
    second = changed(panel, first)
    panel.get_by_label("block").select_option(index=1)
    seen = {first, second, changed(panel, second)}

    (tmp_path / "broken.png").write_text("no image")
    Image.effect_noise((60, 40), 80).save(tmp_path / "photo.png")
    for name, words in (("broken.png", "image 'broken.png' cannot be read"), ("photo.png", "Uploaded image: ")):
        with page.expect_file_chooser() as chooser:
            panel.get_by_role("button", name="or upload an image").click()
        chooser.value.set_files(tmp_path / name)
        expect(panel.get_by_text(words)).to_be_visible()
    seen.add(picture(panel))
    assert len(seen) == 4

    for tab, words in (("Compare", "exact McNemar test"), ("Draw", "objects found")):
        page.get_by_role("tab", name=tab, exact=True).click()
        expect(panel.get_by_text(words)).to_be_visible()
        assert picture(panel) not in seen
        assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth"), f"{tab} is wider than its place"

    assert page.locator(ERRORS).count() == 0
    assert "Traceback" not in page.locator(".jp-Notebook").inner_text()
    own = address.partition("lab/tree")[0]
    assert [url for url in strangers if not url.startswith((own, "data:", "blob:"))] == []
