"""Why: the decision for one moment of a job, told in the order in which it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from scheduledjobs.core.decide import TICK
from scheduledjobs.core.jitter import due_at
from scheduledjobs.core.job import read_schedule
from scheduledjobs.core.plan import FIRED_ELSEWHERE
from scheduledjobs.core.reasons import JobState, Reason, State, Trigger
from scheduledjobs.core.schedule import YEARS, Cron, FixedDelay, FixedRate, OneShot, Schedule, is_askable, next_fire
from scheduledjobs.core.spec import JobSpec, parse_spec
from scheduledjobs.core.zone import load_zone
from scheduledjobs.errors import SpecError
from scheduledjobs.ledger.moment import Moment, resolve, show
from scheduledjobs.ledger.verify import kept_from
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.ledger import (
    find_attempts,
    find_blocker,
    find_jobs,
    find_row_at,
    find_row_version,
    find_version,
    find_version_at,
    snapshot,
)
from scheduledjobs.store.partitions import list_partitions
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Connection


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database knows of one moment of one job.

    `namesakes` are the other jobs that had its name; `is_kept` says whether the log still has the rows of then. Without
    a row, `following` is the first moment from then on that the version names, and `later` what was in force at that.
    """

    job: Row
    version: Row | None
    spec: JobSpec | None
    schedule: Schedule | None
    moment: Moment
    now: datetime
    rows: Sequence[Row]
    namesakes: Sequence[Row] = ()
    blockers: Mapping[int, Row] = field(default_factory=dict)
    attempts: Mapping[int, Sequence[Row]] = field(default_factory=dict)
    is_kept: bool = True
    following: datetime | None = None
    later: Row | None = None


async def why(url: str, namespace: str, name: str, at: datetime, **settings: str) -> list[str]:
    """As `why_of`, on a connection of its own."""
    async with snapshot(url, **settings) as conn:
        return await why_of(conn, namespace, name, at)


async def why_of(conn: Connection, namespace: str, name: str, at: datetime) -> list[str]:
    """Return the lines that explain what became of the moment `at`; a naive one is read in the job's zone.

    Empty if there is no such job. Of several that had the name one after the other, it is the one that `at` belongs to.
    `conn` is in a transaction that sees one moment of the database, as `store.ledger.snapshot` lends it.
    """
    jobs = await find_jobs(conn, namespace, name)
    if not jobs:
        return []
    if not is_askable(at):
        years = f"the years {YEARS[0]} to {YEARS[-1]}"
        return [f"{namespace}/{name} at {at.isoformat()}", _line("decision", f"never due: it lies outside {years}")]
    now = await database_now(conn)
    facts = await _choose(conn, jobs, at, now)
    facts = await _followed(conn, facts)
    is_kept = facts.moment.at >= kept_from(await list_partitions(conn), now)
    ids = {row["blocked_by"] for row in facts.rows if row["blocked_by"] is not None}
    blockers = {number: found for number in ids if (found := await find_blocker(conn, number)) is not None}
    attempts = {row["id"]: await find_attempts(conn, row["id"], row["fire_time"]) for row in facts.rows}
    return list(explain(replace(facts, blockers=blockers, attempts=attempts, is_kept=is_kept)))


async def _choose(conn: Connection, jobs: Sequence[Row], at: datetime, now: datetime) -> Facts:
    """Return the facts of the job that has a row for `at`, or has it as its next moment, else of the one that stood
    then, else of the newest."""
    stood = [job for job in jobs if _stood(job, resolve(at, _zone_of(job)).at)]
    ordered = [*stood, *(job for job in jobs if job not in stood)]
    found = [await _facts(conn, ordered[0], at, now)]
    for job in ordered[1:]:
        if _has(found[-1]):
            break
        found.append(await _facts(conn, job, at, now))
    chosen = found[-1] if _has(found[-1]) else found[0]
    return replace(chosen, namesakes=[job for job in jobs if job["id"] != chosen.job["id"]])


async def _followed(conn: Connection, facts: Facts) -> Facts:
    if facts.rows or facts.version is None or facts.schedule is None or isinstance(facts.schedule, FixedDelay):
        return facts
    following = next_fire(facts.schedule, facts.moment.at - TICK, facts.version["anchor_at"])
    later = await find_version_at(conn, facts.job["id"], following) if following is not None else None
    return replace(facts, following=following, later=later)


def _has(facts: Facts) -> bool:
    return bool(facts.rows) or _is_next(facts.job, facts.moment.at)


def _stood(job: Row, at: datetime) -> bool:
    return bool(job["first_from"] <= at and (job["deleted_at"] is None or at < job["deleted_at"]))


async def _facts(conn: Connection, job: Row, at: datetime, now: datetime) -> Facts:
    moment = resolve(at, _zone_of(job))
    version = await find_version_at(conn, job["id"], moment.at)
    schedule = _parsed(version)[1]
    standing = await find_row_at(conn, job["id"], moment.at)
    rows = [row for row in standing if row["fire_time"] == moment.at or _names(version, schedule, moment.at)]
    version = await _decided_under(conn, job, moment.at, rows, version)
    return Facts(job, version, *_parsed(version), moment, now, rows)


async def _decided_under(
    conn: Connection, job: Row, at: datetime, rows: Sequence[Row], version: Row | None
) -> Row | None:
    """Return the version that decided a moment, or is to decide it, where that is another than was in force at `at`.

    A version may be recorded later than what it decides: that of a one-shot whose moment had just passed, or one that
    leaves the schedule as it is, after an outage.
    """
    if rows:
        is_told = version is not None and version["version"] == rows[0]["version"]
        return version if is_told else await find_row_version(conn, job["id"], rows[0]["version"], at) or version
    following = job["next_fire_at"]
    if _is_next(job, at) or (following is not None and max(following, job["effective_from"]) <= at):
        return await find_version(conn, job["id"], job["version"])
    return version


def _is_next(job: Row, at: datetime) -> bool:
    return bool(job["next_fire_at"] == at)


def _zone_of(job: Row) -> str:
    return str(job["spec"].get("timeZone") or "Etc/UTC")


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
    yield f"{job['namespace']}/{job['name']} at {show(at)}" + _local(at, zone)
    if facts.moment.note:
        yield _line("zone", facts.moment.note)
    if job["deleted_at"] is not None:
        other = "an earlier job of this name" if _living(facts.namesakes) else "the job"
        yield _line("job", f"{other}, {job['id']}, which existed from {_span(job)}")
    if facts.version is not None:
        yield from _in_force(facts)
    for row in facts.rows:
        yield from _row(facts, row)
    if not facts.rows:
        yield _line("decision", _undecided(facts))
        yield from _earlier(facts)


def _living(jobs: Sequence[Row]) -> bool:
    return any(job["deleted_at"] is None for job in jobs)


def _span(job: Row) -> str:
    return f"{show(job['first_from'])} until {show(job['deleted_at'])}"


def _earlier(facts: Facts) -> Iterator[str]:
    """Name the job that had the name before, where this one was not there yet."""
    ended = [job for job in facts.namesakes if job["deleted_at"] is not None and job["deleted_at"] <= facts.moment.at]
    if facts.version is None and ended:
        job = max(ended, key=lambda job: job["deleted_at"])
        yield _line("earlier", f"an earlier job of this name, {job['id']}, existed from {_span(job)}")


def _in_force(facts: Facts) -> Iterator[str]:
    version, spec = facts.version, facts.spec
    assert version is not None  # noqa: S101 the caller looked
    since = f"version {version['version']}, in force since {show(version['effective_from'])}"
    by = f", written by {version['field_manager']}" if version["field_manager"] else ""
    text = _words(facts.schedule) if facts.schedule is not None else "cannot be read"
    yield _line("schedule", f"{text} ({since}{by})")
    if spec is not None and (spec.start_time or spec.end_time):
        start = show(spec.start_time) if spec.start_time else "always"
        end = show(spec.end_time) if spec.end_time else "ever"
        yield _line("window", f"from {start} until {end}")
    if version["state"] in (JobState.SUSPENDED, JobState.INVALID, JobState.DELETED):
        yield _line("state", f"{version['state']}: {version['message'] or version['reason']}")
    if spec is not None and facts.schedule is not None and spec.jitter:
        due = _due_at(facts)
        yield _line("jitter", f"due {(due - facts.moment.at).total_seconds():.3f} s later, at {show(due)}")


def _row(facts: Facts, row: Row) -> Iterator[str]:
    reason = f" ({row['reason']})" if row["reason"] else ""
    what = "run-now " + row["run_key"] if row["run_key"] else row["trigger"]
    yield _line("decision", f"{row['state']}{reason}, execution {row['id']}, {what}")
    if row["message"]:
        yield _line("because", row["message"])
    if row["moment_count"] is not None and row["moment_count"] > 1:
        span = f"{show(row['fire_time'])} to {show(row['last_fire_time'])}"
        yield _line("range", f"one of {row['moment_count']} moments that this row stands for, {span}")
    if row["missed_count"]:
        missed = f"{row['missed_count']} missed moments since {show(row['first_missed_at'])}"
        yield _line("catch-up", f"stands for {missed}")
    elif row["trigger"] == Trigger.CATCH_UP:
        yield _line("catch-up", "decided later than the misfire grace")
    blocker = facts.blockers.get(row["blocked_by"])
    if blocker is not None:
        ran = f"started {show(blocker['started_at'])}" if blocker["started_at"] else "not started"
        ended = f"ended {show(blocker['finished_at'])}" if blocker["finished_at"] else "not ended"
        yield _line("overlap", f"execution {blocker['id']} of {show(blocker['fire_time'])}: {ran}, {ended}")
    yield from _execution(facts, row)


def _execution(facts: Facts, row: Row) -> Iterator[str]:
    for attempt in facts.attempts.get(row["id"], ()):
        yield _line(
            "attempt", f"{attempt['attempt']}: {attempt['state']} on {attempt['replica'] or '?'}: {attempt['error']}"
        )
    if row["state"] == State.PENDING:
        yield _line("claim", f"not claimed: {_wait(facts, row)}")
    elif row["claimed_at"] is not None:
        late = f", {row['lateness_ms']} ms late" if row["lateness_ms"] is not None else ""
        yield _line("claim", f"by {row['replica'] or 'a replica that is gone'} at {show(row['claimed_at'])}{late}")
        yield _line("attempt", f"{row['attempt']}: started {show(row['started_at'])}{_took(row)}")


def _wait(facts: Facts, row: Row) -> str:
    if row["is_held"]:
        return "held until the run before it has ended"
    at: datetime | None = row["visible_at"]
    return f"claimable from {show(at)} on" if at is not None and at > facts.now else f"claimable since {show(at)}"


def _took(row: Row) -> str:
    if row["state"] == State.RUNNING:  # its row may have what an attempt before it took
        return ", still running"
    return f", took {row['duration_ms']} ms" if row["duration_ms"] is not None else ""


def _undecided(facts: Facts) -> str:
    job, at, schedule, version = facts.job, facts.moment.at, facts.schedule, facts.version
    if version is None:
        fired = f"; {FIRED_ELSEWHERE}" if job["message"] == FIRED_ELSEWHERE and job["last_fire_time"] == at else ""
        return f"never due: the job counts from {show(job['first_from'])}{fired}"
    if version["state"] == JobState.DELETED:
        return "never due: the job was deleted"
    if schedule is None:
        return f"never due: {version['message']}"
    if isinstance(schedule, FixedDelay):
        return _after_last(facts)
    if facts.following != at:
        near = _nearest(facts, version)
        if schedule.window.start is not None and at < schedule.window.start:
            return f"never due: before startTime; {near}"
        if schedule.window.end is not None and at >= schedule.window.end:
            return f"never due: endTime was {show(schedule.window.end)}"
        return f"never due: the schedule does not name it; {near}"
    if at > facts.now:
        return "in the future: it will be decided when it is due, unless the job changes before"
    return _overdue(facts)


def _nearest(facts: Facts, version: Row) -> str:
    """Name the next moment, but not as one that came if the version had ended by then."""
    number, following, later = version["version"], facts.following, facts.later
    if following is None:
        return "no moment is left" if _is_living(facts) else f"version {number} has no moment left"
    if later is None or (later["state"] != JobState.DELETED and _comes_under(later, facts)):
        return f"the next moment is {show(following)}"
    ended = "the job was deleted before" if later["state"] == JobState.DELETED else "a later version took its place"
    return f"the next moment of version {number} would be {show(following)}, but {ended}"


def _comes_under(later: Row, facts: Facts) -> bool:
    """Whether a later version has this as its first moment from then on: a resume, say, leaves a grid as it is."""
    schedule = _parsed(later)[1]
    if schedule is None or isinstance(schedule, FixedDelay):
        return False
    since = max(facts.moment.at, later["effective_from"])
    return next_fire(schedule, since - TICK, later["anchor_at"]) == facts.following


def _is_living(facts: Facts) -> bool:
    return facts.job["deleted_at"] is None and _parsed(facts.job)[1] == facts.schedule


def _after_last(facts: Facts) -> str:
    job, at = facts.job, facts.moment.at
    if job["next_fire_at"] == at:
        return "in the future: it is the next moment" if at > facts.now else _overdue(facts)
    if not facts.is_kept:  # versions outlive rows, and the moments follow from the rows alone
        return "not known: a fixedDelay counts from the end of each run, and the history that is kept begins later"
    never = "never due: a fixedDelay counts from the end of each run"
    if not _is_living(facts):
        return never
    following = job["next_fire_at"]
    return f"{never}; " + (f"the next moment is {show(following)}" if following else "the next follows its last run")


def _overdue(facts: Facts) -> str:
    job, at = facts.job, facts.moment.at
    if job["next_fire_at"] is None or job["next_fire_at"] > at:
        return "LOST, or older than the history that is kept: no row stands for it"
    if _is_skipped(facts):
        reason = Reason.SUSPENDED if job["state"] == JobState.SUSPENDED else Reason.NOT_READY
        return f"not decided yet: it will be SKIPPED ({reason}) at the leader's next sweep: {job['message']}"
    if job["state"] == JobState.SUSPENDED and isinstance(facts.schedule, OneShot):
        return f"not decided yet: a one-shot is due when the suspension ends: {job['message']}"
    due = _due_at(facts)
    if due > facts.now:
        return f"not due yet: with its jitter it is due at {show(due)}"
    seconds = (facts.now - due).total_seconds()
    return f"due for {seconds:.0f} s and not decided yet: the misfire rule decides when a leader fires"


def _is_skipped(facts: Facts) -> bool:
    """Whether a moment that has come is only waiting for its range row."""
    job = facts.job
    if job["state"] == JobState.SUSPENDED:
        is_over = job["paused_until"] is not None and job["paused_until"] <= facts.moment.at
        return not is_over and not isinstance(facts.schedule, OneShot)
    return bool(job["state"] == JobState.INVALID)


def _due_at(facts: Facts) -> datetime:
    at, spec, version = facts.moment.at, facts.spec, facts.version
    if spec is None or facts.schedule is None or version is None:
        return at
    return due_at(facts.job["id"], facts.schedule, spec.jitter, at, version["anchor_at"])


def _words(schedule: Schedule) -> str:
    if isinstance(schedule, Cron):
        return f"{schedule.text} in {schedule.zone}"
    if isinstance(schedule, OneShot):
        return f"once, at {show(schedule.run_at)}"
    return schedule.text if isinstance(schedule, FixedRate | FixedDelay) else ""


def _line(label: str, text: str) -> str:
    return f"  {label:<9} {text}"


def _local(at: datetime, zone_name: str) -> str:
    try:
        local = at.astimezone(load_zone(zone_name))
    except SpecError:
        return ""
    return f" ({local:%a %Y-%m-%d %H:%M:%S %z} in {zone_name})" if zone_name != "Etc/UTC" else f" ({at:%a})"
