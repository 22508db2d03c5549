"""Why: the decision for one moment of a job, told in the order in which it was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scheduledjobs.core.decide import TICK
from scheduledjobs.core.jitter import due_at
from scheduledjobs.core.job import read_schedule
from scheduledjobs.core.reasons import JobState, State, Trigger
from scheduledjobs.core.schedule import Cron, FixedDelay, FixedRate, OneShot, Schedule, next_fire
from scheduledjobs.core.spec import JobSpec, parse_spec
from scheduledjobs.core.zone import load_zone
from scheduledjobs.errors import SpecError
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.ledger import find_attempts, find_blocker, find_job, find_row_at, snapshot, verify_versions
from scheduledjobs.store.queries import Row


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment as it was asked for: an instant, and the local time if that does not exist in the job's zone."""

    at: datetime
    gap: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database knows of one moment."""

    job: Row
    version: Row | None
    spec: JobSpec | None
    schedule: Schedule | None
    moment: Moment
    now: datetime
    rows: Sequence[Row]
    blockers: dict[int, Row]
    attempts: dict[int, list[Row]]


async def why(url: str, namespace: str, name: str, at: datetime, **settings: str) -> list[str]:
    """Return the lines that explain what became of the moment `at`; a naive one is read in the job's zone.

    Empty if there is no such job.
    """
    async with snapshot(url, **settings) as conn:
        job = await find_job(conn, namespace, name)
        if job is None:
            return []
        now = await database_now(conn)
        versions = await verify_versions(conn, job["id"])
        moment = resolve(at, _zone_of(job))
        version = in_force(versions, moment.at)
        spec, schedule = _parsed(version)
        standing = await find_row_at(conn, job["id"], moment.at)
        rows = [row for row in standing if row["fire_time"] == moment.at or _names(version, schedule, moment.at)]
        ids = {row["blocked_by"] for row in rows if row["blocked_by"] is not None}
        blockers = {number: found for number in ids if (found := await find_blocker(conn, number)) is not None}
        attempts = {row["id"]: await find_attempts(conn, row["id"], row["fire_time"]) for row in rows}
    return list(explain(Facts(job, version, spec, schedule, moment, now, rows, blockers, attempts)))


def _zone_of(job: Row) -> str:
    return str(job["spec"].get("timeZone") or "Etc/UTC")


def resolve(at: datetime, zone_name: str) -> Moment:
    """Return the instant that a time means; a local one in a gap of the zone's clocks means the gap's end."""
    if at.tzinfo is not None:
        return Moment(at.astimezone(UTC))
    try:
        zone = load_zone(zone_name)
    except SpecError:
        return Moment(at.replace(tzinfo=UTC))
    instant = at.replace(tzinfo=zone).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == at:
        return Moment(instant)
    before = at.replace(tzinfo=zone, fold=1).utcoffset()
    after = at.replace(tzinfo=zone, fold=0).utcoffset()
    assert before is not None  # noqa: S101 a zone has an offset at every time
    assert after is not None  # noqa: S101
    low, high = sorted((at.replace(tzinfo=UTC) - before, at.replace(tzinfo=UTC) - after))
    end = _first_after_gap(low, high, zone)
    local = end.astimezone(zone)
    text = f"{at.isoformat()} does not exist in {zone_name}: the clocks go forward, past it, to {local:%H:%M:%S}"
    return Moment(end, text)


def _first_after_gap(low: datetime, high: datetime, zone: Any) -> datetime:
    """Bisect for the first whole second after the zone's offset has changed."""
    offset = low.astimezone(zone).utcoffset()
    first, last = int(low.timestamp()), int(high.timestamp())
    while first < last:
        middle = (first + last) // 2
        if datetime.fromtimestamp(middle, UTC).astimezone(zone).utcoffset() == offset:
            first = middle + 1
        else:
            last = middle
    return datetime.fromtimestamp(first, UTC)


def in_force(versions: Sequence[Row], at: datetime) -> Row | None:
    """Return what was in force at an instant: of the newest effective_from until then, what was recorded last by it."""
    found = [v for v in versions if v["effective_from"] <= at]
    if not found:
        return None
    newest = max(v["effective_from"] for v in found)
    candidates = [v for v in found if v["effective_from"] == newest]
    known = [v for v in candidates if v["recorded_at"] <= at]
    return known[-1] if known else candidates[0]


def _parsed(version: Row | None) -> tuple[JobSpec | None, Schedule | None]:
    if version is None:
        return None, None
    try:
        spec = parse_spec(version["spec"])
        return spec, read_schedule(spec)
    except SpecError:
        return None, None


def _names(version: Row | None, schedule: Schedule | None, at: datetime) -> bool:
    """Whether the schedule in force names the moment: a range row stands for its moments, not for what lies between."""
    if version is None or schedule is None or isinstance(schedule, FixedDelay):
        return False
    return next_fire(schedule, at - TICK, version["anchor_at"]) == at


def explain(facts: Facts) -> Iterator[str]:
    """Yield the lines: the moment, what was in force, then what was decided and what came of it."""
    job, at = facts.job, facts.moment.at
    zone = _zone_of(job)
    yield f"{job['namespace']}/{job['name']} at {_time(at)}" + _local(at, zone)
    if facts.moment.gap:
        yield _line("zone", facts.moment.gap)
    if facts.version is None:
        yield _line("decision", f"never due: the job counts from {_time(job['effective_from'])}")
        return
    yield from _in_force(facts)
    if facts.rows:
        for row in facts.rows:
            yield from _row(facts, row)
    else:
        yield _line("decision", _undecided(facts))


def _in_force(facts: Facts) -> Iterator[str]:
    version, spec = facts.version, facts.spec
    assert version is not None  # noqa: S101 the caller looked
    since = f"version {version['version']}, in force since {_time(version['effective_from'])}"
    by = f", written by {version['field_manager']}" if version["field_manager"] else ""
    text = _words(facts.schedule) if facts.schedule is not None else "cannot be read"
    yield _line("schedule", f"{text} ({since}{by})")
    if spec is not None and (spec.start_time or spec.end_time):
        start = _time(spec.start_time) if spec.start_time else "always"
        end = _time(spec.end_time) if spec.end_time else "ever"
        yield _line("window", f"from {start} until {end}")
    if version["state"] in (JobState.SUSPENDED, JobState.INVALID, JobState.DELETED):
        yield _line("state", f"{version['state']}: {version['message'] or version['reason']}")
    if spec is not None and facts.schedule is not None and spec.jitter:
        due = due_at(facts.job["id"], facts.schedule, spec.jitter, facts.moment.at, version["anchor_at"])
        yield _line("jitter", f"due {(due - facts.moment.at).total_seconds():.3f} s later, at {_time(due)}")


def _row(facts: Facts, row: Row) -> Iterator[str]:
    reason = f" ({row['reason']})" if row["reason"] else ""
    what = "run-now " + row["run_key"] if row["run_key"] else row["trigger"]
    yield _line("decision", f"{row['state']}{reason}, execution {row['id']}, {what}")
    if row["message"]:
        yield _line("because", row["message"])
    if row["moment_count"] is not None and row["moment_count"] > 1:
        span = f"{_time(row['fire_time'])} to {_time(row['last_fire_time'])}"
        yield _line("range", f"one of {row['moment_count']} moments that this row stands for, {span}")
    if row["missed_count"]:
        missed = f"{row['missed_count']} missed moments since {_time(row['first_missed_at'])}"
        yield _line("catch-up", f"stands for {missed}")
    elif row["trigger"] == Trigger.CATCH_UP:
        yield _line("catch-up", "decided later than the misfire grace")
    blocker = facts.blockers.get(row["blocked_by"])
    if blocker is not None:
        ran = f"started {_time(blocker['started_at'])}" if blocker["started_at"] else "not started"
        ended = f"ended {_time(blocker['finished_at'])}" if blocker["finished_at"] else "not ended"
        yield _line("overlap", f"execution {blocker['id']} of {_time(blocker['fire_time'])}: {ran}, {ended}")
    yield from _execution(facts, row)


def _execution(facts: Facts, row: Row) -> Iterator[str]:
    for attempt in facts.attempts.get(row["id"], ()):
        yield _line(
            "attempt", f"{attempt['attempt']}: {attempt['state']} on {attempt['replica'] or '?'}: {attempt['error']}"
        )
    if row["state"] == State.PENDING:
        wait = (
            "held until the run before it has ended"
            if row["is_held"]
            else f"claimable since {_time(row['visible_at'])}"
        )
        yield _line("claim", f"not claimed: {wait}")
    elif row["claimed_at"] is not None:
        late = f", {row['lateness_ms']} ms late" if row["lateness_ms"] is not None else ""
        yield _line("claim", f"by {row['replica'] or 'a replica that is gone'} at {_time(row['claimed_at'])}{late}")
        took = f", took {row['duration_ms']} ms" if row["duration_ms"] is not None else ", still running"
        yield _line("attempt", f"{row['attempt']}: started {_time(row['started_at'])}{took}")


def _undecided(facts: Facts) -> str:
    job, at, schedule, version = facts.job, facts.moment.at, facts.schedule, facts.version
    assert version is not None  # noqa: S101 the caller looked
    if version["state"] == JobState.DELETED:
        return "never due: the job was deleted"
    if schedule is None:
        return f"never due: {version['message']}"
    if isinstance(schedule, FixedDelay):
        return _after_last(job, at, facts.now)
    following = next_fire(schedule, at - TICK, version["anchor_at"])
    if following != at:
        near = f"the next moment is {_time(following)}" if following else "no moment is left"
        if schedule.window.start is not None and at < schedule.window.start:
            return f"never due: before startTime; {near}"
        if schedule.window.end is not None and at >= schedule.window.end:
            return f"never due: endTime was {_time(schedule.window.end)}"
        return f"never due: the schedule does not name it; {near}"
    if at > facts.now:
        return "in the future: it will be decided when it is due, unless the job changes before"
    return _overdue(job, at, facts.now)


def _after_last(job: Row, at: datetime, now: datetime) -> str:
    if job["next_fire_at"] == at:
        return "in the future: it is the next moment" if at > now else _overdue(job, at, now)
    nearest = (
        f"the next moment is {_time(job['next_fire_at'])}" if job["next_fire_at"] else "the next follows its last run"
    )
    return f"never due: a fixedDelay counts from the end of each run; {nearest}"


def _overdue(job: Row, at: datetime, now: datetime) -> str:
    if job["next_fire_at"] is not None and job["next_fire_at"] <= at:
        seconds = (now - at).total_seconds()
        return f"due for {seconds:.0f} s and not decided yet: the misfire rule decides when a leader fires"
    return "LOST, or older than the history that is kept: no row stands for it"


def _words(schedule: Schedule) -> str:
    if isinstance(schedule, Cron):
        return f"{schedule.text} in {schedule.zone}"
    if isinstance(schedule, OneShot):
        return f"once, at {_time(schedule.run_at)}"
    return schedule.text if isinstance(schedule, FixedRate | FixedDelay) else ""


def _line(label: str, text: str) -> str:
    return f"  {label:<9} {text}"


def _time(moment: datetime | None) -> str:
    if moment is None:
        return "?"
    spec = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")


def _local(at: datetime, zone_name: str) -> str:
    try:
        local = at.astimezone(load_zone(zone_name))
    except SpecError:
        return ""
    return f" ({local:%a %Y-%m-%d %H:%M:%S %z} in {zone_name})" if zone_name != "Etc/UTC" else f" ({at:%a})"
