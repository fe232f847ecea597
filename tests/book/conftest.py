"""The site, built once per session as ``make book`` builds it."""

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from tests.chromium import browser  # noqa: F401
from tools import book


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site; a warning anywhere fails here, with the log."""
    result = book.build()
    assert result.returncode == 0, result.stdout[-8000:]
    return book.ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def chapters() -> list[str]:
    """Every page of the table of contents, without suffix, the first page first."""
    toc = yaml.safe_load((book.ROOT / "_toc.yml").read_text("utf-8"))
    return [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]


@pytest.fixture(scope="session")
def pages(site, chapters) -> dict[str, BeautifulSoup]:
    """``{"notebooks/00_start_here.html": parsed page}`` for every page of the contents."""
    return {
        f"{name}.html": BeautifulSoup((site / f"{name}.html").read_text("utf-8"), "html.parser")
        for name in chapters
    }


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="session")
def address(site) -> Iterator[str]:
    """The site's address, served on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
