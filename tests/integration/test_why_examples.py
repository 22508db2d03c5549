"""The seven answers of `why` in the docs are those that it gives, but for numbers that differ from run to run."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from tests.integration.conftest import Stage, resource

from scheduledjobs.ledger.why import why

PAGE = Path(__file__).parents[2] / "docs/explanation/why.md"
BEGIN = datetime(2027, 3, 27, 20, 0, tzinfo=UTC)
NAME = "nightly-report"


async def ask(stage: Stage, at: datetime, name: str = NAME) -> str:
    return "\n".join(await why(stage.url, "finance", name, at, **stage.clock_setting))


def made(name: str = NAME, **changes: object) -> object:
    found = resource(name, created_at=BEGIN - timedelta(days=9), timeZone="Europe/Berlin", **changes)
    return replace(found, meta=replace(found.meta, namespace="finance"), field_manager="kubectl")


async def answers(stage: Stage) -> dict[str, str]:
    """Live through a night in which the clocks change, and ask."""
    stage.offset = BEGIN - datetime.now(UTC)
    every = {"schedule": "30 * * * *", "uid": UUID(int=1)}
    await stage.mirror(made(**every), made("pinned", schedule="30 2 * * *", uid=UUID(int=2)))  # type: ignore[arg-type]
    stage.tick(minutes=30, seconds=1)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    stage.tick(minutes=60)
    await stage.fire()
    await stage.complete(replica, claimed)
    pause = {"scheduledjobs.dev/paused-until": "2027-03-27T23:00:00Z", "scheduledjobs.dev/paused-by": "ana"}
    await stage.mirror(made(**every, resource_version=2, annotations=pause))  # type: ignore[arg-type]
    stage.tick(hours=2)
    await stage.resume()
    stage.tick(hours=6)
    await stage.fire()
    return {
        "ran": await ask(stage, BEGIN + timedelta(minutes=30)),
        "skipped by overlap": await ask(stage, BEGIN + timedelta(minutes=90)),
        "suspended": await ask(stage, BEGIN + timedelta(minutes=150)),
        "missed": await ask(stage, BEGIN + timedelta(hours=6, minutes=30)),
        "in the DST gap": await ask(stage, datetime(2027, 3, 28, 2, 30), "pinned"),  # noqa: DTZ001 in the job's zone
        "in the future": await ask(stage, BEGIN + timedelta(days=2, minutes=30)),
        "never due": await ask(stage, BEGIN + timedelta(days=2, minutes=31)),
    }


def shape(text: str) -> str:
    return re.sub(r"\.\d+", "", re.sub(r"\d+ ms( late)?", "0 ms", re.sub(r"execution \d+", "execution 0", text)))


async def test_the_seven_answers_in_the_docs_are_those_that_why_gives(stage: Stage) -> None:
    blocks = dict(re.findall(r"## (.+?)\n.*?```console\n\$ [^\n]*\n(.*?)\n```", PAGE.read_text(), re.S))
    found = await answers(stage)
    assert blocks.keys() == found.keys()
    for title, text in found.items():
        assert drop_seconds(shape(blocks[title])) == drop_seconds(shape(text)), title


def drop_seconds(text: str) -> str:
    """Times of claims and ends carry the seconds that the test took."""
    return re.sub(r"(T\d\d:\d\d):\d\d", r"\1", text)
