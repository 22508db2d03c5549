"""Preview: what a schedule means and when it fires next, by the code that fires it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from scheduledjobs.core.agenda import fires
from scheduledjobs.core.job import read_schedule
from scheduledjobs.core.plan import kept_anchor, schedule_changed
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.schedule import FixedDelay
from scheduledjobs.core.spec import parse_spec
from scheduledjobs.core.words import words
from scheduledjobs.errors import SpecError
from scheduledjobs.store.queries import Row
from scheduledjobs.web import shapes
from scheduledjobs.web.filters import Moment, Question, Text
from scheduledjobs.web.models import FieldError, Preview
from scheduledjobs.web.problems import ProblemError


class PreviewQuery(Question):
    """A schedule as the fields of a spec name it: exactly one of the first four."""

    schedule: Text | None = Field(default=None, description="A cron expression, such as 0 2 * * *")
    fixed_rate: Text | None = Field(default=None, description="Such as 90s or 1h30m")
    fixed_delay: Text | None = Field(default=None, description="Such as 90s or 1h30m")
    run_at: Text | None = Field(default=None, description="RFC 3339 with an offset")
    time_zone: Text | None = Field(default=None, description="IANA name; Etc/UTC if none is given")
    start_time: Text | None = Field(default=None, description="RFC 3339 with an offset")
    end_time: Text | None = Field(default=None, description="RFC 3339 with an offset")
    after: Moment | None = Field(default=None, description="Fires after this moment; now if none is given")
    count: int = Field(default=10, ge=1, le=100)

    def spec(self) -> dict[str, str]:
        """Return the fields of the spec that are given, by the resource's names."""
        given = self.model_dump(by_alias=True, exclude={"after", "count"}, exclude_none=True)
        return {"handler": "log", **given}


def preview(query: PreviewQuery, now: datetime, row: Row | None = None) -> Preview:
    """Return the words of a schedule and its next moments after `query.after` or `now`; ProblemError 422 for a bad one.

    A fixedRate without startTime counts from `now`, as it would if it were created now; as the schedule of the job of
    a `row`, which it would be edited to now, it keeps the grid that an edit keeps.
    """
    try:
        spec = parse_spec(query.spec())
        schedule = read_schedule(spec)
    except SpecError as error:
        fields = error.fields or [_field(error.message)]
        errors = [FieldError(field=name.removeprefix("spec."), message=message) for name, message in fields]
        detail = "; ".join(f"{each.field}: {each.message}" for each in errors)
        raise ProblemError(422, "The schedule cannot work", detail, error.reason, errors=errors) from None
    start = shapes.askable(query.after or now)
    anchor = kept_anchor(row, query.spec()) if row is not None else None
    known = _after_delay(schedule, query, start, row) if isinstance(schedule, FixedDelay) else None
    found = fires(schedule, start, query.count, anchor or now, known=known, zone=spec.time_zone)
    return Preview(
        schedule=schedule.text,
        time_zone=spec.time_zone,
        words=words(schedule),
        fires=[shapes.fire(*each) for each in found],
    )


def _after_delay(schedule: FixedDelay, query: PreviewQuery, start: datetime, row: Row | None) -> datetime:
    """Return the next moment of a fixedDelay: the recorded one, where it is known and the edit does not move it."""
    if row is not None and row["state"] == JobState.ACTIVE and not schedule_changed(row["spec"], query.spec()):
        recorded: datetime | None = row["next_fire_at"]
        if recorded is not None and recorded > start:
            return recorded
    return start + schedule.delay


def _field(message: str) -> tuple[str, str]:
    name, colon, rest = message.partition(": ")
    return (name, rest) if colon and name.startswith("spec.") else ("schedule", rest or message)
