"""A job's whole life on the pages, as people do it, with JavaScript and without; and a replica that dies in sight."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect
from tests.browser.stage import NAMES, PATIENT, Stage, Visitor

HELLO = "hello from the page"


def press(page: Page, name: str) -> None:
    """Press a button or follow a link of the page's own part."""
    main = page.locator("main")
    main.get_by_role("button", name=name, exact=True).or_(main.get_by_role("link", name=name, exact=True)).first.click()


def told(page: Page, text: str) -> None:
    """Wait until the page says what came of an action."""
    page.get_by_role("status").filter(has_text=text).first.wait_for()


def test_a_jobs_whole_life(ana: Visitor, stage: Stage) -> None:
    name = "journey" if ana.has_script else "journey-plain"
    create(ana, name)
    read_its_log(ana, name)
    edit(ana, name)
    pause_and_resume(ana, name)
    run_now(ana, name)
    run_with_payload(ana, name)
    delete(ana, name, stage)


def create(ana: Visitor, name: str) -> None:
    page = ana.go("/ui/")
    page.get_by_role("link", name="New job").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Namespace", exact=True).fill("finance")
    page.get_by_text("Fixed rate", exact=True).click()
    page.get_by_label("Every", exact=True).fill("2s")
    page.get_by_label("message optional").fill(HELLO)
    if not ana.has_script:
        press(page, "Check without saving")
        told(page, "The API server takes it. Nothing is saved yet.")
    preview = page.get_by_role("complementary", name="Preview")
    expect(preview.get_by_role("listitem")).to_have_count(10)
    expect(preview).to_contain_text("Every 2s")
    expect(preview.locator("pre")).to_contain_text(re.compile(f"name: {name}\n.*fixedRate: 2s.*message: {HELLO}", re.S))
    press(page, "Create")
    told(page, f"finance/{name} is created.")
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def read_its_log(ana: Visitor, name: str) -> None:
    ana.sees("Succeeded")
    page = ana.page
    moments = page.get_by_role("region", name="Newest moments")
    moments.get_by_role("row").filter(has_text="Succeeded").get_by_role("link").first.click()
    page.wait_for_url("**/ui/executions/*")
    ana.sees("Succeeded")
    expect(page.get_by_role("region", name="Output", exact=True)).to_contain_text(HELLO)
    expect(page.get_by_role("region", name="About")).to_contain_text("The schedule")
    page.get_by_role("link", name=f"finance/{name}").click()


def edit(ana: Visitor, name: str) -> None:
    page = ana.page
    press(page, "Edit")
    expect(page.get_by_label("message optional")).to_have_value(HELLO)
    page.get_by_label("Every", exact=True).fill("1h")
    page.get_by_label("message optional").fill("hello again")
    if ana.has_script:
        changes = page.get_by_role("region", name="Changes")
        expect(changes).to_contain_text(re.compile("fixedRate.*2s.*1h"))
    press(page, "Save")
    told(page, f"finance/{name} is saved as version 2.")
    press(page, "Versions")
    ana.sees("Version 2")
    expect(page.get_by_role("region", name="Version 2")).to_contain_text(re.compile('fixedRate.*"2s".*"1h"', re.S))
    press(page, "Now")


def pause_and_resume(ana: Visitor, name: str) -> None:
    page = ana.page
    press(page, "Pause")
    page.get_by_label("Reason").fill("the release of Friday")
    press(page, "Pause")
    told(page, f"finance/{name} is paused.")
    expect(page.locator("main")).to_contain_text(
        "Paused by system:serviceaccount:finance:ana, until somebody resumes it: the release of Friday"
    )
    expect(page.locator(".head .sub")).to_contain_text("Paused")
    press(page, "Resume")
    told(page, f"finance/{name} is resumed.")
    expect(page.locator(".head .sub")).to_contain_text("Active")


def run_now(ana: Visitor, name: str) -> None:
    page = ana.page
    press(page, "Run now")
    told(page, f"finance/{name} runs now.")
    page.get_by_role("link", name="See the run").click()
    ana.sees("Succeeded")
    ana.sees("hello again")
    expect(page.get_by_role("region", name="About")).to_contain_text("Run now")
    page.get_by_role("link", name=f"finance/{name}").click()


def run_with_payload(ana: Visitor, name: str) -> None:
    page = ana.page
    press(page, "Run with payload")
    payload = page.get_by_label("Payload for this run")
    payload.fill("{message}")
    press(page, "Run now")
    expect(page.locator("main")).to_contain_text("is not JSON")
    expect(payload).to_have_value("{message}")
    payload.fill('{"message": "by hand", "mesage": 1}')
    press(page, "Run now")
    expect(page.get_by_role("alert")).to_contain_text("mesage")
    payload.fill('{"message": "by hand"}')
    press(page, "Run now")
    told(page, f"finance/{name} runs now.")
    page.get_by_role("link", name="See the run").click()
    ana.sees("Succeeded")
    ana.sees("by hand")
    expect(page.get_by_role("region", name="Payload")).to_contain_text("Given with run now")
    page.get_by_role("link", name=f"finance/{name}").click()
    ana.forgive("422")


def delete(ana: Visitor, name: str, stage: Stage) -> None:
    page = ana.page
    press(page, "Delete")
    typed = page.get_by_label("To delete it, type its name")
    typed.fill("another")
    press(page, "Delete the job")
    expect(page.locator("main")).to_contain_text(f"must be the name of the job: {name}")
    typed.fill(name)
    press(page, "Delete the job")
    told(page, f"finance/{name} is deleted. It fires no more; its history is kept.")
    page.get_by_role("link", name="See its history").click()
    ana.sees("This job was deleted")
    ana.sees("Succeeded")
    assert name not in stage.kubectl("get", "scheduledjobs", "-n", "finance", "-o", "name")
    ana.forgive("422")


def test_a_replica_dies_in_sight(ana: Visitor, stage: Stage) -> None:
    leader = stage.replicas.wait_leader()
    victim = next(name for name in NAMES if name != leader)
    watched = next(name for name in NAMES if name != victim)
    known = "SELECT id FROM scheduler_instance WHERE hostname = %s AND dead_at IS NULL"
    row = f'[data-replica="{stage.replicas.row(known, victim)["id"]}"]'
    page = ana.go("/ui/cluster", watched)
    expect(page.locator(row)).to_contain_text("Alive")
    stage.kill(victim)
    try:
        for sight in ("Late", "Dead"):
            if ana.has_script:
                expect(page.locator(row)).to_contain_text(sight, timeout=PATIENT)
            else:
                ana.reload_until(lambda word=sight: word in page.locator(row).inner_text())
        expect(page.get_by_role("heading", name="Cluster")).to_be_visible()
    finally:
        stage.start(victim)
