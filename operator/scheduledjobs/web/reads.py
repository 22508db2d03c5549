"""Reads: every question that REST and the pages ask of the database, within what the caller may see.

All of it goes over a few read-only sessions of the web's own, with short limits on the server, so that no page is in
the way of firing. A job or execution that the caller may not see is not found.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from scheduledjobs.core.agenda import buckets
from scheduledjobs.core.schedule import YEARS
from scheduledjobs.handlers import Registry
from scheduledjobs.ledger.why import why_of
from scheduledjobs.store import reading
from scheduledjobs.store.instances import list_instances
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.leadership import read_leadership
from scheduledjobs.store.ledger import find_attempts, find_jobs
from scheduledjobs.store.mirror import load_mirrored
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Connection, Sessions
from scheduledjobs.web import cursor, shapes
from scheduledjobs.web.filters import ExecutionFilters, JobFilters, VersionFilters
from scheduledjobs.web.hub import Hub
from scheduledjobs.web.models import (
    Bucket,
    Cluster,
    Execution,
    ExecutionDetail,
    ExecutionPage,
    Handler,
    Handlers,
    HeatCell,
    JobCharts,
    JobDetail,
    JobPage,
    Lane,
    Overview,
    Sight,
    Term,
    Timeline,
    Versions,
    Why,
)
from scheduledjobs.web.problems import ProblemError

Scope = frozenset[str] | None
"""The namespaces whose jobs a caller may see; None: all."""

T = TypeVar("T")
DAY = timedelta(days=1)
QUARTER = timedelta(minutes=15)
LONG_AGO = datetime(YEARS[0], 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime(YEARS[-1], 12, 31, tzinfo=UTC)
STREAK = 60
MOST_TROUBLES = 10_000
MOST_STARTS = 5_000
MOST_HEAT = 20_000
MOST_AGENDA = 20_000
MOST_TERMS = 20
MOST_FAILING = 20
STRETCHES = 200
"""Into how many stretches a day is cut where there is more to show."""

MOST_LANE = 3_000
AGENDA_SECONDS = 30.0


def not_found(what: str) -> ProblemError:
    """Return the answer for what is not there, or not to be seen by who asks."""
    return ProblemError(404, "Not found", f"{what}: there is none that you may see", "NotFound")


class Reads:
    """The questions of one server."""

    def __init__(
        self, sessions: Sessions, registry: Registry, hub: Hub, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._registry = registry
        self._hub = hub
        self._monotonic = monotonic
        self._kept: dict[Hashable, tuple[object, object]] = {}

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """Lend a connection on which every statement sees the same moment."""
        async with self._sessions.session() as conn, conn.transaction():
            await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield conn

    async def jobs(self, scope: Scope, filters: JobFilters) -> JobPage:
        """Return a page of jobs by namespace and name."""
        after = cursor.decode_job(filters.cursor)
        async with self._sessions.session() as conn:
            rows = await self._job_rows(conn, scope, filters, after, max(filters.recent, STREAK))
        return JobPage(
            items=[shapes.job(row, filters.recent) for row in rows[: filters.limit]],
            next_cursor=_following(rows, filters.limit),
        )

    async def _job_rows(
        self, conn: Connection, scope: Scope, filters: JobFilters, after: tuple[str, str, UUID], recent: int
    ) -> list[Row]:
        namespaces = _within(scope, filters.namespace)
        return await reading.read_jobs(
            conn,
            namespaces,
            states=[filters.state] if filters.state else None,
            handler=filters.handler,
            words=(filters.q or "").split(),
            outcome=filters.outcome,
            managers=shapes.managers_of(filters.managed_by) if filters.managed_by else None,
            gitops=list(shapes.MANAGERS),
            recent=recent,
            after=after,
            most=filters.limit + 1,
        )

    async def find(self, conn: Connection, scope: Scope, id: str) -> Row:  # noqa: A002 the path's word
        """Return the row of a job: of a uid, or of the living one of "namespace.name" or who had that name last."""
        job_id = await self._id_of(conn, scope, id)
        if job_id is not None:
            states = ["ACTIVE", "SUSPENDED", "INVALID", "COMPLETED", "DELETED"]
            namespaces = _listed(scope)
            rows = await reading.read_jobs(
                conn, namespaces, ids=[job_id], states=states, gitops=list(shapes.MANAGERS), recent=STREAK, most=1
            )
            if rows:
                return rows[0]
        raise not_found(f"job {id}")

    async def _id_of(self, conn: Connection, scope: Scope, id: str) -> UUID | None:  # noqa: A002
        try:
            return UUID(id)
        except ValueError:
            namespace, _, name = id.partition(".")
        if "\0" in id or not name or (scope is not None and namespace not in scope):
            return None
        rows = await find_jobs(conn, namespace, name)
        return rows[0]["id"] if rows else None

    async def job(self, scope: Scope, id: str) -> JobDetail:  # noqa: A002
        """Return a job with its spec, coming moments and newest executions."""
        return shapes.detail(*await self.known(scope, id))

    async def known(self, scope: Scope, id: str) -> tuple[Row, list[Execution], datetime]:  # noqa: A002
        """Return the row of a job, its newest executions, and the database's time; all of one moment."""
        async with self.snapshot() as conn:
            row = await self.find(conn, scope, id)
            found = await reading.read_executions(conn, row["id"], since=LONG_AGO, until=FAR_AHEAD, most=10)
            now = await database_now(conn)
        return row, [shapes.execution(each) for each in found], now

    async def executions(self, scope: Scope, id: str, filters: ExecutionFilters) -> ExecutionPage:  # noqa: A002
        """Return a page of the executions of a job, newest fire time first."""
        before = cursor.decode_execution(filters.cursor)
        async with self.snapshot() as conn:
            job = await self.find(conn, scope, id)
            rows = await reading.read_executions(
                conn,
                job["id"],
                since=filters.since or LONG_AGO,
                until=filters.until or FAR_AHEAD,
                states=filters.state or None,
                triggers=[filters.trigger] if filters.trigger else None,
                before=before,
                most=filters.limit + 1,
            )
        last = rows[filters.limit - 1] if len(rows) > filters.limit else None
        following = cursor.encode(last["fire_time"], last["id"]) if last else None
        return ExecutionPage(items=[shapes.execution(row) for row in rows[: filters.limit]], next_cursor=following)

    async def versions(self, scope: Scope, id: str, filters: VersionFilters) -> Versions:  # noqa: A002
        """Return a page of the versions of a job, newest first."""
        before = cursor.decode_version(filters.cursor)
        async with self.snapshot() as conn:
            job = await self.find(conn, scope, id)
            rows = await reading.read_versions(conn, job["id"], before, filters.limit + 1)
        following = cursor.encode(rows[filters.limit - 1]["seq"]) if len(rows) > filters.limit else None
        return Versions(items=shapes.versions(rows)[: filters.limit], next_cursor=following)

    async def why(self, scope: Scope, id: str, at: datetime) -> Why:  # noqa: A002
        """Return what became of one moment of a job; a naive `at` is read in the job's zone."""
        async with self.snapshot() as conn:
            job = await self.find(conn, scope, id)
            return Why(lines=await why_of(conn, job["namespace"], job["name"], at))

    async def execution(self, scope: Scope, id: int) -> ExecutionDetail:  # noqa: A002
        """Return one execution with its attempts and output."""
        async with self.snapshot() as conn:
            row = await reading.read_execution(conn, id) if 0 <= id <= cursor.BIGGEST_ID else None
            if row is None or (scope is not None and row["namespace"] not in scope):
                raise not_found(f"execution {id}")
            attempts = await find_attempts(conn, id, row["fire_time"])
            outputs = await reading.read_outputs(conn, id, row["fire_time"])
        return shapes.execution_detail(row, attempts, outputs)

    async def requested(self, job_id: UUID, token: str) -> Execution | None:
        """Return the execution of a run request, or None while it is not recorded."""
        async with self._sessions.session() as conn:
            found = await reading.read_request(conn, job_id, token)
            row = await reading.read_execution(conn, found["execution_id"]) if found else None
        return shapes.execution(row) if row else None

    async def request(self, job_id: UUID, token: str) -> Row | None:
        """Return a run request if it is recorded, whatever became of its row since."""
        async with self._sessions.session() as conn:
            return await reading.read_request(conn, job_id, token)

    async def row(self, scope: Scope, id: str) -> Row:  # noqa: A002
        """Return the row of a job."""
        async with self._sessions.session() as conn:
            return await self.find(conn, scope, id)

    async def mirrored(self, job_id: UUID) -> Row | None:
        """Return state, version, resource_version and annotations of a job as the leader has read it; None if never."""
        async with self._sessions.session() as conn:
            return (await load_mirrored(conn, [job_id])).get(job_id)

    async def namespaces(self) -> list[str]:
        """Return the namespaces that have or had jobs."""
        async with self._sessions.session() as conn:
            return await reading.read_namespaces(conn)

    async def handler_names(self) -> frozenset[str]:
        """Return the handlers that a live replica has."""
        async with self._sessions.session() as conn:
            rows = await list_instances(conn)
        return frozenset(name for row in rows for name in row["handlers"]) | set(self._registry.names())

    async def handlers(self) -> Handlers:
        """Return the handlers of this replica, and how many replicas have each."""
        async with self._sessions.session() as conn:
            rows = await list_instances(conn)
        return Handlers(items=[self._handler(name, rows) for name in self._registry.names()])

    def _handler(self, name: str, rows: list[Row]) -> Handler:
        found = self._registry.get(name)
        assert found is not None  # noqa: S101 it is one of its names
        text = (found.function.__doc__ or "").strip().splitlines()
        return Handler(
            name=name,
            description=text[0] if text else "",
            is_async=found.is_async,
            payload_schema=found.json_schema(),
            replicas=sum(name in row["handlers"] for row in rows),
        )

    async def charts(self, scope: Scope, id: str) -> JobCharts:  # noqa: A002
        """Return what the plots of a job are drawn from."""
        async with self.snapshot() as conn:
            job = await self.find(conn, scope, id)
            ran = sorted(shapes.RAN)
            rows = await reading.read_executions(conn, job["id"], since=LONG_AGO, until=FAR_AHEAD, states=ran, most=200)
            heat = await reading.read_heat(conn, job["id"], await database_now(conn) - 7 * DAY, MOST_HEAT)
        return JobCharts(runs=[shapes.execution(row) for row in reversed(rows)], heat=[HeatCell(**row) for row in heat])

    async def timeline(self, scope: Scope, filters: JobFilters) -> Timeline:
        """Return a page of jobs with what ran in the last day and what comes in the next."""
        after = cursor.decode_job(filters.cursor)
        async with self.snapshot() as conn:
            rows = await self._job_rows(conn, scope, filters, after, STREAK)
            now = await database_now(conn)
            ids = [row["id"] for row in rows[: filters.limit]]
            past = await reading.read_lanes(conn, ids, now - DAY, DAY / STRETCHES, MOST_LANE)
        by_job = defaultdict[UUID, list[Row]](list)
        for each in past:
            by_job[each["job_id"]].append(each)
        return Timeline(
            now=now,
            since=now - DAY,
            until=now + DAY,
            lanes=[_lane(row, by_job[row["id"]], now) for row in rows[: filters.limit]],
            next_cursor=_following(rows, filters.limit),
        )

    async def cluster(self) -> Cluster:
        """Return the replicas and who leads."""
        async with self.snapshot() as conn:
            leadership = await read_leadership(conn)
            replicas = [shapes.replica(row) for row in await reading.read_replicas(conn)]
            terms = await reading.read_terms(conn, MOST_TERMS)
            now = await database_now(conn)
        leader = next((r.hostname for r in replicas if r.is_leader and r.sight is Sight.ALIVE), None)
        return Cluster(
            now=now, leader=leader, term=leadership["term"], replicas=replicas, terms=[Term(**row) for row in terms]
        )

    async def overview(self, scope: Scope) -> Overview:
        """Return whether all is well; read at most once for each change, whoever asks."""
        return await self._keep(("overview", scope), self._hub.stamp(), lambda: self._overview(scope))

    async def _overview(self, scope: Scope) -> Overview:
        cluster = await self.cluster()
        namespaces = _listed(scope)
        async with self._sessions.session() as conn:
            counted = await reading.count_jobs(conn, namespaces)
            troubles = await reading.count_troubles(conn, namespaces, MOST_TROUBLES)
            lateness = await reading.read_lateness(conn, namespaces, MOST_STARTS)
            failing = await reading.find_failing(conn, namespaces, MOST_TROUBLES)
            ids = failing["ids"]
            rows = await reading.read_jobs(
                conn, namespaces, ids=ids, gitops=list(shapes.MANAGERS), recent=STREAK, most=len(ids)
            )
        agenda, is_agenda_cut = await self._agenda(scope, cluster.now)
        jobs = sorted((shapes.job(row, STREAK) for row in rows), key=lambda job: -job.failures)
        return Overview(
            now=cluster.now,
            leader=cluster.leader,
            versions=sorted({r.version for r in cluster.replicas if r.sight is Sight.ALIVE}),
            jobs=counted,
            due_next_hour=sum(bucket.moments for bucket in agenda[:4]),
            running=troubles["running"],
            failed=troubles["failed"],
            missed=troubles["missed"],
            is_day_cut=troubles["failed"] + troubles["missed"] >= MOST_TROUBLES,
            lateness_p99_ms=lateness,
            agenda=agenda,
            is_agenda_cut=is_agenda_cut,
            failing=jobs[:MOST_FAILING],
            failing_count=failing["count"],
            is_failing_cut=failing["is_cut"],
        )

    async def _agenda(self, scope: Scope, now: datetime) -> tuple[list[Bucket], bool]:
        slot = int(self._monotonic() // AGENDA_SECONDS)
        return await self._keep(("agenda", scope), slot, lambda: self._read_agenda(scope, now))

    async def _read_agenda(self, scope: Scope, now: datetime) -> tuple[list[Bucket], bool]:
        """Return the next day's moments of the jobs that are due first, and whether there are more of such jobs."""
        async with self._sessions.session() as conn:
            rows = await reading.read_agenda(conn, _listed(scope), now + DAY, MOST_AGENDA + 1)
        first = rows[:MOST_AGENDA]
        known = ((shapes.schedule_of(row["spec"]), row["anchor_at"], row["next_fire_at"]) for row in first)
        found = buckets([(each[0], each[1], each[2]) for each in known if each[0] is not None], now, QUARTER, 96)
        made = [
            Bucket(start=now + QUARTER * number, moments=moments, most_at_once=most)
            for number, (moments, most) in enumerate(found)
        ]
        return made, len(rows) > len(first)

    async def _keep(self, key: Hashable, stamp: object, make: Callable[[], Awaitable[T]]) -> T:
        """Return what was made for this key under the same stamp, or make it now."""
        known: Any = self._kept.get(key)
        if known is not None and known[0] == stamp:
            value: T = known[1]
            return value
        made = await make()
        if len(self._kept) > 1000:
            self._kept.clear()
        self._kept[key] = stamp, made
        return made


def _listed(scope: Scope) -> list[str] | None:
    return None if scope is None else sorted(scope)


def _within(scope: Scope, namespace: str | None) -> list[str] | None:
    if namespace is None:
        return _listed(scope)
    return [namespace] if scope is None or namespace in scope else []


def _following(rows: list[Row], limit: int) -> str | None:
    if len(rows) <= limit:
        return None
    last: Mapping[str, Any] = rows[limit - 1]
    return cursor.encode(last["namespace"], last["name"], last["id"])


def _lane(row: Row, past: list[Row], now: datetime) -> Lane:
    return Lane(
        job=shapes.job(row, 0),
        past=sorted((shapes.outcome(each) for each in past), key=lambda each: each.fire_time, reverse=True),
        coming=shapes.coming_until(row, now, now + DAY, STRETCHES),
        is_cut=any(each["is_cut"] for each in past),
    )
