"""Who can read the site: with a screen reader, in the dark, on a phone, on paper."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

AXE = {"runOnly": ["wcag2a", "wcag2aa"], "resultTypes": ["violations"]}
# Contrast takes most of axe's time, and a phone's colours are those of "light".
WITHOUT_CONTRAST = {"rules": {"color-contrast": {"enabled": False}}}
# Each as wide as in the real thing: a laptop, a phone, an A4 sheet within the browser's margins.
LAYOUTS = {"at 1280 px": ("screen", 1280), "at 390 px": ("screen", 390), "in print": ("print", 718)}

UNFOLD = """() => {
  document.querySelectorAll("details").forEach((part) => (part.open = true));
  document.querySelectorAll(".toggle-hidden").forEach((e) => e.classList.remove("toggle-hidden"));
}"""
# What scrolls sideways, or would if it did not cut off.
CUT = """() => [...document.querySelectorAll("html, .bd-article, .bd-article *")]
  .filter((e) => e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1)
  .filter((e) => e.localName != "mjx-assistive-mml") // heard, not seen
  .filter((e) => e.localName == "html" || getComputedStyle(e).overflowX != "visible")
  .map((e) => `${e.localName} ${e.className}, ${e.scrollWidth} px in ${e.clientWidth}: ` +
    e.textContent.trim().slice(0, 60))"""
# A page has thousands of coloured words of code: one of each kind and place tells their contrast.
ONE_OF_EACH = """() => {
  const seen = new Set();
  for (const word of document.querySelectorAll("pre span")) {
    const place = word.closest("div.cell_input, div.cell_output, .admonition, div.highlight");
    const kind = `${word.className} in ${word.parentElement.className} in ${place?.className}`;
    if (seen.has(kind)) word.replaceWith(...word.childNodes);
    seen.add(kind);
  }
}"""


def violations(page: Page, look: str) -> list[str]:
    """What axe finds: the rule, where, and why, for the first of its kind."""
    options = AXE | (WITHOUT_CONTRAST if look == "phone" else {})
    return [
        f"{rule['id']}, {len(rule['nodes'])} times: {rule['nodes'][0]['html'][:200]} "
        f"{rule['nodes'][0]['failureSummary']}"
        for rule in Axe().run(page, options=options).response["violations"]
    ]


@pytest.fixture(scope="module")
def seen(address, browser, chapters) -> dict[str, dict[str, list[str]]]:
    """``{page: {layout: what is cut off}}``, with axe's findings under "light", "dark", "phone"."""
    page = browser.new_page(reduced_motion="reduce")  # no colour halfway to another
    found = {}
    for name in [*chapters, "search", "genindex"]:
        page.emulate_media(media="screen")
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"{address}/{name}.html")
        page.evaluate("() => window.MathJax?.startup?.promise")
        page.evaluate(UNFOLD)
        on_page = found[name] = {}
        for layout, (media, width) in LAYOUTS.items():
            page.emulate_media(media=media)
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("() => new Promise(requestAnimationFrame)")
            on_page[layout] = page.evaluate(CUT)
        page.emulate_media(media="screen")
        page.evaluate(ONE_OF_EACH)
        for look, theme, width in (
            ("phone", "light", 390),
            ("light", "light", 1280),
            ("dark", "dark", 1280),
        ):
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("theme => (document.documentElement.dataset.theme = theme)", theme)
            on_page[look] = violations(page, look)
    page.close()
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_cut_off_or_scrolls_sideways(seen, layout):
    assert {name: on_page[layout] for name, on_page in seen.items() if on_page[layout]} == {}


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_axe_finds_no_barrier(seen, look):
    assert {name: on_page[look] for name, on_page in seen.items() if on_page[look]} == {}


def test_every_page_describes_itself(pages):
    described = [page.select_one('meta[name="description"]')["content"] for page in pages.values()]
    assert all(described) and len(set(described)) == len(pages)
    icons = {page.select_one('link[rel="icon"]')["href"] for page in pages.values()}
    assert {icon.rpartition("/")[2] for icon in icons} == {"favicon.svg"}
