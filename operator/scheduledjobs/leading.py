"""What the leader does during one term: every step wired to the others, started together, ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from scheduledjobs import metrics
from scheduledjobs.core.job import Job, JobName, NewExecution
from scheduledjobs.core.notices import Recipients
from scheduledjobs.core.plan import Judge
from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.resource import Resource, ResourceMeta
from scheduledjobs.core.spec import ConcurrencyPolicy
from scheduledjobs.errors import StoreUnavailable, TermLost
from scheduledjobs.handlers import Registry
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.feed import keep_feeding
from scheduledjobs.kube.listing import get_resource
from scheduledjobs.settings import Settings
from scheduledjobs.steps.announce import Announce
from scheduledjobs.steps.claim import Claim
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.compare import EVERY_SECONDS as COMPARE_SECONDS
from scheduledjobs.steps.compare import Compare
from scheduledjobs.steps.deliver import EVERY_SECONDS as DELIVER_SECONDS
from scheduledjobs.steps.deliver import Deliver
from scheduledjobs.steps.fire import Fire, runs
from scheduledjobs.steps.inbox import Gone, Inbox, Seen
from scheduledjobs.steps.judge import EVERY_SECONDS as JUDGE_SECONDS
from scheduledjobs.steps.judge import JudgeAgain
from scheduledjobs.steps.loop import LONGEST_WAIT_SECONDS, PATIENCE_SECONDS, keep
from scheduledjobs.steps.measure import EVERY_SECONDS as MEASURE_SECONDS
from scheduledjobs.steps.measure import Measure
from scheduledjobs.steps.mirror import Mirror
from scheduledjobs.steps.mirror_batch import Written
from scheduledjobs.steps.notice import EVERY_SECONDS as NOTICE_SECONDS
from scheduledjobs.steps.notice import Notice
from scheduledjobs.steps.notify import Notify
from scheduledjobs.steps.prune import EVERY_SECONDS as PRUNE_SECONDS
from scheduledjobs.steps.prune import LONGEST_WAIT_SECONDS as PRUNE_WAIT_SECONDS
from scheduledjobs.steps.prune import Prune
from scheduledjobs.steps.quota import EVERY_SECONDS as QUOTA_SECONDS
from scheduledjobs.steps.quota import Counted, JudgeQuota
from scheduledjobs.steps.release import Release
from scheduledjobs.steps.report import EVERY_SECONDS as REPORT_SECONDS
from scheduledjobs.steps.report import Report
from scheduledjobs.steps.rescue import Rescue
from scheduledjobs.steps.resume import EVERY_SECONDS as RESUME_SECONDS
from scheduledjobs.steps.resume import Resume
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.executions import CHANGED, SPECS, STOP, WORK
from scheduledjobs.store.instances import list_instances
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Sessions
from scheduledjobs.store.status import fail_fire
from scheduledjobs.telling import Telling

log = structlog.get_logger(__name__)
Step = Callable[[], Awaitable[float | None]]

SWEEP_SECONDS = 10.0
UNCOUNTED_SECONDS = 1.0
LONG_SECONDS = 1800.0
LONG = frozenset({"compare", "judge", "prune"})
"""Loops one pass of which may take long: it grows with the number of jobs, or waits for others' transactions."""

LONGEST_WAITS = {"prune": PRUNE_WAIT_SECONDS}

Mark = int | tuple[int, Mapping[str, str]]
"""What tells whether an event brings news: the generation, and our annotations where there are any."""


@dataclass(frozen=True, slots=True)
class Replica:
    """What a leader borrows from the replica that it is."""

    settings: Settings
    kube: KubeClient
    registry: Registry
    clock: Clock
    specs: Specs
    notify: Notify
    upkeep: Sessions
    claim: Claim
    wake_stops: Callable[[], None]
    restore_signals: Callable[[], None]
    tick: Callable[[str, float], None]
    forget: Callable[[str], None]


class Leading:
    """One term."""

    def __init__(self, replica: Replica, leader: Leader, *, was_restored: bool = False) -> None:
        """`was_restored`: etcd may be older than the mirror, so every resource is taken as the list has it."""
        self._replica = replica
        self._leader = leader
        self._handlers = frozenset(replica.registry.names())
        self._seen: dict[UUID, Mark] = {}
        self.is_synced = False
        retention = timedelta(days=replica.settings.retention_days)
        kube, specs = replica.kube, replica.specs
        namespaces = replica.settings.watch_namespaces
        self.inbox = Inbox()
        self.announce = Announce(kube, replica.settings.hostname)
        self.report = Report(leader, kube, specs, lambda meta, row: self._tell.tell_failure(meta, row))
        self.fire = self._new_fire(retention)
        self.release = self._new_release()
        self.rescue = Rescue(
            leader,
            leader.is_trusted,
            self._on_lost,
            self._on_handlers,
            specs,
            surviving=replica.registry.surviving(),
            own=lambda: replica.claim.replica,
        )
        self._counted = Counted(replica.settings.quotas)
        self._judge = Judge(lambda name: name in self._handlers, replica.registry.check, self._counted.message)
        self.mirror = self._new_mirror(retention)
        self.quota = JudgeQuota(leader, self._counted, self._judge_again, self.inbox.wake.set)
        self.resume = self._new_resume(retention)
        self.judge = JudgeAgain(leader, self.inbox, lambda: self._handlers)
        self.compare = Compare(
            leader, kube, self.inbox, namespaces, self._on_listed, self._on_compared, is_all_news=was_restored
        )
        self.measure = Measure(leader, lambda: (len(self.inbox), self.report.waiting))
        settings = replica.settings
        self.prune = Prune(replica.upkeep, replica.clock, settings.retention_days, settings.webhooks)
        self._recipients = Recipients(settings.webhooks, settings.notices)
        self._tell = Telling(self.announce, self._recipients, self.report.meta)
        self.notice = Notice(leader, self._recipients, lambda name: self.deliver[name].wake.set())
        source = f"/scheduledjobs/{settings.lease_namespace}/{settings.lease_name}"
        self.deliver = {
            name: Deliver(leader, name, webhook, source, settings.public_url)
            for name, webhook in settings.webhooks.items()
        }

    def _new_fire(self, retention: timedelta) -> Fire:
        return Fire(
            self._leader,
            self._replica.clock,
            self._replica.specs,
            retention,
            self._on_fired,
            self._on_fire_failed,
            self._replica.claim,
            on_unheard=self._on_unheard,
        )

    def _new_release(self) -> Release:
        return Release(
            self._leader,
            self._replica.specs,
            self._on_released,
            self._on_missed,
            self._work,
            self._stops,
            on_unheard=self._on_unheard,
        )

    def _new_mirror(self, retention: timedelta) -> Mirror:
        return Mirror(
            self._leader,
            self.inbox,
            self._replica.specs,
            retention,
            self._judge,
            self._get,
            self._on_written,
            self._counted,
            on_unheard=self._on_unheard,
        )

    def _new_resume(self, retention: timedelta) -> Resume:
        return Resume(
            self._leader,
            self._replica.specs,
            retention,
            self._judge,
            self._on_written,
            on_unheard=self._on_unheard,
        )

    async def run(self) -> None:
        """Run the term until cancelled; `TermLost` once another one is in force."""
        await self._prepare()
        try:
            async with asyncio.TaskGroup() as group:
                for name, step, seconds, wake in self._loops():
                    patience = LONG_SECONDS if name in LONG else PATIENCE_SECONDS
                    longest, tick = LONGEST_WAITS.get(name, LONGEST_WAIT_SECONDS), self._replica.tick
                    loop = keep(
                        name, step, every_seconds=seconds, wake=wake, tick=tick, patience=patience, longest_wait=longest
                    )
                    group.create_task(loop, name=name)
                group.create_task(self._feed())
                group.create_task(self._compare_overdue())
        except BaseExceptionGroup as errors:
            if errors.subgroup(TermLost):
                raise TermLost(f"term {self._leader.term} is not in force") from errors
            raise
        finally:
            for name, *_ in self._loops():
                self._replica.forget(name)

    def _loops(self) -> list[tuple[str, Any, float, asyncio.Event | None]]:
        return [
            ("fire", self.fire.step, 1.0, self.fire.wake),
            ("fire beside it", self.fire.step, 1.0, self.fire.wake),
            ("sweep", self.fire.sweep, SWEEP_SECONDS, None),
            ("release", self.release.step, 1.0, self.release.wake),
            ("resume", self._counted_first(self.resume.step), RESUME_SECONDS, self.resume.wake),
            ("mirror", self._counted_first(self.mirror.step), 1.0, self.inbox.wake),
            ("judge", self.judge.step, JUDGE_SECONDS, self.judge.wake),
            ("quota", self.quota.step, QUOTA_SECONDS, self.quota.wake),
            ("compare", self.compare.step, COMPARE_SECONDS, self.compare.wake),
            ("rescue", self.rescue.step, 1.0, None),
            ("report", self.report.step, REPORT_SECONDS, self.report.wake),
            ("announce", self.announce.step, 1.0, self.announce.wake),
            ("measure", self.measure.step, MEASURE_SECONDS, None),
            ("prune", self.prune.step, PRUNE_SECONDS, None),
            *self._telling(),
        ]

    def _telling(self) -> list[tuple[str, Any, float, asyncio.Event | None]]:
        """The loops of notices: one that finds them and one for each webhook, none where there is no webhook."""
        if not self.deliver:
            return []
        deliver = [(f"deliver {name}", one.step, DELIVER_SECONDS, one.wake) for name, one in self.deliver.items()]
        return [("notice", self.notice.step, NOTICE_SECONDS, None), *deliver]

    async def _prepare(self) -> None:
        """Learn what the live replicas can run, before anything is judged."""
        async with self._leader.session() as conn:
            instances = await list_instances(conn)
        self._handlers |= {name for row in instances for name in row["handlers"]}

    def _counted_first(self, step: Step) -> Step:
        """A step that judges, which it may not before all jobs are counted; firing waits for nothing."""

        async def judging() -> float | None:
            return await step() if self._counted.is_loaded else UNCOUNTED_SECONDS

        return judging

    def look_again(self) -> None:
        """The database's clock was set: what was far off may be due."""
        self.fire.look_again()
        self.resume.wake.set()

    def _judge_again(self, found: Resource) -> None:
        self.inbox.put(Seen(found, judge_again=True))

    async def _feed(self) -> None:
        replica, ask = self._replica, self.compare.ask
        namespaces, refusals = replica.settings.watch_namespaces, self.compare.refusals
        await keep_feeding(replica.kube, self._on_event, ask, ask, namespaces, refusals, replica.restore_signals)

    async def _compare_overdue(self) -> None:
        """Without an API server the mirror has to do, after a while: firing outlives its outage."""
        await self.compare.overdue()
        self.fire.allow_old()

    def _on_event(self, resource: Resource, is_gone: bool) -> None:  # noqa: FBT001 the feed's signature
        meta = resource.meta
        self.inbox.hear(meta.uid)  # even where it brings nothing: a list may be older
        if is_gone:
            self._forget([meta.uid])
            self.inbox.put(Gone(meta.uid, meta.namespace, meta.name))
            return
        self.report.see(resource)
        if self._seen.get(meta.uid) != (mark := _mark_of(meta)) or resource.is_deleting:
            self._seen[meta.uid] = mark
            self.inbox.put(Seen(resource))

    def _on_listed(self, resource: Resource, differs: bool) -> None:  # noqa: FBT001 the compare's signature
        self.report.see(resource)
        if differs:
            self._seen[resource.meta.uid] = _mark_of(resource.meta)
            self.inbox.put(Seen(resource, is_quorum=True))

    def _on_compared(self) -> None:
        self.is_synced = True
        self.inbox.once_mirrored(self.fire.allow_old)  # until then the mirror has jobs that are gone, or suspended

    async def _get(self, namespace: str, name: str) -> Resource | None:
        return await get_resource(self._replica.kube, namespace, name)

    def _on_handlers(self, handlers: frozenset[str]) -> None:
        self._handlers = handlers | set(self._replica.registry.names())
        self.judge.wake.set()

    async def _on_written(self, written: Written) -> None:
        if written.jobs or written.removed:
            self._changed()
        metrics.MIRRORED.inc(len(written.jobs) + len(written.removed))
        if written.is_rewritten:
            self._replica.specs.doubt()
            self._replica.notify.send(SPECS)
        self._forget(written.removed)
        if written.removed:
            self.release.look_for_orphans()
        self.resume.wake.set()  # there may be a new pause among them
        for resource, _ in written.jobs.values():
            self.report.know(resource)
        self.report.fired(written.postponed)
        self._on_fired([], written.settled, runs(written.settled))
        if written.requests:
            self._work()
            self._stops()
        self._tell.tell_written(written)
        await self.fire.reload(self._near(written))  # last: it may fail, and nothing above is done again

    def _forget(self, removed: Sequence[UUID]) -> None:
        self.report.forget(removed)
        for uid in removed:
            self._seen.pop(uid, None)

    def _near(self, written: Written) -> list[UUID]:
        return [uid for uid, (_, plan) in written.jobs.items() if self.fire.concerns(uid, plan.next_due_at(uid))]

    def _on_fired(self, fired: Sequence[Job], inserted: Sequence[tuple[Job, NewExecution]], to_claim: int) -> None:
        if fired or inserted:
            self._changed()
        if to_claim:
            self._work()
        self.report.fired([job.id for job in fired])
        if any(job.concurrency is ConcurrencyPolicy.REPLACE for job in fired):
            self._stops()
        for job, row in inserted:
            metrics.fires(row.state, row.reason or "").inc(row.moment_count or 1)
            self._tell.tell_inserted(job, row)

    def _on_unheard(self, ids: Collection[UUID]) -> None:
        """A COMMIT for these jobs may have landed, though its answer was lost, or may land yet."""
        self.report.fired(ids, unheard=True)

    def _on_fire_failed(self, job: JobName, error: Exception) -> None:
        asyncio.get_running_loop().create_task(self._mark_failed(job, error)).add_done_callback(_noted)

    async def _mark_failed(self, job: JobName, error: Exception) -> None:
        message = str(error) or type(error).__name__
        try:
            async with self._leader.write() as conn:
                await fail_fire(conn, job.id, message[:512])
        except StoreUnavailable:
            self._on_unheard([job.id])
            raise
        self._changed()
        self.report.mark([job.id])
        meta = self.report.meta(job.id)
        if meta is not None:
            self.announce.say(meta, Reason.FIRE_FAILED, message)

    async def _on_released(self, ids: Sequence[UUID]) -> None:
        if ids:
            self._changed()
            self.report.mark(ids)
        await self.fire.reload(ids)

    def _on_missed(self, rows: Sequence[Row]) -> None:
        self._changed()
        self.report.mark(row["job_id"] for row in rows)
        self._tell.tell_closed(rows)

    def _on_lost(self, rows: Iterable[Row]) -> None:
        self._changed()
        self.report.mark(row["job_id"] for row in rows)
        self.release.wake.set()

    def _changed(self) -> None:
        self._replica.notify.send_seldom(CHANGED)

    def _stops(self) -> None:
        self._replica.wake_stops()
        self._replica.notify.send(STOP)

    def _work(self) -> None:
        self._changed()
        self._replica.claim.wake.set()
        self._replica.notify.send(WORK)


def _mark_of(meta: ResourceMeta) -> Mark:
    return (meta.generation, meta.annotations) if meta.annotations else meta.generation


def _noted(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.warning("a task of the leader failed", error=str(task.exception()))
