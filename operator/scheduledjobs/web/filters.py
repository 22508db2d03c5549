"""Filters: what may be asked of lists, as the query of an address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from scheduledjobs.core.reasons import JobState, State, Trigger
from scheduledjobs.core.spec import Instant

MOST = 200


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    return text


Text = Annotated[str, Field(max_length=256, json_schema_extra={"pattern": r"^[^\u0000]*$"}), AfterValidator(_no_nul)]
Cursor = Annotated[str, Field(max_length=1000)]
CURSOR = "nextCursor of the page before"


WRITTEN = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?")


def _written(value: object) -> object:
    """Refuse a number, which would be read as seconds since 1970, and other ways to write a moment."""
    if isinstance(value, str) and not WRITTEN.fullmatch(value):
        raise ValueError("must be RFC 3339, such as 2026-12-24T18:00:00Z")
    return value


Moment = Annotated[Instant, BeforeValidator(_written)]
LocalMoment = Annotated[
    datetime, BeforeValidator(_written), WithJsonSchema({"type": "string", "pattern": f"^{WRITTEN.pattern}$"})
]
"""A moment that may have no offset; a pattern cannot say which days a month has."""


class Question(BaseModel):
    """The query of an address. A form sends every field, so an empty one asks for nothing."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, query: object) -> object:
        if not isinstance(query, Mapping):
            return query
        return {name: value for name, value in query.items() if value not in ("", [""])}


class JobFilters(Question):
    """Which jobs are asked for."""

    q: Text | None = Field(default=None, description="Words that are all in namespace/name or the handler")
    namespace: Text | None = None
    state: JobState | None = Field(default=None, description="DELETED shows those that are gone; else they are not")
    handler: Text | None = None
    outcome: State | None = Field(default=None, description="State of the newest execution")
    managed_by: Text | None = None
    limit: int = Field(default=50, ge=1, le=MOST)
    cursor: Cursor | None = Field(default=None, description=CURSOR)
    recent: int = Field(default=0, ge=0, le=60, description="How many of the newest outcomes to show of each job")


class ExecutionFilters(Question):
    """Which executions of a job are asked for."""

    state: list[State] = Field(default_factory=list, max_length=9, description="May be given several times")
    trigger: Trigger | None = None
    since: Moment | None = Field(default=None, description="Fire times at or after this, RFC 3339 with an offset")
    until: Moment | None = Field(default=None, description="Fire times before this, RFC 3339 with an offset")
    limit: int = Field(default=50, ge=1, le=MOST)
    cursor: Cursor | None = Field(default=None, description=CURSOR)


class VersionFilters(Question):
    """Which versions of a job are asked for."""

    limit: int = Field(default=50, ge=1, le=MOST)
    cursor: Cursor | None = Field(default=None, description=CURSOR)
