"""Verify: recompute which moments were due and hold them against the log, one job at a time, on one snapshot.

A moment is lost if it was due before the job's plan moved on and no row stands for it; doubled if two rows do; not due
if a row stands for a moment that no version names. What the leader has not decided yet is counted apart.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from scheduledjobs.core.decide import TICK
from scheduledjobs.core.expected import Segment, due_moments
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.schedule import FixedDelay
from scheduledjobs.ledger.chain import Chain
from scheduledjobs.ledger.read import History, read_history
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.ledger import (
    snapshot,
    verify_before,
    verify_jobs,
    verify_requests,
    verify_rows,
    verify_versions,
)
from scheduledjobs.store.partitions import list_partitions
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Connection

MILLISECOND, DAY = timedelta(milliseconds=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """A moment that is not as it should be; `kind` is lost, doubled or not due."""

    kind: str
    namespace: str
    job: str
    moment: datetime
    detail: str


@dataclass(slots=True)
class Verdict:
    """What verify found: `moments` were held against the log, `undecided` are due and not decided yet."""

    since: datetime
    until: datetime
    jobs: int = 0
    moments: int = 0
    undecided: int = 0
    findings: list[Finding] = field(default_factory=list)
    asked: datetime | None = None
    """From when it was asked for, where `since` is later because what lies before it is not kept."""

    def count(self, kind: str) -> int:
        """Return how many findings are of a kind."""
        return sum(finding.kind == kind for finding in self.findings)


async def verify(
    url: str,
    since: Callable[[datetime], datetime],
    namespace: str | None,
    name: str | None,
    tell: Callable[[int, int], None],
    **settings: str,
) -> Verdict:
    """Verify the jobs of a namespace and name (None: all) from `since(now)` to now, which is the database's time.

    What is older than the days of the log is not held against it. `tell(done, all)` is called after each job.
    """
    async with snapshot(url, **settings) as conn:
        now = await database_now(conn)
        asked, kept = since(now), kept_from(await list_partitions(conn), now)
        verdict = Verdict(max(asked, kept), now, asked=asked if asked < kept else None)
        jobs = await verify_jobs(conn, namespace, name, verdict.since)
        for done, job in enumerate(jobs, 1):
            await _verify_job(conn, job, verdict)
            tell(done, len(jobs))
    return verdict


def kept_from(days: Mapping[date, bool], now: datetime) -> datetime:
    """Return the beginning of the unbroken row of days, up to that of `now`, that the log has; `now` if it has none.

    `days` says of each whether it is being detached. A day that is kept alone, since something in it still runs, says
    nothing of those after it, which are dropped.
    """
    held = {day for day, is_detaching in days.items() if not is_detaching and day <= now.date()}
    if not held:
        return now
    first = max(held)
    while first - DAY in held:
        first -= DAY
    return datetime(first.year, first.month, first.day, tzinfo=UTC)


async def _verify_job(conn: Connection, job: Row, verdict: Verdict) -> None:
    history = read_history(await verify_versions(conn, job["id"]))
    decided: datetime = max(verdict.until, job["last_fire_time"] or verdict.until)  # later, if the clock was set back
    rows = await verify_rows(conn, job["id"], verdict.since, decided + MILLISECOND)
    if any(isinstance(segment.schedule, FixedDelay) for segment in history.segments):
        before = await verify_before(conn, job["id"], verdict.since)
        _verify_chain(job, history, [*before, *rows], verdict)
    _verify_named(job, history.segments, rows, decided, verdict)
    for request in await verify_requests(conn, job["id"], verdict.since):
        detail = f"run request {request['token']} has no row"
        verdict.findings.append(_finding("lost", job, request["requested_at"], detail))
    verdict.jobs += 1


def _verify_chain(job: Row, history: History, rows: Sequence[Row], verdict: Verdict) -> None:
    """Hold the rows of a job against what its fixedDelay segments owe, and add what is found to the verdict."""
    ordered = sorted({row["id"]: row for row in rows}.values(), key=lambda row: (row["fire_time"], row["id"]))
    chain = Chain(job, history, ordered, verdict.since, verdict.until)
    chain.check()
    verdict.undecided += chain.undecided
    verdict.findings += [_finding(gap.kind, job, gap.moment, gap.detail) for gap in chain.gaps]


def _verify_named(job: Row, found: Sequence[Segment], rows: Sequence[Row], until: datetime, verdict: Verdict) -> None:
    """Hold the rows of one job against the moments that its other segments name, and add what is found."""
    delays = [segment for segment in found if isinstance(segment.schedule, FixedDelay)]
    others = [row for row in rows if not any(segment.holds(row["fire_time"]) for segment in delays)]
    verdict.moments += len(rows) - len(others)
    decided_until = _decided_until(job, until)
    due = due_moments(found, verdict.since, until + TICK, {row["fire_time"] for row in rows})
    decided = [moment for moment in due if moment < decided_until]
    verdict.undecided += len(due) - len(decided)
    verdict.moments += len(decided)
    verdict.findings += _held_against(job, decided, others, verdict.since)


def _decided_until(job: Row, until: datetime) -> datetime:
    """Everything before the job's next moment has been decided; without one, all that was due."""
    following: datetime | None = job["next_fire_at"]
    return following if following is not None and job["state"] != JobState.DELETED else until + TICK


def _held_against(job: Row, due: Sequence[datetime], rows: Sequence[Row], since: datetime) -> Iterator[Finding]:
    position: dict[datetime, list[Row]] = {moment: [] for moment in due}
    for row in rows:
        last = row["last_fire_time"] or row["fire_time"]
        covered = _between(due, row["fire_time"], last)
        for moment in covered:
            position[moment].append(row)
        yield from _odd(job, row, covered, since)
    for moment, standing in position.items():
        if not standing:
            yield _finding("lost", job, moment, "no row stands for it")
        elif len(standing) > 1:
            ids = ", ".join(str(row["id"]) for row in standing)
            yield _finding("doubled", job, moment, f"rows {ids} stand for it")


def _between(due: Sequence[datetime], first: datetime, last: datetime) -> Sequence[datetime]:
    return due[bisect_left(due, first) : bisect_right(due, last)]


def _odd(job: Row, row: Row, covered: Sequence[datetime], since: datetime) -> Iterator[Finding]:
    """A row that stands for something else than it says."""
    if row["moment_count"] is None:
        if not covered and row["fire_time"] >= since:
            yield _finding("not due", job, row["fire_time"], f"row {row['id']} stands for no moment of any version")
    elif row["fire_time"] >= since and row["moment_count"] != len(covered):
        detail = f"range row {row['id']} says {row['moment_count']} moments, {len(covered)} were due"
        yield _finding("not due" if row["moment_count"] > len(covered) else "lost", job, row["fire_time"], detail)


def _finding(kind: str, job: Row, moment: datetime, detail: str) -> Finding:
    return Finding(kind, job["namespace"], job["name"], moment, detail)


def lines(verdict: Verdict, most: int = 100) -> Iterator[str]:
    """Yield what verify has to say: the offending moments, then the summary."""
    for found in verdict.findings[:most]:
        yield f"{found.kind.upper():8} {found.namespace}/{found.job} {found.moment.isoformat()}: {found.detail}"
    if len(verdict.findings) > most:
        yield f"... and {len(verdict.findings) - most} more"
    if verdict.asked is not None:
        kept = f"history is kept from {verdict.since.isoformat()} on"
        yield f"{kept}: nothing was verified between {verdict.asked.isoformat()} and then"
    odd = f", {verdict.count('not due')} not due" if verdict.count("not due") else ""
    undecided = f", {verdict.undecided} not decided yet" if verdict.undecided else ""
    totals = f"{verdict.count('lost')} lost, {verdict.count('doubled')} doubled, {verdict.moments} moments"
    yield f"{totals}{odd}{undecided} ({verdict.jobs} jobs, {verdict.since.isoformat()} to {verdict.until.isoformat()})"
