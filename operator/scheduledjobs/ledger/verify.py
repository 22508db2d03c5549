"""Verify: recompute which moments were due and hold them against the log, one job at a time, on one snapshot.

A moment is lost if it was due before the job's plan moved on and no row stands for it; doubled if two rows do; not due
if a row stands for a moment that no version names. What the leader has not decided yet is counted apart.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scheduledjobs.core.decide import TICK
from scheduledjobs.core.expected import Segment, due_moments
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.schedule import FixedDelay, first_fire, next_fire
from scheduledjobs.ledger.read import read_segments
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.ledger import snapshot, verify_jobs, verify_requests, verify_rows, verify_versions
from scheduledjobs.store.queries import Row

MILLISECOND = timedelta(milliseconds=1)


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

    `tell(done, all)` is called after each job.
    """
    async with snapshot(url, **settings) as conn:
        now = await database_now(conn)
        verdict = Verdict(since(now), now)
        jobs = await verify_jobs(conn, namespace, name, verdict.since)
        for done, job in enumerate(jobs, 1):
            found = read_segments(await verify_versions(conn, job["id"]))
            rows = await verify_rows(conn, job["id"], verdict.since, now + MILLISECOND)
            verify_job(job, found, rows, verdict)
            for request in await verify_requests(conn, job["id"], verdict.since):
                detail = f"run request {request['token']} has no row"
                verdict.findings.append(_finding("lost", job, request["requested_at"], detail))
            verdict.jobs += 1
            tell(done, len(jobs))
    return verdict


def verify_job(job: Row, found: Sequence[Segment], rows: Sequence[Row], verdict: Verdict) -> None:
    """Hold the rows of one job against what its segments name, and add what is found to the verdict."""
    delays = [segment for segment in found if isinstance(segment.schedule, FixedDelay)]
    chained = [row for row in rows if any(_holds(segment, row["fire_time"]) for segment in delays)]
    verdict.findings += _chain(job, delays, chained, verdict.since)
    verdict.moments += len(chained)
    ids = {row["id"] for row in chained}
    others = [row for row in rows if row["id"] not in ids]
    decided_until = _decided_until(job, verdict.until)
    due = due_moments(found, verdict.since, verdict.until + TICK)
    decided = [moment for moment in due if moment < decided_until]
    verdict.undecided += len(due) - len(decided)
    verdict.moments += len(decided)
    verdict.findings += _held_against(job, decided, others, verdict.since)


def _decided_until(job: Row, now: datetime) -> datetime:
    """Everything before the job's next moment has been decided; without one, all that was due."""
    following: datetime | None = job["next_fire_at"]
    return following if following is not None and job["state"] != JobState.DELETED else now + TICK


def _holds(segment: Segment, moment: datetime) -> bool:
    return segment.since <= moment and (segment.until is None or moment < segment.until)


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


def _chain(job: Row, delays: Sequence[Segment], rows: Sequence[Row], since: datetime) -> Iterator[Finding]:
    """Each moment of a fixedDelay follows from the end of the run before it, or from when its version began."""
    previous: Row | None = None
    for row in rows:
        moment = row["fire_time"]
        starts = {_start(segment) for segment in delays}
        after = _after(delays, previous) if previous is not None else set()
        if moment < since:
            previous = row
            continue
        if moment not in starts | after and (previous is not None or not _may_precede(delays, moment, since)):
            kind = "lost" if any(at is not None and at < moment for at in after) else "not due"
            expected = min((at for at in after if at is not None), default=moment)
            yield _finding(kind, job, expected, f"row {row['id']} at {moment.isoformat()} does not follow")
        if previous is not None and previous["fire_time"] == moment:
            yield _finding("doubled", job, moment, f"rows {previous['id']}, {row['id']} stand for it")
        previous = row


def _start(segment: Segment) -> datetime | None:
    return first_fire(segment.schedule, segment.since, segment.anchor) if segment.schedule is not None else None


def _after(delays: Sequence[Segment], previous: Row) -> set[datetime | None]:
    ended = previous["finished_at"]
    if ended is None:
        return set()
    return {next_fire(segment.schedule, ended) for segment in delays if segment.schedule is not None}


def _may_precede(delays: Sequence[Segment], moment: datetime, since: datetime) -> bool:
    """The run before the first row of the range may have ended before the range began, or have no row any more."""
    return any(
        segment.since < moment and isinstance(segment.schedule, FixedDelay) and moment >= since for segment in delays
    )


def _finding(kind: str, job: Row, moment: datetime, detail: str) -> Finding:
    return Finding(kind, job["namespace"], job["name"], moment, detail)


def lines(verdict: Verdict, most: int = 100) -> Iterator[str]:
    """Yield what verify has to say: the offending moments, then the summary."""
    for found in verdict.findings[:most]:
        yield f"{found.kind.upper():8} {found.namespace}/{found.job} {found.moment.isoformat()}: {found.detail}"
    if len(verdict.findings) > most:
        yield f"... and {len(verdict.findings) - most} more"
    odd = f", {verdict.count('not due')} not due" if verdict.count("not due") else ""
    undecided = f", {verdict.undecided} not decided yet" if verdict.undecided else ""
    totals = f"{verdict.count('lost')} lost, {verdict.count('doubled')} doubled, {verdict.moments} moments"
    yield f"{totals}{odd}{undecided} ({verdict.jobs} jobs, {verdict.since.isoformat()} to {verdict.until.isoformat()})"
