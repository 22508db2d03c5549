"""Commands of the runbooks can be run as they stand: each page says where, and psql is given an address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
RUNBOOKS = sorted((DOCS / "runbooks").glob("*.md"))
STEPS = DOCS / "runbooks" / "step-failing.md"
PROGRAMS = {"kubectl", "psql", "scheduledjobs", "promtool", "helm", "curl"}


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_says_where_its_commands_run(page: Path) -> None:
    text = page.read_text()
    assert "(../howto/command-line.md)" in text
    lines = [line for block in re.findall(r"```console\n(.*?)```", text, re.S) for line in block.splitlines()]
    assert {line.split()[0] for line in lines} <= PROGRAMS


def test_psql_is_given_an_address_on_every_page() -> None:
    used = {page: re.findall(r"^(?:\$ )?psql (\S+)", page.read_text(), re.M) for page in DOCS.rglob("*.md")}
    assert sum(map(len, used.values())) > 10
    assert {
        page.name for page, some in used.items() if not all(re.search(r"_URL|://|\$SERVER/", one) for one in some)
    } == set()


def test_logs_of_pods_by_label_are_read_whole_and_only_of_the_operators() -> None:
    """By label kubectl shows ten lines of each pod, `--since` or not; PostgreSQL's would be no JSON."""
    lines = [line for page in DOCS.rglob("*.md") for line in page.read_text().splitlines()]
    found = [line for line in lines if re.search(r"kubectl\b.* logs\b.* -l ", line)]
    assert len(found) > 5
    assert [line for line in found if "component=operator --tail=-1" not in line] == []


def test_every_step_that_can_fail_stands_in_the_runbook() -> None:
    source = DOCS.parent / "operator" / "scheduledjobs"
    leader = re.findall(r'^ {12}\("([a-z ]+)", self\.', (source / "leading.py").read_text(), re.M)
    replica = re.findall(r'^ {12}"([a-z]+)": \(self\._', (source / "app.py").read_text(), re.M)
    told = re.findall(r"`([a-zA-Z ]+)`", "".join(re.findall(r"^\| `.*?\|", STEPS.read_text(), re.M)))
    assert len(leader) + len(replica) > 20
    assert set(told) == {*leader, *replica, "notice", "deliver NAME"}
