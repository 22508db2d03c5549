"""Measure: what the leader alone can tell of the whole, for /metrics, a few times a minute."""

from __future__ import annotations

from collections.abc import Callable

from scheduledjobs import metrics
from scheduledjobs.store.executions import read_backlog
from scheduledjobs.store.instances import list_instances
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.reading import count_jobs

EVERY_SECONDS = 15.0
MOST_COUNTED = 100_000


class Measure:
    """The gauges of one term; `waiting()` returns how many changes wait to be mirrored, and how many statuses."""

    def __init__(self, leader: Leader, waiting: Callable[[], tuple[int, int]]) -> None:
        self._leader = leader
        self._waiting = waiting

    async def step(self) -> None:
        """Look once."""
        async with self._leader.session() as conn:
            backlog = await read_backlog(conn, MOST_COUNTED)
            jobs = await count_jobs(conn, None)
            replicas = await list_instances(conn)
        metrics.BACKLOG.set(backlog["waiting"])
        metrics.BACKLOG_AGE.set(backlog["oldest_seconds"])
        metrics.REPLICAS.set(len(replicas))
        metrics.JOBS.clear()
        for state, count in jobs.items():
            metrics.JOBS.labels(state=state).set(count)
        to_mirror, to_report = self._waiting()
        metrics.TO_MIRROR.set(to_mirror)
        metrics.TO_REPORT.set(to_report)
