"""A browser for the tests: Debian's Chromium, or a Chrome that is there already."""

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The sandbox needs rights that root in a container lacks; the pages are our own. The rest keeps
# the browser from calling home.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Of one module: while it is open, its event loop is in the way of other modules' own.
@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        missing = "no Chromium found: `make browser` installs it (Debian, Ubuntu)"
        if os.environ.get("MODARCH_REQUIRE_BROWSER") == "1":
            pytest.fail(f"MODARCH_REQUIRE_BROWSER=1, but {missing}")
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield chromium
        chromium.close()
