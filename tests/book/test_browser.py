"""The built site in a real browser."""

import os

from playwright.sync_api import Page


def watch(page: Page, address: str) -> list[str]:
    """Collect what goes wrong on a page: console errors, exceptions, requests that leave it."""
    found: list[str] = []

    def route(request) -> None:
        if request.request.url.startswith((address, "data:", "blob:")):
            request.continue_()
        else:
            found.append(f"request to {request.request.url}")
            request.abort()

    page.route("**/*", route)
    page.on("console", lambda m: m.type == "error" and found.append(f"console: {m.text}"))
    page.on("pageerror", lambda error: found.append(f"exception: {error}"))
    page.on("response", lambda r: r.status >= 400 and found.append(f"{r.status}: {r.url}"))
    return found


def test_the_site_in_a_browser(address, browser, chapters):
    """One test, so that where there is no browser one test is skipped."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    found = watch(page, address)

    page.goto(address)
    page.wait_for_url(f"**/{chapters[0]}.html")

    for name in chapters:
        page.goto(f"{address}/{name}.html", wait_until="networkidle")
        assert page.locator("article h1").count() == 1, f"{name} has no title"
        for image in page.locator("article img").all():
            image.scroll_into_view_if_needed()
            width = image.evaluate("i => i.decode().then(() => i.naturalWidth, () => 0)")
            if not width:
                found.append(f"{name}: {image.get_attribute('src')} did not load")
        formulas, drawn = page.locator("article .math").count(), page.locator("mjx-container")
        if formulas and not drawn.count():
            found.append(f"{name}: {formulas} formulas, none drawn")
        page.evaluate("scrollTo(0, 0)")
        if shots := os.environ.get("MODARCH_SCREENSHOTS"):
            page.screenshot(path=f"{shots}/book_{name.replace('/', '_')}.png", full_page=True)

    page.goto(f"{address}/{chapters[0]}.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("ledger")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=ledger")
    result = page.locator("#search-results a", has_text="Ledger").first
    result.wait_for(timeout=10_000)
    result.click()
    page.wait_for_url("**/book/ledger.html*")

    table = page.locator(".sortable table").first
    title = table.get_by_role("button", name="All")
    for falling in (False, True):
        title.press("Enter")
        counts = [int(text) for text in table.locator("tbody td:nth-child(2)").all_inner_texts()]
        assert counts == sorted(counts, reverse=falling) and len(set(counts)) > 3

    page.close()
    assert found == []
