"""The tools of the browser tests work: Chromium starts, and axe finds what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from dev.browser import chromium, flags
from playwright.sync_api import Page, sync_playwright

GOOD = '<!doctype html><html lang="en"><head><title>Jobs</title></head><body><main><h1>Jobs</h1>{}</main></body></html>'


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags())
        try:
            yield browser.new_page()
        finally:
            browser.close()


def test_it_renders_a_page(page: Page, tmp_path: Path) -> None:
    page.set_content(GOOD.format("<p>all is well</p>"))
    assert page.title() == "Jobs"
    assert page.get_by_text("all is well").is_visible()
    page.screenshot(path=tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_axe_tells_a_good_page_from_a_bad_one(page: Page) -> None:
    page.set_content(GOOD.format("<p>all is well</p>"))
    assert Axe().run(page).violations_count == 0
    page.set_content(GOOD.format('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'))
    assert [found["id"] for found in Axe().run(page).response["violations"]] == ["image-alt"]
