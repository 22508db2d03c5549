"""Made-up pages in a real browser, for what real replicas cannot be made to show at will: keys, and what is live."""

# ruff: noqa: FBT001 pytest passes its arguments by name

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from tests.pages.ui_stub import job

from scheduledjobs.errors import StoreUnavailable

ONE = job(1)


@pytest.fixture
def page(browser: Browser, served: Any) -> Any:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def test_a_page_follows_what_happens_and_keeps_what_was_ticked_and_typed(page: Page, served: Any) -> None:
    page.goto(f"{served.url}/ui/jobs")
    page.get_by_label("Pick sync-ledger-1", exact=True).check()
    page.get_by_label("Search").fill("half a wo")
    served.reads.jobs_shown = 3
    served.hub.change()
    expect(page.locator("tbody tr")).to_have_count(3, timeout=8000)
    expect(page.get_by_label("Pick sync-ledger-1", exact=True)).to_be_checked()
    expect(page.get_by_label("Search")).to_have_value("half a wo")
    expect(page.get_by_label("Search")).to_be_focused()


def test_a_page_says_since_when_it_is_not_updated(page: Page, served: Any) -> None:
    page.goto(f"{served.url}/ui/")
    served.reads.broken = StoreUnavailable("gone")
    served.hub.change()
    expect(page.locator("#stale")).to_contain_text("Not updated since", timeout=8000)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    served.reads.broken = None
    expect(page.locator("#stale")).to_be_hidden(timeout=8000)


def test_the_page_of_an_outage_mends_itself(page: Page, served: Any) -> None:
    served.reads.broken = StoreUnavailable("gone")
    page.goto(f"{served.url}/ui/")
    expect(page.get_by_text("nothing is lost")).to_be_visible()
    served.reads.broken = None
    expect(page.get_by_role("heading", name="Overview")).to_be_visible(timeout=8000)


def test_keys_lead_everywhere_but_not_while_one_types(page: Page, served: Any) -> None:
    page.goto(f"{served.url}/ui/")
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(page).to_have_url(f"{served.url}/ui/jobs")
    page.keyboard.press("j")
    expect(page.locator("tbody .job").first).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("tbody .job").nth(1)).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.type("g o?n")
    expect(page.get_by_label("Search")).to_have_value("g o?n")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert Axe().run(page).violations_count == 0
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no script"])
def test_a_job_is_run_paused_and_deleted(browser: Browser, served: Any, has_script: bool) -> None:
    context = browser.new_context(java_script_enabled=has_script)
    page = context.new_page()
    page.goto(f"{served.url}/ui/jobs/{ONE.id}")
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_text("runs now.")).to_be_visible()
    page.get_by_role("link", name="Pause").click()
    page.get_by_label("For one hour").check()
    page.get_by_label("Reason").fill("an upgrade")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("is paused.")).to_be_visible()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete the job").click()
    expect(page.get_by_text("must be the name of the job")).to_be_visible()
    page.get_by_label("type its name").fill(ONE.name)
    page.get_by_role("button", name="Delete the job").click()
    expect(page.get_by_text("its history is kept")).to_be_visible()
    assert [what[0] for what in served.writes.asked] == ["run-now", "pause", "delete"]
    context.close()


def test_times_are_shown_in_the_zone_of_the_browser(browser: Browser, served: Any) -> None:
    context = browser.new_context(timezone_id="Asia/Tokyo")
    page = context.new_page()
    page.goto(f"{served.url}/ui/jobs/{ONE.id}")
    expect(page.get_by_role("columnheader", name="Your browser")).to_be_visible()
    expect(page.locator("[data-here]").first).to_have_text("2026-11-26 02:30:00")
    context.close()
