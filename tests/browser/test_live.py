"""What JavaScript adds: keys, and pages that follow what happens and disturb nobody, and say when they cannot."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from itertools import count

import pytest
from playwright.sync_api import Page, expect
from tests.acceptance.conftest import until
from tests.browser.conftest import NewVisitor
from tests.browser.seed import FINANCE
from tests.browser.stage import PATIENT, Stage, Visitor, short_lived
from tests.browser.test_every_page import look

numbers = count(1)
NOT_RELOADED = "window.isSame === true"


@pytest.fixture
def beats(stage: Stage) -> Iterator[str]:
    """The name of a new job that fires every second."""
    name = f"beats-{next(numbers)}"
    spec = {"handler": "log", "fixedRate": "1s", "payload": {"message": "beat"}}
    body = {"apiVersion": "scheduledjobs.dev/v1", "kind": "ScheduledJob", "metadata": {"name": name}, "spec": spec}
    stage.kubectl("apply", "-n", FINANCE, "-f", "-", stdin=json.dumps(body))
    stage.run(name, "SUCCEEDED")
    yield name
    stage.kubectl("delete", "scheduledjob", name, "-n", FINANCE)


@pytest.fixture
def visitor(visit: NewVisitor) -> Visitor:
    """Somebody with JavaScript, who has signed in."""
    return visit()


def stay(page: Page) -> None:
    """Mark the page, to see later that it was not loaded again."""
    page.evaluate("window.isSame = true")


def test_a_page_follows_and_leaves_alone_what_one_does(visitor: Visitor, beats: str) -> None:
    page = visitor.go("/ui/jobs")
    stay(page)
    search = page.get_by_label("Search")
    search.press_sequentially("half a wo")
    row = page.get_by_role("row").filter(has_text=beats)
    row.get_by_role("checkbox").check()
    search.focus()
    drawn = row.locator("svg").last
    before = drawn.evaluate("node => node.outerHTML")
    until(lambda: drawn.evaluate("node => node.outerHTML") != before, PATIENT / 1000)
    expect(search).to_have_value("half a wo")
    expect(search).to_be_focused()
    expect(row.get_by_role("checkbox")).to_be_checked()
    assert page.evaluate(NOT_RELOADED)


def test_the_focus_stays_on_the_run_it_was_on(visitor: Visitor, beats: str) -> None:
    page = visitor.go(f"/ui/jobs/finance/{beats}/history")
    stay(page)
    link = page.locator("tbody .job").first
    link.focus()
    mine = page.evaluate("document.activeElement.getAttribute('href')")
    until(lambda: page.locator("tbody .job").first.get_attribute("href") != mine, PATIENT / 1000)
    assert page.evaluate("document.activeElement.getAttribute('href')") == mine
    assert page.evaluate(NOT_RELOADED)


def test_what_is_open_stays_open(visitor: Visitor, beats: str, stage: Stage) -> None:
    page = visitor.go(f"/ui/jobs/finance/{beats}/versions")
    stay(page)
    first = page.get_by_role("region", name="Version 1", exact=True)
    first.get_by_text("The whole spec").click()
    change = json.dumps({"spec": {"payload": {"message": "changed"}}})
    stage.kubectl("patch", "scheduledjob", beats, "-n", FINANCE, "--type=merge", "-p", change)
    second = page.get_by_role("region", name="Version 2", exact=True)
    expect(second).to_contain_text("changed", timeout=PATIENT)
    expect(first.locator("details")).to_have_attribute("open", "")
    expect(second.locator("details")).not_to_have_attribute("open", "")
    assert page.evaluate(NOT_RELOADED)


def test_a_page_that_has_not_changed_is_not_sent_again(visitor: Visitor) -> None:
    answers: list[int] = []
    visitor.page.on("response", lambda answer: answers.append(answer.status))
    visitor.go("/ui/timeline")
    until(lambda: visitor.page.wait_for_timeout(200) or 304 in answers, PATIENT / 1000)


def test_output_is_read_while_it_is_written(ana: Visitor, stage: Stage) -> None:
    page = ana.go(f"/ui/executions/{stage.run('reconcile', 'RUNNING')}")
    ana.sees("INFO began")
    expect(page.locator(".head .sub")).to_contain_text("Running")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()


def test_keys(visitor: Visitor) -> None:
    page = visitor.go("/ui/")
    for keys, heading in (("gj", "Jobs"), ("gt", "Timeline"), ("gc", "Cluster"), ("n", "New job"), ("go", "Overview")):
        page.locator("h1").click()
        page.keyboard.type(keys)
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    page.keyboard.type("/")
    search = page.get_by_label("Search")
    expect(search).to_be_focused()
    page.keyboard.type("gj?n/")
    expect(search).to_have_value("gj?n/")
    page.keyboard.press("Escape")
    page.keyboard.type("j")
    expect(page.locator("tbody .job").first).to_be_focused()
    page.keyboard.type("?")
    expect(page.get_by_role("dialog")).to_contain_text("Search jobs")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")


def test_a_session_that_expires_leads_to_the_login_and_back(visit: NewVisitor, stage: Stage) -> None:
    visitor = visit(is_known=False)
    page = visitor.go("/ui/jobs?state=SUSPENDED")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    ends = time.time() + 12
    visitor.sign_in(short_lived(stage.replicas.cluster, stage.token, 12))
    expect(page.get_by_role("link", name="send-digests")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in", timeout=PATIENT)  # by itself
    assert time.time() > ends - 1
    visitor.sign_in()
    expect(page.get_by_role("link", name="send-digests")).to_be_visible()
    assert page.url.endswith("/ui/jobs?state=SUSPENDED")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    visitor.go("/ui/jobs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_without_postgres_pages_say_so_and_come_back(visit: NewVisitor, stage: Stage) -> None:
    visitor, plain, late = visit(), visit(has_script=False), visit()
    page = visitor.go("/ui/jobs")
    stay(page)
    stage.server.stop(signal.SIGINT)
    try:
        expect(page.locator("#stale")).to_contain_text("Not updated since", timeout=PATIENT)
        expect(page.get_by_role("link", name="sync-ledger")).to_be_visible()
        answer = plain.page.goto(stage.url("/ui/jobs"))
        assert answer is not None
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        expect(plain.page.locator("main")).to_contain_text("The database does not answer.")
        late.go("/ui/jobs")
        assert look(late.page, "unavailable") == []
    finally:
        stage.server.start()
    expect(page.locator("#stale")).to_be_hidden(timeout=PATIENT)
    expect(late.page.get_by_role("heading", level=1)).to_have_text("Jobs", timeout=PATIENT)
    assert page.evaluate(NOT_RELOADED)
    for each in (visitor, plain, late):
        each.forgive("503")
