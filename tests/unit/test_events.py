"""Events about a job, whatever its name is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from scheduledjobs.core.resource import ResourceMeta
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.events import event_name, post_event

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""What the API server takes for the name of an Event."""


class Heard:
    """An API server that only hears."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.notes: list[str] = []

    async def request(self, _verb: str, _path: str, *, body: Any) -> None:
        self.names.append(body["metadata"]["name"])
        self.notes.append(body["note"])


@pytest.mark.parametrize("name", ["short", "x" * 253, "x" * 39 + "-eu-west", "x" * 39 + ".eu", "x" * 37 + "-.-"])
async def test_a_long_name_is_cut_to_what_may_begin_a_name(name: str) -> None:
    heard, meta = Heard(), ResourceMeta(UUID(int=1), "default", name, 1, 1)
    said = {"type_": "Normal", "reason": "Fired", "note": "", "instance": "one"}
    at = datetime(2026, 1, 1, tzinfo=UTC)
    await post_event(cast("KubeClient", heard), meta, event_name(meta), said_at=at, **said)
    (told,) = heard.names
    assert SUBDOMAIN.fullmatch(told)


@pytest.mark.parametrize("letter", ["m", "é", "漢", "😀"])
async def test_a_long_note_is_cut_to_the_bytes_that_are_taken(letter: str) -> None:
    heard, meta = Heard(), ResourceMeta(UUID(int=1), "default", "job", 1, 1)
    said = {"type_": "Warning", "reason": "Error", "note": "!" + letter * 2000, "instance": "one"}
    at = datetime(2026, 1, 1, tzinfo=UTC)
    await post_event(cast("KubeClient", heard), meta, event_name(meta), said_at=at, **said)
    (note,) = heard.notes
    assert 1020 < len(note.encode()) <= 1024
    assert set(note) == {"!", letter}
