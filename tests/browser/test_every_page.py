"""Every page is for everybody: axe finds nothing in light and dark, wide and narrow, and no page scrolls sideways.

SCHEDULEDJOBS_TEST_SHOTS=folder keeps a picture of each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from tests.browser.conftest import NewVisitor
from tests.browser.stage import Stage

SHOTS = os.environ.get("SCHEDULEDJOBS_TEST_SHOTS")
WIDTHS = {1280: 900, 390: 844}
SCHEMES = ("light", "dark")
LEDGER = "/ui/jobs/finance/sync-ledger"
PAGES = {
    "overview": "/ui/",
    "jobs": "/ui/jobs",
    "jobs-none": "/ui/jobs?q=nothing-is-called-so",
    "jobs-deleted": "/ui/jobs?state=DELETED",
    "job": LEDGER,
    "job-dst": "/ui/jobs/finance/nightly-report",
    "job-paused": "/ui/jobs/finance/send-digests",
    "job-invalid": "/ui/jobs/finance/rotate-keys",
    "job-hostile": "/ui/jobs/shop/hostile",
    "history": f"{LEDGER}/history",
    "versions": f"{LEDGER}/versions",
    "why": f"{LEDGER}/why",
    "why-told": f"{LEDGER}/why?at=2026-11-24T12:00:00Z",
    "yaml": f"{LEDGER}/yaml",
    "run-now": f"{LEDGER}/run-now",
    "pause": f"{LEDGER}/pause",
    "delete": f"{LEDGER}/delete",
    "edit": f"{LEDGER}/edit",
    "new": "/ui/new",
    "timeline": "/ui/timeline",
    "cluster": "/ui/cluster",
    "help": "/ui/help",
    "api": "/api/docs",
    "not-found": "/ui/jobs/finance/nobody",
}


def look(page: Page, name: str) -> list[str]:
    """Return what is wrong with a page, in words, at each width and scheme; keep its pictures if asked to."""
    page.evaluate(Axe().axe_script)
    return [fault for width in WIDTHS for scheme in SCHEMES for fault in _faults(page, name, width, scheme)]


def _faults(page: Page, name: str, width: int, scheme: str) -> Iterator[str]:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    where = f"{name}, {width} px, {scheme}"
    rules = COLOURS if scheme == "dark" else EVERYTHING  # nothing else differs
    for found in page.evaluate("(rules) => axe.run(rules)", rules)["violations"]:
        for node in found["nodes"]:
            yield f"{where}: {found['id']}: {node['html']}: {node['failureSummary']}"
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if wide > 0:
        yield f"{where}: it is {wide} px too wide: {page.evaluate(WIDEST)}"
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}-{width}-{scheme}.png")
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": width, "height": min(height, TALLEST)})
        page.screenshot(path=Path(SHOTS) / f"{name}-{width}-{scheme}-whole.png")


EVERYTHING = {"resultTypes": ["violations"]}
COLOURS = {**EVERYTHING, "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
TALLEST = 4000
WIDEST = """() => [...document.querySelectorAll("main *")].filter((node) =>
  node.getBoundingClientRect().right > document.documentElement.clientWidth && !node.closest(".scroll, pre")
).slice(0, 3).map((node) => node.outerHTML.slice(0, 120)).join(" | ")"""


@pytest.mark.parametrize("name", PAGES)
def test_page_is_for_everybody(visit: NewVisitor, name: str) -> None:
    visitor = visit()
    page = visitor.go(PAGES[name])
    if name == "not-found":
        visitor.forgive("404")
    assert look(page, name) == []
    assert page.title().endswith(" · ScheduledJobs")


def test_an_execution_is_for_everybody(visit: NewVisitor, stage: Stage) -> None:
    visitor = visit()
    kinds = {
        "execution": stage.run("sync-ledger", "SUCCEEDED"),
        "execution-failed": stage.run("import-rates", "FAILED"),
        "execution-running": stage.run("reconcile", "RUNNING"),
        "execution-retrying": stage.run("settle-batch", "PENDING"),
        "execution-hostile": stage.run("hostile", "FAILED"),
        "execution-missed": stage.run("sync-ledger", "MISSED"),
    }
    faults = [fault for name, number in kinds.items() for fault in look(visitor.go(f"/ui/executions/{number}"), name)]
    assert faults == []


def test_the_login_is_for_everybody(visit: NewVisitor) -> None:
    visitor = visit(is_known=False)
    assert look(visitor.go("/ui/"), "login") == []
    visitor.sign_in("nonsense")
    visitor.page.get_by_role("alert").wait_for()
    visitor.forgive("401")
    assert look(visitor.page, "login-refused") == []


def test_a_form_that_is_filled_is_for_everybody(visit: NewVisitor) -> None:
    page = visit().go("/ui/new")
    page.get_by_label("Name", exact=True).fill("nightly-invoices")
    page.get_by_label("Namespace", exact=True).fill("finance")
    page.get_by_label("Cron expression").fill("30 2 * * 1-5")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("message optional").fill("send what is due")
    expect(page.get_by_role("complementary", name="Preview").get_by_role("listitem")).to_have_count(10)
    assert look(page, "new-filled") == []


def test_what_a_form_refuses_is_for_everybody(visit: NewVisitor) -> None:
    visitor = visit()
    page = visitor.go("/ui/new")
    page.get_by_label("Cron expression").fill("0 2 31 2 *")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("alert").wait_for()
    visitor.forgive("422")
    assert look(page, "new-refused") == []
