"""Versions of a job: who wrote each, and what it changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduledjobs.core.reasons import JobState
from scheduledjobs.store.queries import Row


def author(before: Row | None, version: Row) -> str:
    """Return who wrote a version; of a change that nobody wrote, what it was."""
    if version["state"] == JobState.DELETED:
        return "deleted"
    if before is not None and before["version"] == version["version"] and before["state"] == JobState.SUSPENDED:
        until = before["paused_until"]
        if until is not None and until <= version["recorded_at"] and version["state"] != JobState.SUSPENDED:
            return "pause ended"
    return str(version["field_manager"] or "unknown")


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the fields in which two specs differ, by name, with their values before and after."""
    names = sorted(before.keys() | after.keys())
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]
