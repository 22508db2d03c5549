"""Every page of the reference is the one that the code makes, and lacks nothing."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from dev import cli_docs, crd_docs, settings_docs, states_docs, tables_docs
from dev.build import KUBERNETES, OLDER
from dev.postgres import WHEEL

from scheduledjobs.cli.main import COMMANDS
from scheduledjobs.core import resource
from scheduledjobs.core.reasons import JobState, Reason, Refusal, ScheduleKind, State, Trigger
from scheduledjobs.settings import Settings

MADE = [cli_docs, crd_docs, settings_docs, states_docs]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", MADE, ids=lambda module: module.PAGE.name)
def test_the_page_is_current(module: ModuleType) -> None:
    assert module.PAGE.read_text() == module.page(), "run `make docs`"


def test_the_page_of_tables_is_that_of_a_migrated_database(database: str) -> None:
    assert tables_docs.PAGE.read_text() == tables_docs.page(database), "run `make docs`"


def test_every_table_and_column_has_a_comment(database: str) -> None:
    assert tables_docs.bare(database) == [], "give each a COMMENT ON in its migration"


def test_a_table_or_column_without_a_comment_is_found(database: str) -> None:
    with tables_docs.psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE TABLE bare (a integer)")
        conn.execute("COMMENT ON COLUMN job_definition.spec IS NULL")
    assert tables_docs.bare(database) == ["bare", "bare.a", "job_definition.spec"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (State, states_docs.STATES),
        (JobState, states_docs.JOB_STATES),
        (Trigger, states_docs.TRIGGERS),
        (ScheduleKind, states_docs.KINDS),
        (Reason, states_docs.REASONS),
        (Refusal, states_docs.REFUSALS),
    ],
)
def test_every_word_has_its_sentence(words: type, told: dict[str, object]) -> None:
    assert set(told) == set(words), "say what it means in dev/states_docs.py"  # type: ignore[call-overload]


def test_every_reason_comes_with_something_that_exists() -> None:
    known = {*State, "Ready=True", "Ready=False", "event"}
    assert {reason: where for reason in Reason for where in states_docs.where(reason) if where not in known} == {}


def test_every_field_of_the_resource_is_described() -> None:
    schema = crd_docs.version()["schema"]["openAPIV3Schema"]["properties"]
    text = crd_docs.page()
    paths = [(path, field) for top in ("spec", "status") for path, field in crd_docs.fields(schema[top], top)]
    assert len(paths) >= 50
    for path, field in paths:
        assert f"### {path}\n" in text or f"| `{path}` |" in text, path
        assert field["description"] in text.replace("\\|", "|"), path


def test_every_annotation_is_described() -> None:
    ours = {value for value in vars(resource).values() if str(value).startswith(f"{resource.GROUP}/")}
    assert len(ours) == 5
    assert {each for each in ours if f"| `{each}` |" not in crd_docs.page()} == set()


def test_every_setting_and_every_command_is_there() -> None:
    assert all(f"| `{settings_docs.variable(name)}` |" in settings_docs.page() for name in Settings.model_fields)
    assert all(f"\n## scheduledjobs {name}\n" in cli_docs.page() for name in COMMANDS)


def test_a_setting_that_may_be_left_out_has_its_own_type() -> None:
    assert "| `SCHEDULEDJOBS_MIGRATE_URL` | string | none |" in settings_docs.page()


def test_every_command_that_reads_the_settings_is_named() -> None:
    modules = (ROOT / "operator" / "scheduledjobs" / "cli").glob("*.py")
    reading = {module.stem for module in modules if re.search(r"\bload\(\)", module.read_text())}
    assert len(reading) >= 9
    assert {name for name in reading if not re.search(rf"`(scheduledjobs )?{name}\b", settings_docs.HEAD)} == set()


def test_the_page_of_compatibility_names_what_the_tests_can_be_run_on() -> None:
    text = (ROOT / "docs" / "reference" / "compatibility.md").read_text()
    for kubernetes in (KUBERNETES, *OLDER.values()):
        assert f"| {kubernetes.removeprefix('v')} |" in text
    for postgres in ("15", *WHEEL):
        assert re.search(rf"^\| {postgres}\.\d+ \|", text, re.M), postgres


def test_every_page_of_the_reference_is_made_from_the_code_or_held_by_a_test() -> None:
    holders = [*(ROOT / "dev").glob("*_docs.py"), *(ROOT / "tests").rglob("test_*.py")]
    text = "\n".join(holder.read_text() for holder in holders)
    pages = {page.name for page in (ROOT / "docs" / "reference").glob("*.md")}
    assert len(pages) >= 7
    assert {name for name in pages if f'"{name}"' not in text} == set()
