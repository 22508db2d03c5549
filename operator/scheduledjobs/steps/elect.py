"""Elect: hold the Lease, or watch whoever holds it; take a term in Postgres before leading.

One pass a second. A candidate reads the term in force, takes the Lease, then raises the term by compare-and-set from
the value it read: one that slept in between changes nothing and starts over. A leader whose Lease could not be renewed
in time goes on firing, fenced by SQL, until it loses its term or sees another holder. One without Postgres for five
seconds gives the Lease up, so that a replica with Postgres can lead.

Every request to the API server ends early enough to be tried again within the lease: one slow call is no abdication.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from scheduledjobs.core.lease import (
    LEAST_PATIENCE_SECONDS,
    MARGIN_SECONDS,
    RENEW_SECONDS,
    LeaseView,
    Observation,
    has_expired,
    may_take_early,
    observe,
    went_back,
)
from scheduledjobs.core.term import Term
from scheduledjobs.errors import Conflict, KubeError, StoreError, TermLost
from scheduledjobs.kube.client import our_errors
from scheduledjobs.kube.lease import LeaseDoor
from scheduledjobs.store.leadership import Leader, read_seat, take_over
from scheduledjobs.store.sessions import Sessions

log = structlog.get_logger(__name__)

PROBE_SECONDS = 0.5
WITHOUT_STORE_SECONDS = 5.0
STORE_SECONDS = 0.8
"""How long a pass waits for Postgres: it must not keep the replica from looking at the Lease each second."""

ANSWER_SECONDS = 1.5
"""How long Postgres may take before its connection is given up: a leader finds out whether a new one works in time."""

Lead = Callable[[Leader], Awaitable[None]]


class Elect:
    """One replica's part in the election."""

    def __init__(
        self,
        door: LeaseDoor,
        sessions: Sessions,
        url: str,
        holder: str,
        lead: Lead,
        lease_seconds: float,
        on_lease: Callable[[bool, str, float], None] = lambda _is_held, _holder, _asked_at: None,
        on_released: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lead(leader)` runs the leader's steps until cancelled or `TermLost`.

        `on_lease(is_held, holder, asked_at)` hears each look: whether another may lead, who, and when it was asked for.
        `on_released()` is called once the Lease is free: others need not wait for their next look.
        """
        self._door = door
        self._sessions = sessions
        self._url = url
        self._holder = holder
        self._lead = lead
        self._lease_seconds = lease_seconds
        self._on_lease = on_lease
        self._on_released = on_released
        self._monotonic = monotonic
        self._observation: Observation | None = None
        self._is_as_written = False
        """Whether nobody is known to have written to the Lease since this replica did: a renewal that is not refused
        needs no look before it."""

        self._free_probes = 0
        self._leading: asyncio.Task[None] | None = None
        """The steps of a term, until they have ended."""

        self._is_ending = False
        self._store_seen_at = monotonic()
        self._is_store_heard = True
        self._asking: asyncio.Task[tuple[int, bool]] | None = None
        self.term: Term | None = None
        self.wake = asyncio.Event()
        """Set when another replica has released the Lease."""
        self.was_restored = False
        """True if etcd may have been restored from a snapshot: the next term believes nothing of what is mirrored."""

    @property
    def is_leader(self) -> bool:
        """Whether this replica runs the leader's steps."""
        return self._leading is not None and not self._is_ending and not self._leading.done()

    def is_trusted(self) -> bool:
        """Return whether the Lease is surely still ours."""
        return self.term is not None and self.term.is_trusted(self._monotonic())

    async def step(self) -> float:
        """Make one pass: renew, watch or take; return the seconds until the next."""
        if self._may_renew_unseen:
            await self._hold(self._seen.view)
            if self._is_as_written or not self.is_leader:
                return self._until_next_pass()
        try:
            await self.look()
        except KubeError:
            if self.is_leader:  # Postgres is listened to all the same, or it would seem silent as long as this lasts
                await self._is_without_store()
            raise
        if self._leading is not None and self._leading.done():
            await self.step_down()
        elif self._leading is not None:
            await self._hold(self._seen.view)
        else:
            await self._try(self._seen.view, self._seen.looked_at)
        return self._until_next_pass()

    async def look(self) -> None:
        """Look at the Lease and tell of it: all that is left of the election for a replica that stops."""
        asked_at = self._monotonic()
        view = await self._read()
        now = self._monotonic()
        if self._observation is not None and went_back(self._observation.view, view):
            log.warning("the lease has gone back to an older state: was etcd restored?")
            self.was_restored = True
            await self._end_term()  # the Lease is kept where it is ours: another one may not know of this
        self._observation = observe(self._observation, view, now, self._lease_seconds)
        self._on_lease(self._is_another_there(view, now), view.holder, asked_at)

    @property
    def _may_renew_unseen(self) -> bool:
        """A leader without Postgres looks first: it may soon give the Lease up, and must not lose sight of it."""
        return self._is_as_written and self.is_leader and self._is_store_heard

    @property
    def _seen(self) -> Observation:
        assert self._observation is not None  # noqa: S101 every pass begins with a look
        return self._observation

    def _wrote(self, view: LeaseView) -> None:
        now = self._monotonic()
        self._observation, self._is_as_written = Observation(view, now, now), True

    def _until_next_pass(self) -> float:
        """A follower looks again soon, and at the very moment at which the lease that it watches would expire."""
        if self.is_leader:
            return RENEW_SECONDS
        expires_in = self._seen.since + self._lease_seconds - self._monotonic()
        return min(PROBE_SECONDS, expires_in) if expires_in > 0 else PROBE_SECONDS

    def _is_another_there(self, view: LeaseView, now: float) -> bool:
        """Return whether somebody else may lead, and so may declare this replica dead."""
        is_held = not view.is_free and view.holder != self._holder
        return is_held and not has_expired(self._seen, 2 * self._lease_seconds, now)

    async def _read(self) -> LeaseView:
        async with our_errors("read the lease"), asyncio.timeout(self._patience):
            return await self._door.read() or await self._door.create(self._patience)

    @property
    def _patience(self) -> float:
        return max(LEAST_PATIENCE_SECONDS, (self._lease_seconds - MARGIN_SECONDS) / 3)

    async def _hold(self, view: LeaseView) -> None:
        if view.holder != self._holder:
            log.warning("another replica holds the lease", holder=view.holder)
            await self.step_down()
            return
        if await self._is_without_store():
            log.warning("no database for too long: giving the lease up")
            await self.step_down()
            return
        attempted_at, self._is_as_written = self._monotonic(), False
        try:
            view = await self._door.renew(view, self._lease_seconds, self._patience)
        except Conflict:
            return  # somebody wrote to it: who holds it now is read
        if view.holder != self._holder:
            return  # etcd was restored, and another has written under the number of our last renewal: it is read
        self._wrote(view)
        self._on_lease(False, self._holder, attempted_at)
        if self.term is not None:
            self.term = self.term.renewed(attempted_at, self._lease_seconds, MARGIN_SECONDS)

    async def _is_without_store(self) -> bool:
        self._is_store_heard = False
        with suppress(StoreError, TimeoutError):
            await self._ask_store()
            self._is_store_heard = True
        return self._monotonic() - self._store_seen_at > WITHOUT_STORE_SECONDS

    async def _try(self, view: LeaseView, now: float) -> None:
        try:
            if await self._may_take(view, now):
                await self._stand(view)
        except (StoreError, TimeoutError):
            self._free_probes = 0  # a replica without Postgres does not stand, and goes on watching the Lease

    async def _may_take(self, view: LeaseView, now: float) -> bool:
        if view.is_free or view.holder == self._holder or has_expired(self._seen, self._lease_seconds, now):
            return True
        _, is_free = await self._ask_store()
        self._free_probes = self._free_probes + 1 if is_free else 0
        return may_take_early(self._seen, self._free_probes, now)

    async def _stand(self, view: LeaseView) -> None:
        expected, _ = await self._ask_store()
        attempted_at = self._monotonic()
        try:
            view = await self._door.take(view, self._holder, self._lease_seconds, self._patience)
        except Conflict:
            return  # another was quicker
        self._free_probes = 0
        self._store_seen_at = attempted_at
        self._wrote(view)
        self.term = Term(expected + 1, self._holder, 0.0).renewed(attempted_at, self._lease_seconds, MARGIN_SECONDS)
        self._leading = asyncio.create_task(self._run(expected), name=f"term {expected + 1}")

    async def _ask_store(self) -> tuple[int, bool]:
        """Return the term in force and whether its seat is free.

        What takes longer than a pass may wait is not called off, or a slow link would never be heard: the answer is
        for a later pass.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(self._look_at_store())
            self._asking.add_done_callback(_heard)
        asked = self._asking
        done, _ = await asyncio.wait({asked}, timeout=STORE_SECONDS)
        if not done:
            raise TimeoutError
        self._asking = None
        return asked.result()

    async def _look_at_store(self) -> tuple[int, bool]:
        asked_at = self._monotonic()
        async with self._sessions.session(ANSWER_SECONDS) as conn:
            found = await read_seat(conn)
        self._store_seen_at = max(self._store_seen_at, asked_at)
        return found

    async def _run(self, expected: int) -> None:
        try:
            async with take_over(self._url, self._holder, expected, self.is_trusted) as leader:
                if leader is None:
                    log.info("another replica took the term", term=expected + 1)
                    return
                log.info("leading", term=leader.term, holder=self._holder)
                await self._lead(leader)
        except TermLost as error:
            log.warning("the term is over", error=str(error))
        except StoreError as error:
            log.warning("could not lead", error=str(error))
        except Exception:
            log.exception("leading failed for a reason unforeseen")

    async def _end_term(self) -> None:
        task, self.term, self._is_as_written = self._leading, None, False
        if task is None:
            return
        if not self._is_ending:  # told twice, it would break off what it tidies up
            self._is_ending = True
            task.cancel()
        await asyncio.wait({task})  # to await the task itself would take a cancel of this very loop for the task's
        self._leading, self._is_ending = None, False
        if not task.cancelled():
            task.result()
        log.info("stepped down", holder=self._holder)

    async def step_down(self) -> None:
        """End the leader's steps, then release the Lease: in this order, or two would lead."""
        await self._end_term()
        with suppress(KubeError, TimeoutError):
            async with asyncio.timeout(self._patience):
                view = await self._door.read()
                if view is not None and view.holder == self._holder:
                    await self._door.release(view, self._patience)
                    self._on_released()


def _heard(task: asyncio.Task[tuple[int, bool]]) -> None:
    """An answer that nobody waits for any more may be an error, too."""
    if not task.cancelled():
        task.exception()
