"""The how-tos of migration: every note is explained, every word of Quartz's cron means what the table says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.importing.test_cronjobs import ANY, NOW

from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.schedule import moments, parse_schedule
from scheduledjobs.handlers import Handler
from scheduledjobs.importing.celery_beat import read_beat
from scheduledjobs.importing.imported import Difference

PAGES = Path(__file__).parents[2] / "docs" / "howto"
SOURCES = Path(__file__).parents[2] / "operator" / "scheduledjobs" / "importing"
MODULES = {
    "cronjob": ("cronjobs.py", "job_template.py", "pg_cron.py"),
    "celery-beat": ("celery_beat.py", "django_beat.py"),
}
EVERYWHERE = {Difference.NOT_IMPORTED, Difference.DAYLIGHT_SAVING}


def page(name: str) -> str:
    return (PAGES / f"migrate-from-{name}.md").read_text()


@pytest.mark.parametrize("name", MODULES)
def test_every_note_is_explained_and_no_other(name: str) -> None:
    text = "".join((SOURCES / module).read_text() for module in MODULES[name])
    used = {Difference[word] for word in re.findall(r"Difference\.([A-Z_]+)", text)} | EVERYWHERE
    explained = set(re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", page(name), re.M))
    assert explained - {Difference.NAME} == used - {Difference.NAME}


def test_every_difference_is_used() -> None:
    text = "".join(path.read_text() for path in SOURCES.glob("*.py"))
    assert {word for word in Difference.__members__ if f"Difference.{word}" not in text} == set()


def test_the_beat_file_of_the_page_is_read() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", page("celery-beat"), re.S)
    found = yaml.safe_load(text)
    for name, entry in found["beat_schedule"].items():
        spec = read_beat(name, entry, found["timezone"], (("*", "celery"),), None, NOW).spec
        assert spec is not None
        assert ANY.verdict(spec, "default").state is JobState.ACTIVE


def test_the_handler_of_a_task_is_named_as_the_page_says() -> None:
    ((task, named),) = re.findall(r"`(shop[.\w]+)` becomes `(shop[.\w-]+)`", page("celery-beat"))
    job = read_beat("x", {"task": task, "schedule": 30}, "UTC", (), None, NOW)
    assert job.spec is not None
    assert job.spec["handler"] == named != task
    (note,) = [note.text for note in job.notes if note.difference is Difference.HANDLER]
    assert all(name in note for name in (task, named))
    assert "last 63 characters" in page("celery-beat")
    long = read_beat("x", {"task": "a" * 70 + ".b", "schedule": 30}, "UTC", (), None, NOW)
    assert long.spec is not None
    assert long.spec["handler"] == "a" * 61 + ".b"


def test_the_handler_of_the_page_takes_what_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", page("celery-beat"), re.S)
    lines = [line for line in text.splitlines() if "celery import" not in line]  # Celery need not be installed
    names: dict[str, Any] = {"__name__": "page", "Celery": dict}
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://")
    exec("\n".join(lines), names)
    found: Handler = names["send"].__scheduledjobs_handler__
    entry = {"task": "a.b", "schedule": 30, "args": (1,), "kwargs": {"x": 2}, "options": {"queue": "q"}}
    spec = read_beat("x", entry, "UTC", (("*", found.name),), None, NOW).spec
    assert spec is not None
    names["Task"].model_validate(spec["payload"])


@pytest.mark.parametrize(
    ("quartz", "here", "first"),
    [
        ("0 0 12 ? * 2-6", "0 0 12 * * 1-5", datetime(2026, 11, 30, 12, tzinfo=UTC)),  # a Saturday at noon, so Monday
        ("0 15 10 L * ?", "0 15 10 L * *", datetime(2026, 11, 30, 10, 15, tzinfo=UTC)),
        ("", "0 0 0 * * L5", datetime(2026, 12, 25, tzinfo=UTC)),
        ("", "0 0 0 * * 5#3", datetime(2026, 12, 18, tzinfo=UTC)),
        ("", "*/30 9-17 * * MON-FRI", datetime(2026, 11, 30, 9, tzinfo=UTC)),
    ],
)
def test_what_the_page_of_quartz_says_fires_when_it_should(quartz: str, here: str, first: datetime) -> None:
    text = page("quartz")
    assert f"`{quartz}`" in text or not quartz
    assert here in text or here.rpartition(" ")[2] in text
    saturday = datetime(2026, 11, 28, 12, tzinfo=UTC)
    assert moments(parse_schedule(schedule=here), saturday, saturday + timedelta(days=60)).first == first


@pytest.mark.parametrize("name", ["cronjob", "celery-beat", "quartz"])
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page(name)):
        assert (PAGES / target).exists(), target
