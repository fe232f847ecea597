"""The site, built once per session as ``make book`` builds it."""

from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

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
    toc = yaml.safe_load((book.ROOT / "_toc.yml").read_text())
    return [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]


@pytest.fixture(scope="session")
def pages(site, chapters) -> dict[str, BeautifulSoup]:
    """``{"notebooks/00_start_here.html": parsed page}`` for every page of the contents."""
    return {
        f"{name}.html": BeautifulSoup((site / f"{name}.html").read_text(), "html.parser")
        for name in chapters
    }
