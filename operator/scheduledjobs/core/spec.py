"""The spec of a ScheduledJob as a typed value; the CRD's own checks are made here again, for what slips past them.

Unknown fields are ignored: the API server prunes them, and a newer CRD must not stop an older operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from scheduledjobs.core.duration import parse_duration
from scheduledjobs.core.nesting import is_deeper
from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.result import has_nul
from scheduledjobs.core.schedule import YEARS, is_askable
from scheduledjobs.errors import SpecError

MAX_PAYLOAD_BYTES = 32 * 1024
MOST_PAYLOAD_LEVELS = 64
ONE_OF = ("schedule", "fixed_rate", "fixed_delay", "run_at")


class ConcurrencyPolicy(StrEnum):
    """What becomes of a moment that comes while an execution of its job has not ended."""

    FORBID = "Forbid"
    ALLOW = "Allow"
    REPLACE = "Replace"
    QUEUE = "Queue"


class MisfirePolicy(StrEnum):
    """What becomes of moments that are decided later than the grace."""

    FIRE_ONCE = "FireOnce"
    FIRE_ALL = "FireAll"
    SKIP = "Skip"


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _instant(value: datetime) -> datetime:
    """Cut a time to the millisecond, as SQL keeps it: a grid that counts from between two would never be met."""
    if not is_askable(value):
        raise ValueError(f"must lie in the years {YEARS[0]} to {YEARS[-1]}")
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Instant = Annotated[AwareDatetime, AfterValidator(_instant)]
SECOND = timedelta(seconds=1)
TENTH = timedelta(milliseconds=100)
DAY = timedelta(hours=24)
LEAP_YEAR = timedelta(hours=8784)


CAMEL = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Misfire(BaseModel):
    """What to do with moments that no leader could fire in time."""

    model_config = CAMEL

    policy: MisfirePolicy = MisfirePolicy.FIRE_ONCE
    grace: Duration = Field(default=timedelta(seconds=60), ge=timedelta(0), le=DAY)
    limit: int = Field(default=100, ge=1, le=1000)


class Retry(BaseModel):
    """Further attempts after one that failed, timed out or was lost."""

    model_config = CAMEL

    limit: int = Field(default=0, ge=0, le=100)
    backoff: Duration = Field(default=timedelta(seconds=10), ge=TENTH, le=DAY)
    max_backoff: Duration = Field(default=timedelta(minutes=10), ge=TENTH, le=DAY)


class JobSpec(BaseModel):
    """What should run and when; field names are the resource's in snake_case."""

    model_config = CAMEL

    schedule: str | None = Field(default=None, max_length=256)
    fixed_rate: Duration | None = Field(default=None, ge=SECOND, le=LEAP_YEAR)
    fixed_delay: Duration | None = Field(default=None, ge=SECOND, le=LEAP_YEAR)
    run_at: Instant | None = None
    time_zone: str = Field(default="Etc/UTC", max_length=64)
    start_time: Instant | None = None
    end_time: Instant | None = None
    jitter: Duration = Field(default=timedelta(0), ge=timedelta(0), le=DAY)
    suspend: bool = False
    handler: str = Field(max_length=63)
    payload: dict[str, Any] = Field(default_factory=dict)
    concurrency_policy: ConcurrencyPolicy = ConcurrencyPolicy.FORBID
    misfire: Misfire = Misfire()
    starting_deadline: Duration = Field(default=timedelta(hours=24), ge=SECOND, le=LEAP_YEAR)
    timeout: Duration | None = Field(default=None, ge=TENTH, le=timedelta(hours=168))
    retry: Retry = Retry()


def parse_spec(raw: Mapping[str, Any]) -> JobSpec:
    """Return the typed spec; `SpecError` InvalidSpec, with a sentence that names the field."""
    encoded = orjson.dumps(dict(raw))
    if has_nul(encoded):
        raise SpecError(Reason.INVALID_SPEC, "spec: must not contain the character NUL, which Postgres cannot hold")
    try:
        spec = JobSpec.model_validate(raw)
    except ValidationError as error:
        fields = field_errors(error, "spec")
        raise SpecError(Reason.INVALID_SPEC, ": ".join(fields[0]), fields) from None
    _check(spec)
    return spec


def field_errors(error: ValidationError, root: str) -> list[tuple[str, str]]:
    """Return the fields that pydantic refuses, as paths beneath `root`, each with a sentence without the value."""
    found = error.errors(include_input=False, include_url=False)
    return [(".".join([root, *map(str, each["loc"])]), each["msg"].removeprefix("Value error, ")) for each in found]


def unknown_fields(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fields of a spec that it does not have, each with a sentence that names those it has.

    The API server prunes them and the operator ignores them; who writes one by hand wants to be told.
    """
    found = _unknown("spec", raw, JobSpec)
    for name, model in (("misfire", Misfire), ("retry", Retry)):
        inner = raw.get(name)
        found += _unknown(f"spec.{name}", inner, model) if isinstance(inner, Mapping) else []
    return found


def _unknown(root: str, raw: Mapping[str, Any], model: type[BaseModel]) -> list[tuple[str, str]]:
    known = sorted(field.alias or name for name, field in model.model_fields.items())
    return [
        (f"{root}.{name}", f"there is no such field; known are {', '.join(known)}")
        for name in sorted(map(str, raw))
        if name not in known
    ]


def _check(spec: JobSpec) -> None:
    if sum(getattr(spec, field) is not None for field in ONE_OF) != 1:
        raise _invalid("spec: set exactly one of schedule (cron), fixedRate, fixedDelay and runAt")
    if spec.start_time and spec.end_time and spec.start_time >= spec.end_time:
        raise _invalid("spec.endTime: must be after startTime")
    if spec.run_at and (spec.start_time or spec.end_time):
        raise _invalid("spec.runAt: a one-shot takes no startTime or endTime")
    if spec.fixed_delay and spec.concurrency_policy is ConcurrencyPolicy.ALLOW:
        raise _invalid("spec.concurrencyPolicy: fixedDelay never overlaps: use Forbid, Queue or Replace")
    if spec.fixed_rate and spec.jitter > spec.fixed_rate:
        raise _invalid("spec.jitter: must not be longer than fixedRate")
    if spec.fixed_delay and spec.jitter > spec.fixed_delay:
        raise _invalid("spec.jitter: must not be longer than fixedDelay")
    if spec.retry.backoff > spec.retry.max_backoff:
        raise _invalid("spec.retry.maxBackoff: must not be shorter than backoff")


def check_payload_size(spec: JobSpec) -> None:
    """Raise `SpecError` InvalidPayload if the payload is deeper or larger than a row should hold."""
    if is_deeper(spec.payload, MOST_PAYLOAD_LEVELS):
        message = f"spec.payload: is nested in more than the {MOST_PAYLOAD_LEVELS} levels that are allowed"
        raise SpecError(Reason.INVALID_PAYLOAD, message)
    size = len(orjson.dumps(spec.payload))
    if size > MAX_PAYLOAD_BYTES:
        message = f"spec.payload: has {size} bytes as JSON; at most {MAX_PAYLOAD_BYTES} are allowed"
        raise SpecError(Reason.INVALID_PAYLOAD, message)


def _invalid(message: str) -> SpecError:
    return SpecError(Reason.INVALID_SPEC, message)
