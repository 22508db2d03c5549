"""The spec of a ScheduledJob as a typed value; the CRD's own checks are made here again, for what slips past them.

Unknown fields are ignored: the API server prunes them, and a newer CRD must not stop an older operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import orjson
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from scheduledjobs.core.duration import parse_duration
from scheduledjobs.core.reasons import Reason
from scheduledjobs.errors import SpecError

MAX_PAYLOAD_BYTES = 32 * 1024
ONE_OF = ("schedule", "fixed_rate", "fixed_delay", "run_at")


class ConcurrencyPolicy(StrEnum):
    """What becomes of a moment that comes while an execution of its job has not ended."""

    FORBID = "Forbid"
    ALLOW = "Allow"


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
SECOND = timedelta(seconds=1)
LEAP_YEAR = timedelta(hours=8784)


class JobSpec(BaseModel):
    """What should run and when; field names are the resource's in snake_case."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    schedule: str | None = Field(default=None, max_length=256)
    fixed_rate: Duration | None = Field(default=None, ge=SECOND, le=LEAP_YEAR)
    fixed_delay: Duration | None = Field(default=None, ge=SECOND, le=LEAP_YEAR)
    run_at: AwareDatetime | None = None
    time_zone: str = Field(default="Etc/UTC", max_length=64)
    start_time: AwareDatetime | None = None
    end_time: AwareDatetime | None = None
    suspend: bool = False
    handler: str = Field(max_length=63)
    payload: dict[str, Any] = Field(default_factory=dict)
    concurrency_policy: ConcurrencyPolicy = ConcurrencyPolicy.FORBID
    starting_deadline: Duration = Field(default=timedelta(hours=24), ge=SECOND, le=LEAP_YEAR)
    timeout: Duration | None = Field(default=None, ge=timedelta(milliseconds=100), le=timedelta(hours=168))


def parse_spec(raw: Mapping[str, Any]) -> JobSpec:
    """Return the typed spec; `SpecError` InvalidSpec or InvalidPayload, with a sentence that names the field."""
    encoded = orjson.dumps(dict(raw))
    if b"\\u0000" in encoded:
        raise SpecError(Reason.INVALID_SPEC, "spec: must not contain the character NUL, which Postgres cannot hold")
    try:
        spec = JobSpec.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["spec", *(str(part) for part in first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        raise SpecError(Reason.INVALID_SPEC, f"{field}: {message}") from None
    _check(spec)
    return spec


def _check(spec: JobSpec) -> None:
    if sum(getattr(spec, field) is not None for field in ONE_OF) != 1:
        raise _invalid("spec: set exactly one of schedule (cron), fixedRate, fixedDelay and runAt")
    if spec.start_time and spec.end_time and spec.start_time >= spec.end_time:
        raise _invalid("spec.endTime: must be after startTime")
    if spec.run_at and (spec.start_time or spec.end_time):
        raise _invalid("spec.runAt: a one-shot takes no startTime or endTime")
    if spec.fixed_delay and spec.concurrency_policy is ConcurrencyPolicy.ALLOW:
        raise _invalid("spec.concurrencyPolicy: fixedDelay never overlaps: use Forbid")
    size = len(orjson.dumps(spec.payload))
    if size > MAX_PAYLOAD_BYTES:
        message = f"spec.payload: has {size} bytes as JSON; at most {MAX_PAYLOAD_BYTES} are allowed"
        raise SpecError(Reason.INVALID_PAYLOAD, message)


def _invalid(message: str) -> SpecError:
    return SpecError(Reason.INVALID_SPEC, message)
