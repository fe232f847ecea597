"""Committed notebooks as JupyterLab shows and saves them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from tools.notebooks import NOTEBOOKS, ROOT

NAMES = ("00_start_here", "05_latent_consistency", "exercises/ex1_convnext_block")
SHOTS = Path(os.environ.get("MODARCH_SCREENSHOTS", ROOT / "_build" / "screenshots"))

# Text that is no code, in the cells that JupyterLab rendered from Markdown.
PROSE = """() => [...document.querySelectorAll(".jp-RenderedMarkdown")].map((cell) => {
  const copy = cell.cloneNode(true);
  copy.querySelectorAll("pre, code, .MathJax, mjx-container").forEach((part) => part.remove());
  return copy.textContent;
})"""
# An admonition's fence becomes a block of code in the language "{admonition}".
FENCES = """() => [...document.querySelectorAll('.jp-RenderedMarkdown code[class*="language-{"]')]
  .map((code) => code.className)"""
BARE = """() => [...document.querySelectorAll(".jp-Notebook img")]
  .filter((image) => !image.alt.trim()).map((image) => image.src.slice(0, 60))"""
FOLDED = """() => [...document.querySelectorAll(".jp-Notebook .jp-Cell")]
  .map((cell, index) => cell.querySelector(".jp-InputPlaceholder") ? index : -1)
  .filter((index) => index >= 0)"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    copies = tmp_path_factory.mktemp("notebooks")
    for name in NAMES:
        (copies / name).parent.mkdir(exist_ok=True)
        shutil.copy(NOTEBOOKS / f"{name}.ipynb", copies / f"{name}.ipynb")
    return copies


@pytest.fixture(scope="module")
def lab(browser, folder, tmp_path_factory):
    """JupyterLab's address; it serves ``folder``, with settings of its own and no password."""
    home = tmp_path_factory.mktemp("home")
    settings = home / "settings" / "@jupyterlab"
    choices = {
        # Every cell is on the page, not those in sight alone.
        "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": False},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    for plugin, values in choices.items():
        path = settings / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values), "utf-8")
    port = free_port()
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token="]
    command += [f"--ServerApp.root_dir={folder}", "--allow-root"]
    command += [f"--LabApp.user_settings_dir={home / 'settings'}"]
    command += [f"--LabApp.workspaces_dir={home / 'workspaces'}"]
    private = {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home), "JUPYTER_DATA_DIR": str(home)}
    with open(home / "log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | private)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urlopen(f"{address}/api/status").close()
                break
            except OSError:
                assert server.poll() is None, (home / "log").read_text("utf-8")
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.parametrize("name", NAMES)
def test_jupyterlab_shows_and_keeps_a_notebook(browser, lab, folder, name):
    path = folder / f"{name}.ipynb"
    before = json.loads(path.read_text("utf-8"))
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{lab}/lab/tree/{name}.ipynb?reset")
    cells = page.locator(".jp-Notebook .jp-Cell")
    page.wait_for_function(
        "n => document.querySelectorAll('.jp-Notebook .jp-Cell').length == n"
        " && !document.querySelector('#jupyterlab-splash')",
        arg=len(before["cells"]),
        timeout=60_000,
    )
    cells.last.scroll_into_view_if_needed()

    SHOTS.mkdir(parents=True, exist_ok=True)
    for place, cell in (("top", cells.first), ("middle", cells.nth(cells.count() // 2))):
        cell.scroll_into_view_if_needed()
        page.screenshot(path=SHOTS / f"lab_{Path(name).name}_{place}.png")

    prose = page.evaluate(PROSE)
    assert len(prose) >= sum(cell["cell_type"] == "markdown" for cell in before["cells"])
    assert [s for s in prose if re.search(r"\{[a-z]+(:[a-z]+)?\}|^:::|```", s, re.M)] == []
    assert page.evaluate(FENCES) == []
    assert page.evaluate(BARE) == []
    assert "Error displaying widget" not in page.locator(".jp-Notebook").inner_text()
    hidden = [
        index
        for index, cell in enumerate(before["cells"])
        if cell["metadata"].get("jupyter", {}).get("source_hidden")
    ]
    assert page.evaluate(FOLDED) == hidden
    assert hidden or "exercises" in name

    cells.first.click()
    with page.expect_response(lambda r: r.request.method == "PUT" and "/contents/" in r.url) as put:
        page.keyboard.press("Control+s")
    assert put.value.ok
    page.close()
    after = json.loads(path.read_text("utf-8"))
    for notebook in (before, after):
        notebook["metadata"]["language_info"].pop("version", None)
    assert after == before
