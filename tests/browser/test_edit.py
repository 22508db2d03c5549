"""The form for a job in a real browser: as one types, and without JavaScript."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dev.browser import chromium, flags
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.browser.serving import served
from tests.pages.ui_edit_stub import Writer, editing_site

EDIT = "/ui/jobs/shop/sync-ledger-1/edit"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=flags())
        try:
            yield found
        finally:
            found.close()


@pytest.fixture
def stage() -> Iterator[tuple[str, Any, Writer]]:
    app, parts, writer = editing_site()
    with served(app) as address:
        yield address, parts, writer


@pytest.fixture
def opened(browser: Browser, stage: tuple[str, Any, Writer]) -> Iterator[Callable[..., Page]]:
    """Open pages whose console stays silent: a violation of the CSP is said there. A refused form is no fault."""
    said: list[str] = []
    contexts = []

    def open_page(path: str, **options: Any) -> Page:
        context = browser.new_context(base_url=stage[0], **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in said if "status of 422" not in text] == []


def test_the_preview_follows_what_is_typed(opened: Callable[..., Page], stage: tuple[str, Any, Writer]) -> None:
    page = opened("/ui/new")
    page.get_by_label("Cron expression").fill("30 2 * * *")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    preview = page.get_by_label("Preview")
    expect(preview).to_contain_text("At 02:30")
    expect(preview).to_contain_text("timeZone: Europe/Berlin")
    expect(page.get_by_label("Time zone")).to_be_focused()
    page.get_by_text("Fixed rate", exact=True).click()
    page.get_by_label("Every", exact=True).fill("90s")
    expect(preview).to_contain_text("Every 1m30s")
    assert stage[2].asked == []


def test_the_fields_of_the_payload_follow_the_handler_and_keep_what_fits(
    opened: Callable[..., Page], stage: tuple[str, Any, Writer]
) -> None:
    page = opened("/ui/new")
    page.get_by_label("seconds").fill("5")
    page.get_by_label("Handler").select_option("http")
    expect(page.get_by_label("url")).to_be_visible()
    expect(page.get_by_label("seconds")).to_have_value("5")


@pytest.mark.parametrize("has_script", [True, False], ids=["with JavaScript", "without"])
def test_a_job_is_made(opened: Callable[..., Page], stage: tuple[str, Any, Writer], *, has_script: bool) -> None:
    writer = stage[2]
    page = opened("/ui/new", java_script_enabled=has_script)
    page.get_by_label("Name", exact=True).fill("nightly")
    page.get_by_label("Namespace", exact=True).fill("shop")
    page.get_by_label("Cron expression").fill("30 2 * * *")
    page.get_by_label("Handler").select_option("http")
    if not has_script:
        page.get_by_role("button", name="Show its fields").click()
    page.get_by_label("url").fill("https://reports.example/run")
    page.get_by_role("button", name="Check without saving").click()
    expect(page.get_by_text("Nothing is saved yet")).to_be_visible()
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text("is created")).to_be_visible()
    spec = {"schedule": "30 2 * * *", "timeZone": "Etc/UTC", "handler": "http"}
    spec["payload"] = {"url": "https://reports.example/run"}  # type: ignore[assignment]
    assert [(each[0], each[2], each[4]) for each in writer.asked] == [("create", spec, True), ("create", spec, False)]


def test_what_is_wrong_is_said_at_its_field_and_the_rest_is_kept(
    opened: Callable[..., Page], stage: tuple[str, Any, Writer]
) -> None:
    page = opened("/ui/new")
    page.get_by_label("Name", exact=True).fill("Not a name")
    page.get_by_label("Cron expression").fill("0 2 31 2 *")
    page.get_by_label("seconds").fill("soon")
    with page.expect_response(lambda answer: answer.status == 422):
        page.get_by_role("button", name="Create").click()
    expect(page.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("seconds")).to_have_value("soon")
    expect(page.get_by_label("Cron expression")).to_have_value("0 2 31 2 *")
