"""Quotas: what one namespace may ask for, so that its flood costs the others nothing.

Jobs are counted from the oldest: a job is over the quota where it and those older than it are more than is allowed, in
number or in fires. So a job's verdict depends on older ones alone, whatever the order in which they were seen, and a
deletion puts nobody out. A job that alone asks for more fires than are allowed is over, and counts for nobody else.

How often a job fires is what its schedule names in its busiest hour: nothing is measured, so nothing is known of quotas
where moments fire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scheduledjobs.core.cron import parse_cron
from scheduledjobs.core.duration import parse_duration
from scheduledjobs.core.namespaces import EVERYBODY, is_namespace_or_all
from scheduledjobs.core.spec import field_errors
from scheduledjobs.errors import SpecError

HOUR = timedelta(hours=1)
HOUR_SECONDS = 3600
FORM = '{"*": {"jobs": 1000, "fires_per_second": 10, "running": 8}, "NAMESPACE": {...}}'


class Quota(BaseModel):
    """What one namespace may ask for; 0: no limit, None: what everybody else may."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jobs: int | None = Field(default=None, ge=0, le=10_000_000, strict=True)
    fires_per_second: float | None = Field(default=None, ge=0, le=1_000_000, strict=True)
    running: int | None = Field(default=None, ge=0, le=1_000_000, strict=True)

    @property
    def fires_per_hour(self) -> float:
        """Fires of all jobs in an hour; 0: no limit."""
        return (self.fires_per_second or 0) * HOUR_SECONDS

    @property
    def counts_jobs(self) -> bool:
        """True if a job may be over this quota."""
        return bool(self.jobs or self.fires_per_second)


NO_QUOTA = Quota()


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quotas of all namespaces."""

    by_namespace: Mapping[str, Quota] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the quotas as they are set."""
        return orjson.dumps(
            {name: each.model_dump(exclude_none=True) for name, each in self.by_namespace.items()}
        ).decode()

    def of(self, namespace: str) -> Quota:
        """Return a namespace's quota: each limit that it does not name itself is that of `*`."""
        everybody = self.by_namespace.get(EVERYBODY, NO_QUOTA)
        own = self.by_namespace.get(namespace)
        return everybody if own is None else everybody.model_copy(update=own.model_dump(exclude_none=True))

    @property
    def counts_jobs(self) -> bool:
        """True if a job of some namespace may be over its quota."""
        return any(quota.counts_jobs for quota in self.by_namespace.values())

    @property
    def running(self) -> dict[str, int]:
        """Most executions that run at once, by namespace, where a quota says so; `*` is everybody else's."""
        return {name: quota.running for name, quota in self.by_namespace.items() if quota.running is not None}


def read_quotas(value: object) -> Quotas:
    """Return the quotas of a JSON text or object; `ValueError` with a sentence that names what is wrong in it."""
    if isinstance(value, Quotas):
        return value
    try:
        raw = orjson.loads(value) if isinstance(value, str) else value
    except ValueError:
        raw = None
    if not isinstance(raw, Mapping):
        raise ValueError(f"must be a JSON object: {FORM}")  # noqa: TRY004 pydantic takes ValueError
    return Quotas({str(name): _read(str(name), quota) for name, quota in raw.items()})


def _read(name: str, quota: Any) -> Quota:
    if not is_namespace_or_all(name):
        raise ValueError(f"{name!r} is not the name of a namespace, nor {EVERYBODY}")
    try:
        return Quota.model_validate(quota)
    except ValidationError as error:
        where, what = field_errors(error, name)[0]
        raise ValueError(f"{where}: {what}; known are {', '.join(Quota.model_fields)}") from None


@lru_cache(maxsize=65_536)
def fires_per_hour(schedule: str | None, fixed_rate: str | None, fixed_delay: str | None) -> int:
    """Return how often the schedule of a spec fires in its busiest hour, by the fields that say so.

    0 for a one-shot, which fires once, and for what cannot be read. A fixedDelay counts as if its runs took no time.
    """
    try:
        if schedule is not None:
            return parse_cron(schedule).times.in_busiest_hour
        if period := fixed_rate or fixed_delay:
            return -(-HOUR // parse_duration(period))
    except (SpecError, ValueError, ZeroDivisionError):
        return 0
    return 0


class Place(NamedTuple):
    """A job among those of its namespace, by age: by `created_at`, then by id. A tuple, since many are compared."""

    created_at: datetime
    number: int
    """Its id, as a number."""

    fires: int
    """In its busiest hour."""

    @property
    def id(self) -> UUID:
        """The job's id."""
        return UUID(int=self.number)


@dataclass(frozen=True, slots=True)
class Line:
    """The first place that is over a quota, as are all after it, and why."""

    place: Place
    message: str


def line(places: Sequence[Place], quota: Quota, namespace: str) -> Line | None:
    """Return where the quota of a namespace ends among its jobs, given from the oldest; None if it does not."""
    end = min(quota.jobs or len(places), len(places))
    fires, most = 0, quota.fires_per_hour
    for place in islice(places, end if most else 0):
        fires += place.fires if place.fires <= most else 0
        if fires > most:
            return Line(place, f"{_may_fire(namespace, quota)}, counted from the oldest of them")
    if end == len(places):
        return None
    return Line(places[end], f"namespace {namespace} may have {quota.jobs} jobs, counted from the oldest")


def over(place: Place, found: Line | None, quota: Quota, namespace: str) -> str | None:
    """Return why a job is over the quota of its namespace, None if it is not; `found` is where that ends."""
    if quota.fires_per_second and place.fires > quota.fires_per_hour:
        return f"{_may_fire(namespace, quota)}, and this one alone fires more often"
    return found.message if found is not None and place >= found.place else None


def _may_fire(namespace: str, quota: Quota) -> str:
    return f"the jobs of namespace {namespace} may fire {quota.fires_per_second:g} times a second"
