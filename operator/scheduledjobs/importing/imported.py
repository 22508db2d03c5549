"""A job of another scheduler as a ScheduledJob: its spec, and what differs, each difference by name.

What has no equivalent is not guessed: such a job has no spec, and its notes say why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

import orjson

from scheduledjobs.core.job import read_schedule
from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.schedule import Schedule
from scheduledjobs.core.spec import check_payload_size, parse_spec
from scheduledjobs.errors import SpecError

LONGEST_NAME = 63
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class Difference(StrEnum):
    """What a note is about: one CamelCase word, to grep for; docs/howto/migrate-*.md explain each."""

    NOT_IMPORTED = "NotImported"
    CONCURRENCY = "Concurrency"
    CONNECTION = "Connection"
    DAY_FIELDS = "DayFields"
    DAYLIGHT_SAVING = "DaylightSaving"
    DEADLINE = "Deadline"
    FIELDS = "Fields"
    GRID = "Grid"
    HANDLER = "Handler"
    HISTORY = "History"
    NAME = "Name"
    OPTIONS = "Options"
    REFUSED = "Refused"
    STATEMENT = "Statement"
    SUSPENDED = "Suspended"
    TEMPLATE = "Template"
    TIMEOUT = "Timeout"
    TIME_ZONE = "TimeZone"


@dataclass(frozen=True, slots=True)
class Note:
    """One difference, in a sentence."""

    difference: Difference
    text: str

    def __str__(self) -> str:
        return f"{self.difference}: {self.text}"


class CannotImport(ValueError):
    """A job has no equivalent; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one job: `origin` names it at its source; `spec` is None where it has no equivalent."""

    origin: str
    name: str
    namespace: str | None
    spec: Mapping[str, Any] | None
    notes: tuple[Note, ...]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def schedule(self) -> Schedule | None:
        """The schedule, where there is a spec."""
        return None if self.spec is None else read_schedule(parse_spec(self.spec))


def imported(
    origin: str,
    name: str,
    namespace: str | None,
    spec: Mapping[str, Any],
    notes: Sequence[Note],
    labels: Mapping[str, str] | None = None,
) -> Imported:
    """Return a job whose spec the operator's own checks accept, or one without a spec that says what they refuse."""
    named, renaming = job_name(name)
    kept = [*notes, *renaming]
    try:
        parsed = parse_spec(spec)
        read_schedule(parsed)
        check_payload_size(parsed)
    except SpecError as error:
        return refused(origin, name, namespace, refusal(error), kept)
    except orjson.JSONEncodeError as error:
        return refused(origin, name, namespace, f"it has a value that JSON cannot say: {error}", kept)
    return Imported(origin, named, namespace, spec, tuple(kept), labels or {})


def refused(origin: str, name: str, namespace: str | None, why: str, notes: Sequence[Note] = ()) -> Imported:
    """Return a job that has no equivalent, and why."""
    return Imported(origin, job_name(name)[0], namespace, None, (Note(Difference.NOT_IMPORTED, why), *notes))


def refusal(error: SpecError) -> str:
    """Return why a spec is refused, as a sentence for somebody who has not written that spec."""
    if error.reason is Reason.INVALID_SCHEDULE and "never comes" in error.message:
        return f"{error.message}: nothing is lost, it has never run"
    return error.message


def job_name(name: str) -> tuple[str, list[Note]]:
    """Return a name that a ScheduledJob may have, and a note if it is another one."""
    if len(name) <= LONGEST_NAME and SUBDOMAIN.fullmatch(name):
        return name, []
    text = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "job"
    if len(text) > LONGEST_NAME:
        mark = sha256(name.encode()).hexdigest()[:8]
        text = f"{text[: LONGEST_NAME - 9].rstrip('-')}-{mark}"
    return text, [
        Note(Difference.NAME, f"{name!r} cannot be a name here (at most {LONGEST_NAME} of a-z, 0-9, - and .)")
    ]


def is_namespace(name: object) -> bool:
    """Return whether a namespace can be called so; it goes into manifests, and into the names of their files."""
    return isinstance(name, str) and LABEL.fullmatch(name) is not None


def distinct(found: Sequence[Imported]) -> list[Imported]:
    """Return the jobs, those after the first of a namespace and name with a number behind it."""
    taken: set[tuple[str | None, str]] = set()
    kept = []
    for job in found:
        name, number = job.name, 1
        while (job.namespace, name) in taken:
            number += 1
            name = f"{job.name[: LONGEST_NAME - 4]}-{number}"
        taken.add((job.namespace, name))
        kept.append(job if name == job.name else _renamed(job, name))
    return kept


def _renamed(job: Imported, name: str) -> Imported:
    note = Note(Difference.NAME, f"another job is called {job.name}")
    return Imported(job.origin, name, job.namespace, job.spec, (*job.notes, note), job.labels)
