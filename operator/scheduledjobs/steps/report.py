"""Report: patch each job's status when what SQL says of it has changed, at a pace the API server can bear.

A job is *dirty* when something that its status shows may have changed: it was mirrored, fired, ended, or its
status arrived from the watch and is not what was written last. Whoever changes what it shows, and is neither a fire nor
an end, marks the job: nothing else would find it within the term. Dirty jobs are read from SQL and patched whole, the
newest state wins, at most one patch per job per second and fifty per second in all. What matters most goes first:
conditions, suspension, changed outcomes and run-now echoes; a success after a success may wait a few seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import structlog

from scheduledjobs import metrics
from scheduledjobs.core.reasons import FAILURE_STATES
from scheduledjobs.core.resource import Resource, ResourceMeta
from scheduledjobs.core.status_of import status_of
from scheduledjobs.errors import Conflict, Forbidden, KubeError, KubeUnavailable, StoreBusy
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.listing import get_resource
from scheduledjobs.kube.status import patch_status
from scheduledjobs.logs import Seldom
from scheduledjobs.steps.dirty import Dirty
from scheduledjobs.steps.outages import Outages, Tries
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.queries import Row
from scheduledjobs.store.status import find_live_jobs, load_status

log = structlog.get_logger(__name__)

EVERY_SECONDS = 0.5
LEAST_PAUSE_SECONDS = 0.05
PATCHES_PER_SECOND = 50
LEAST_SECONDS = 1.0
"""Between two patches of a job."""

PATCHING_SECONDS = 10.0
"""How long a pass goes on with patches, and then ends with the one that is on its way: with an API server that takes
seconds for each it would seem to stand still."""

ROUTINE_SECONDS = 8.0
LOOKED_AT = 60
"""How many dirty jobs are read from SQL in one pass, a few more than may be patched; fewer while it takes too long."""

REFUSED_SECONDS = 60.0
"""How long a status that the API server refuses waits for its next try."""

SLOW_SECONDS = 10.0
"""And one that took too long to read from SQL: it may have been somebody's lock."""

LOOK_SHARE = 20
"""Looks take at most this part of the time, if they take less than a quarter of a second: with a long queue each reads
many rows."""

IDLE_SECONDS = 5.0
"""A look is made so often where nothing was live at the last one, nor fired since: then nothing can have ended."""

UNHEARD_SECONDS = 30.0
"""How long a COMMIT whose answer was lost may take to become visible."""


@dataclass(slots=True)
class Known:
    """What the leader remembers of one resource's status."""

    meta: ResourceMeta
    status: bytes
    patched_at: float = 0.0
    told_failure: datetime | None = None
    """The fire time of the failure that was seen last; None before the term's first."""


Wanted = tuple[int, Row, dict[str, Any]]
"""A status to be written: its rank, the row that it was made of, and the status."""


class Report:
    """The statuses of one term."""

    def __init__(
        self,
        leader: Leader,
        kube: KubeClient,
        specs: Specs,
        on_failure: Callable[[ResourceMeta, Row], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_failure` is given what load_status says of a job, for each failure of its newest run."""
        self._leader = leader
        self._kube = kube
        self._specs = specs
        self._on_failure = on_failure
        self._monotonic = monotonic
        self._known: dict[UUID, Known] = {}
        self._dirty = Dirty()
        self._outages = Outages(monotonic)
        self._refused = Seldom(monotonic)
        self._looked_at = LOOKED_AT
        self._live: Mapping[UUID, int] | None = None
        self._fired: dict[UUID, float] = {}
        """Of which something was inserted since the last look: it may have ended before the next one, too. Each with
        the time until which it may still become visible."""

        self._look_at = self._idle_until = 0.0
        self._is_asleep = False
        self.wake = asyncio.Event()
        """Set when there is something to do again after there was nothing."""

    @property
    def waiting(self) -> int:
        """How many statuses may differ from what SQL says."""
        return len(self._dirty)

    def see(self, resource: Resource) -> None:
        """Take a resource as it arrived: its resourceVersion, and a status that may not be ours."""
        uid, seen = resource.meta.uid, _canonical(resource.status)
        known = self._known.get(uid)
        if known is None:
            self._known[uid] = Known(resource.meta, seen)
            self.mark([uid])
        elif resource.meta.resource_version >= known.meta.resource_version:
            known.meta = resource.meta
            if known.status != seen:
                known.status = seen
                self.mark([uid])

    def know(self, resource: Resource) -> None:
        """A resource was mirrored: its status is to be reported, even before the watch has brought it."""
        self._known.setdefault(resource.meta.uid, Known(resource.meta, _canonical(resource.status)))
        self.fired([resource.meta.uid])  # a run that was asked for, or what a change of the spec settled
        self._dirty.hurry(resource.meta.uid)

    def meta(self, uid: UUID) -> ResourceMeta | None:
        """Return the metadata of a job's resource as last seen, or None."""
        known = self._known.get(uid)
        return known.meta if known else None

    def forget(self, ids: Iterable[UUID]) -> None:
        """The resources are gone."""
        for uid in ids:
            self._known.pop(uid, None)
            self._dirty.forget(uid)

    def mark(self, ids: Iterable[UUID]) -> None:
        """These jobs' statuses may have changed; one that the watch has not brought yet is marked when it does."""
        get = self._known.get
        self._dirty.mark((uid, known.meta.namespace) for uid in ids if (known := get(uid)) is not None)
        if self._is_asleep and (self._dirty or self._fired):
            self._is_asleep = False
            self.wake.set()

    def fired(self, ids: Collection[UUID], *, unheard: bool = False) -> None:
        """Rows of these jobs were inserted, or if `unheard` may have been, or may yet be: their ends are looked for."""
        until = self._monotonic() + UNHEARD_SECONDS if unheard else 0.0
        self._fired.update((uid, max(until, self._fired.get(uid, 0.0))) for uid in ids)
        self.mark(ids)

    async def step(self) -> float | None:
        """Find what has changed, and patch what is due, up to the pace allowed; return the seconds until the next."""
        self._is_asleep = False
        if not self._leader.is_trusted():
            return None
        began_at = self._monotonic()
        await self._look()
        if not (self._live or self._fired or self._dirty):
            self._is_asleep = True
            return max(LEAST_PAUSE_SECONDS, self._idle_until - self._monotonic())
        most = self._looked_at
        due = self._pick(most)
        patched = await self._report(due) if due else None
        seconds = EVERY_SECONDS if patched is None or len(due) < most else patched / PATCHES_PER_SECOND
        return max(LEAST_PAUSE_SECONDS, began_at + seconds - self._monotonic())

    async def _look(self) -> None:
        """Mark what has ended since the last look, whoever ended it: it is what was live then, or was fired since."""
        now = self._monotonic()
        is_idle = not self._live and not self._fired
        if now < (self._idle_until if is_idle else self._look_at):
            return
        began, fired = now, self._fired
        live: Mapping[UUID, int] | None = None
        try:
            async with self._leader.session() as conn:
                began = self._monotonic()
                self._fired = {uid: until for uid, until in fired.items() if until > began}
                live = await find_live_jobs(conn)
        except StoreBusy as error:  # what is known to have changed is told all the same
            log.warning("what has ended was not found in time", error=str(error))
        finally:
            if live is None:
                self._fired = fired | self._fired
        done = self._monotonic()
        self._look_at = done + min(LOOK_SHARE * (done - began), IDLE_SECONDS)
        self._idle_until = done + IDLE_SECONDS
        if live is None:
            return
        before = self._live
        if before is None:  # the term's first: what has ended since the statuses were read is not known
            self.mark(self._known)
            before = live
        self.mark(uid for uid in live.keys() | before.keys() if live.get(uid) != before.get(uid))
        self.mark(fired)
        self._live = live

    def _pick(self, most: int) -> list[UUID]:
        """Return the next that may be patched."""
        now, known = self._monotonic(), self._known
        behind = self._outages.behind(now)
        for namespace in behind:
            if not self._dirty.has(namespace):
                self._outages.over(namespace)  # as far as it matters; it may be gone
        return self._dirty.pick(most, now, lambda uid: known[uid].patched_at + LEAST_SECONDS, behind, self._outages)

    async def _report(self, due: list[UUID]) -> int | None:
        """Patch those of these whose status is not what SQL says, up to the pace allowed.

        Return how many; None if some were put off. At the start of a term nearly all are right, however many they are.
        """
        read = self._dirty.marks
        rows = await self._load(due)
        now = datetime.now(UTC)
        wanted: list[Wanted] = []
        is_put_off = False
        for row in rows:
            await asyncio.sleep(0)  # what is due is not to wait for sixty statuses to be told
            known = self._known.get(row["id"])
            if known is None:
                continue
            before = orjson.loads(known.status)
            status = self._status(row, before, now)
            if status is None:
                continue
            if _canonical(status) != known.status:
                if self._is_pressing(row["id"], rank := _rank(before, status)):
                    wanted.append((rank, row, status))
                else:
                    is_put_off = True
            else:
                self._tell_failure(known, row, status)
                self._dirty.clean(row["id"], read)
        for uid in set(due) - {row["id"] for row in rows}:
            self._dirty.clean(uid, read)
        patched = await self._patch_some(wanted, read)
        return None if is_put_off or patched < len(wanted) else patched

    async def _patch_some(self, wanted: Sequence[Wanted], read: int) -> int:
        """Patch the first of these, as many as the pace and the time of a pass allow; return how many.

        `KubeUnavailable` or `Forbidden` if it may be an outage of the API server, or of the credentials, and not of a
        namespace.
        """
        until, patched, tries = self._monotonic() + PATCHING_SECONDS, 0, Tries(self._outages)
        wanted = sorted(wanted, key=lambda entry: (self._outages.order(entry[1]["namespace"]), entry[0]))
        most = int(PATCHES_PER_SECOND * EVERY_SECONDS) - any(row["namespace"] in self._outages for _, row, _ in wanted)
        for _, row, status in wanted:
            began, namespace = self._monotonic(), row["namespace"]
            if not self._leader.is_trusted():
                break
            if row["id"] not in self._known or not tries.may(namespace, is_late=began >= until or tries.made >= most):
                continue
            try:
                await self._patch(row, status, read)
            except (KubeUnavailable, Forbidden) as error:
                tries.failed(namespace, error, self._monotonic() - began)
            else:
                patched += 1
                tries.answered(namespace, self._monotonic() - began)
        tries.end(self._monotonic())
        return patched

    async def _load(self, due: list[UUID]) -> list[Row]:
        """Read what these statuses are made of. One that takes too long is found by halves, and holds up no other."""
        try:
            async with self._leader.session() as conn:
                rows = await load_status(conn, due)
        except StoreBusy:
            self._looked_at = max(1, len(due) // 2)
            for uid in due:  # the others are looked at first
                self._dirty.calm(uid)
            if len(due) == 1 and due[0] in self._known:
                self._known[due[0]].patched_at = self._monotonic() + SLOW_SECONDS
            raise
        self._looked_at = min(LOOKED_AT, 2 * self._looked_at)
        return rows

    async def _look_anew(self, uid: UUID, known: Known) -> None:
        """The resource is not as it was known: a quorum read says how it is, whatever the watch has yet to bring."""
        resource = await get_resource(self._kube, known.meta.namespace, known.meta.name)
        if resource is not None and resource.meta.uid == uid:
            known.meta, known.status = resource.meta, _canonical(resource.status)

    def _tell_failure(self, known: Known, row: Row, status: Mapping[str, Any]) -> None:
        """Tell of the newest run if it failed, once: it need not be the newest row, which it may have skipped."""
        failure = row["last_run_fire_time"]  # not its end: that moves when code which it left behind returns
        if row["last_run_state"] not in FAILURE_STATES or failure == known.told_failure:
            return
        # The term's first may be one that the leader before has told of: then the status counts it already.
        is_new = known.told_failure is not None or _failures(orjson.loads(known.status)) != _failures(status)
        known.told_failure = failure
        if is_new:
            self._on_failure(known.meta, row)

    def _status(self, row: Mapping[str, Any], before: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
        """Return a job's status, or None if it cannot be told: the others must not wait for it."""
        try:
            return status_of(row, self._specs.text(row["id"], row["version"], row["spec"]), before, now)
        except Exception:
            meta = self._known[row["id"]].meta
            log.exception("status cannot be told", namespace=meta.namespace, job=meta.name)
            self._known[row["id"]].patched_at = self._monotonic() + REFUSED_SECONDS
            return None

    def _is_pressing(self, uid: UUID, rank: int) -> bool:
        return rank < ROUTINE or self._monotonic() - self._known[uid].patched_at >= ROUTINE_SECONDS

    async def _patch(self, row: Row, status: dict[str, Any], read: int) -> None:
        uid = row["id"]
        known, seconds = self._known[uid], self._outages.patience(row["namespace"])
        try:
            version = await patch_status(self._kube, known.meta, status, seconds)
        except Conflict:
            metrics.STATUS_PATCHES.labels(result="conflict").inc()
            known.patched_at = self._monotonic()
            await self._look_anew(uid, known)  # and it is still dirty
            return
        except (KubeUnavailable, Forbidden) as error:
            result = "refused" if isinstance(error, Forbidden) else "error"
            metrics.STATUS_PATCHES.labels(result=result).inc()
            raise
        except KubeError as error:  # this status is refused: the others must not wait for it
            metrics.STATUS_PATCHES.labels(result="refused").inc()
            known.patched_at = self._monotonic() + REFUSED_SECONDS
            self._say_refused(uid, known.meta, error)
            return
        metrics.STATUS_PATCHES.labels(result="ok").inc()
        self._tell_failure(known, row, status)
        self._dirty.clean(uid, read)
        known.patched_at = self._monotonic()
        known.status = _canonical(status)
        known.meta = _with_version(known.meta, version)

    def _say_refused(self, uid: UUID, meta: ResourceMeta, error: KubeError) -> None:
        if (unsaid := self._refused.ask(uid)) is not None:
            log.error("status refused", namespace=meta.namespace, job=meta.name, error=str(error), suppressed=unsaid)


ROUTINE = 3


def _rank(before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    """Return how soon a change should be seen: 0 at once, ROUTINE when there is time."""
    if _conditions(before) != _conditions(after) or before.get("suspended") != after.get("suspended"):
        return 0
    if before.get("lastHandledRunNow") != after.get("lastHandledRunNow"):
        return 1
    outcome = before.get("lastExecution", {}).get("outcome"), after.get("lastExecution", {}).get("outcome")
    return ROUTINE if outcome[0] == outcome[1] else 2


def _failures(status: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return how a status counts failures: another one changes it, whatever was skipped since."""
    return status.get("lastSuccessfulTime"), status.get("consecutiveFailures")


def _conditions(status: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (c.get("type"), c.get("status"), c.get("reason"), c.get("message"), c.get("observedGeneration"))
        for c in status.get("conditions", [])
    ]


def _canonical(status: Mapping[str, Any]) -> bytes:
    # A copy, since this is kept for every job: what orjson returns keeps the 4 KiB in which it was written.
    return bytes(memoryview(orjson.dumps(dict(status), option=orjson.OPT_SORT_KEYS)))


def _with_version(meta: ResourceMeta, version: int) -> ResourceMeta:
    return replace(meta, resource_version=version)
