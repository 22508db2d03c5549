"""One replica: builds every part, starts them in order, and stops them in the order that loses nothing.

Stop (SIGTERM): stop leading first and release the Lease; claim no more; let what runs finish while heartbeats go on;
cancel what still runs at the end of the grace; write the last completions; say goodbye, unless code still runs that
cannot be stopped: who says so is rescued from at once, and the next run would begin beside it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from secrets import token_hex
from typing import Any
from uuid import UUID

import structlog

from scheduledjobs import __version__, metrics
from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.core.term import Trust
from scheduledjobs.errors import KubeUnavailable, SchemaTooOld, StoreUnavailable
from scheduledjobs.handlers.assignment import Assignment, Ending, Stop
from scheduledjobs.handlers.runner import CANCEL_SECONDS, Runner
from scheduledjobs.handlers.setting_up import set_up_handlers
from scheduledjobs.kube.client import KubeClient, open_client
from scheduledjobs.kube.lease import LeaseDoor
from scheduledjobs.leading import Leading, Replica
from scheduledjobs.logs import say_always
from scheduledjobs.settings import Settings
from scheduledjobs.steps.claim import POLL_SECONDS, Claim
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.complete import Complete
from scheduledjobs.steps.elect import PROBE_SECONDS, Elect
from scheduledjobs.steps.give_up import EVERY_SECONDS as GIVE_UP_SECONDS
from scheduledjobs.steps.give_up import GiveUp
from scheduledjobs.steps.heartbeat import EVERY_SECONDS as BEAT_SECONDS
from scheduledjobs.steps.heartbeat import Heartbeat
from scheduledjobs.steps.lag import EVERY_SECONDS as LAG_SECONDS
from scheduledjobs.steps.lag import Lag
from scheduledjobs.steps.loop import PATIENCE_SECONDS, Loops, keep
from scheduledjobs.steps.notify import Notify
from scheduledjobs.steps.outcome import Outcome
from scheduledjobs.steps.specs import Specs
from scheduledjobs.steps.stops import EVERY_SECONDS as STOPS_SECONDS
from scheduledjobs.steps.stops import Stops
from scheduledjobs.steps.tail import EVERY_SECONDS as TAIL_SECONDS
from scheduledjobs.steps.tail import Tail
from scheduledjobs.store.executions import CHANGED, ENDED, FREE, SPECS, STOP, WORK
from scheduledjobs.store.leadership import Leader, check_session, claim_cluster
from scheduledjobs.store.listen import listen
from scheduledjobs.store.migrate import check_schema, migrate
from scheduledjobs.store.sessions import Sessions, connect, replica_sessions
from scheduledjobs.web.health import HealthServer, Pulse
from scheduledjobs.web.process import WebProcess

log = structlog.get_logger(__name__)

RETRY_SECONDS = 2.0
READY_WITHIN_SECONDS = 10.0
LAST_WORDS_SECONDS = 5.0
STOP_SECONDS = CANCEL_SECONDS + 1.0
"""For what is cancelled at the end of the grace: longer than a cancel may be ignored, or its end is not written."""


class App:
    """The parts of one replica."""

    def __init__(self, settings: Settings, kube: KubeClient) -> None:
        self._settings = settings
        self._kube = kube
        self._url = settings.database_url.get_secret_value()
        self._holder = f"{settings.hostname}_{token_hex(4)}"
        self._pulse = Pulse()
        self._clock = Clock()
        self._lag = Lag()
        self._specs = Specs()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._trust = Trust(float("-inf"))
        self._has_schema = False
        self._leading: Leading | None = None
        self._web: WebProcess | None = WebProcess(settings.host, settings.port) if settings.web else None
        self._registry = set_up_handlers(settings)
        self._runner = Runner(self._registry, settings.slots, self._on_end, self._on_return, may_begin=self._may_start)
        self._control, self._work, self._claims, self._upkeep = replica_sessions(self._url)
        self._notify = Notify(self._control)
        outcome = Outcome(self._on_freed, self._tell_release, self._tell_changed)
        self._complete = Complete(self._work, outcome.written, outcome.returned)
        self._claim = self._new_claim()
        self._stops = Stops(self._control, self._runner)
        self._tail = Tail(self._work, self._runner)
        self._give_up = GiveUp(self._runner, lambda: self._trust.may_go_on(time.monotonic()))
        self._heartbeat = Heartbeat(
            self._control,
            self._clock,
            {
                "hostname": settings.hostname,
                "version": __version__,
                "slots": settings.slots,
                "handlers": self._registry.names(),
            },
            on_beat=self._on_beat,
            on_dead=self._on_dead,
            on_registered=self._on_registered,
            on_clock_step=self._on_clock_step,
            state=self._state,
        )
        self._elect = self._new_elect()

    def _new_elect(self) -> Elect:
        settings = self._settings
        return Elect(
            LeaseDoor(self._kube, settings.lease_namespace, settings.lease_name),
            self._control,
            self._url,
            self._holder,
            self._lead,
            settings.lease_seconds,
            self._on_lease,
            lambda: self._notify.send(FREE),
        )

    def _new_claim(self) -> Claim:
        return Claim(
            self._claims,
            self._runner,
            self._complete,
            self._specs,
            self._registry.names(),
            self._may_start,
            on_claimed=self._tell_changed,
            limit=self._settings.max_running,
            limits=self._settings.running_limits,
        )

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then stop in order."""
        self._take_signals()
        metrics.begin(self._registry.names())
        metrics.BUILD.info({"version": __version__})
        metrics.SLOTS.set(self._settings.slots)
        metrics.lead(self._settings.lease_name, 0)
        async with AsyncExitStack() as stack:
            health = HealthServer(
                self._settings.metrics_host, self._settings.metrics_port, self._pulse, self._checks, self._web
            )
            await stack.enter_async_context(health)
            log.info("serving probes and metrics", host=self._settings.metrics_host, port=health.port)
            if not await self._unless_stopped(self._prepare()):
                return
            for sessions in (self._control, self._work, self._claims, self._upkeep):
                await stack.enter_async_context(sessions)
            if self._web is not None:
                await stack.enter_async_context(self._web)
                log.info("serving REST and the dashboard", host=self._settings.host, port=self._web.port)
            self._runner.start()
            loops = Loops()
            for name, loop in self._loops().items():
                loops.start(name, partial(self._keep, name, *loop))
            await self._stop.wait()
            await self._shut_down(loops)

    async def _prepare(self) -> None:
        """Wait for the database and the API server, each named in one line while it does not answer."""
        schema = self._migrate if self._settings.migrate else self._see_schema
        await self._until_answered("SCHEDULEDJOBS_DATABASE_URL", schema, StoreUnavailable, SchemaTooOld)
        cluster = await self._until_answered("KUBECONFIG", self._kube.cluster_uid, KubeUnavailable)
        claim = partial(self._claim_cluster, cluster)
        await self._until_answered("SCHEDULEDJOBS_DATABASE_URL", claim, StoreUnavailable)

    async def _migrate(self) -> None:
        await migrate(self._url, tell=lambda line: log.info("migrating", migration=line))
        self._has_schema = True

    async def _see_schema(self) -> None:
        async with connect(self._url, "scheduledjobs start") as conn:
            with conn.bounded():
                await check_schema(conn)
        self._has_schema = True

    async def _claim_cluster(self, cluster: str) -> None:
        async with Sessions(self._url, "scheduledjobs start", size=1) as sessions, sessions.session() as conn:
            await check_session(conn)
            await claim_cluster(conn, cluster)

    async def _until_answered(self, setting: str, ask: Any, *unavailable: type[Exception]) -> Any:
        while True:
            try:
                return await ask()
            except unavailable as error:
                log.warning("no answer yet", setting=setting, error=str(error), retry_seconds=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    async def _unless_stopped(self, work: Any) -> bool:
        """Await `work`, unless the replica is told to stop first; return whether it was done."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            working.result()
            return True
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return False

    def _loops(self) -> dict[str, tuple[Any, float, asyncio.Event | None]]:
        return {
            "heartbeat": (self._heartbeat.step, BEAT_SECONDS, None),
            "trust": (self._give_up.step, GIVE_UP_SECONDS, None),
            "lag": (self._lag.step, LAG_SECONDS, None),
            "elect": (self._elect.step, PROBE_SECONDS, self._elect.wake),
            "claim": (self._claim.step, POLL_SECONDS, self._claim.wake),
            "complete": (self._complete.step, 1.0, self._complete.wake),
            "stops": (self._stops.step, STOPS_SECONDS, self._stops.wake),
            "tail": (self._tail.step, TAIL_SECONDS, None),
            "notify": (self._notify.step, 1.0, self._notify.wake),
            "listen": (self._listen, 1.0, None),
        }

    async def _keep(self, name: str, step: Any, seconds: float, wake: asyncio.Event | None) -> None:
        patience = float("inf") if name == "listen" else PATIENCE_SECONDS  # its one pass lasts as long as its session
        await keep(name, step, every_seconds=seconds, wake=wake, tick=self._pulse.tick, patience=patience)

    async def _listen(self) -> None:
        await listen(self._url, [WORK, ENDED, STOP, FREE, SPECS, CHANGED], self._on_notify)

    def _on_notify(self, channel: str) -> None:
        if channel == WORK:
            self._claim.wake.set()
        elif channel == STOP:
            self._stops.wake.set()
        elif channel == FREE:
            self._elect.wake.set()
        elif channel == SPECS:
            self._specs.doubt()
        elif channel == CHANGED:
            if self._web is not None:
                self._web.change()
        elif self._leading is not None:
            self._leading.release.wake.set()

    async def _lead(self, leader: Leader) -> None:
        replica = Replica(
            settings=self._settings,
            kube=self._kube,
            registry=self._registry,
            clock=self._clock,
            specs=self._specs,
            notify=self._notify,
            upkeep=self._upkeep,
            claim=self._claim,
            wake_stops=self._stops.wake.set,
            restore_signals=self._take_signals,
            tick=self._pulse.tick,
            forget=self._pulse.forget,
        )
        self._leading = Leading(replica, leader, was_restored=self._elect.was_restored)
        metrics.lead(self._settings.lease_name, leader.term)
        say_always(term=leader.term)
        self._tell_changed()
        try:
            await self._leading.run()
        finally:
            if self._leading.is_synced:
                self._elect.was_restored = False
            self._leading = None
            metrics.lead(self._settings.lease_name, 0)
            metrics.follow()
            say_always(term=None)

    def _on_end(self, endings: Sequence[Ending]) -> None:
        self._complete.add(endings)

    def _on_return(self, assignments: Sequence[Assignment]) -> None:
        self._complete.add_returned(assignments)
        self._claim.wake.set()

    def _on_freed(self, *, is_more: bool) -> None:
        self._claim.slots_freed(is_more=is_more)

    def _tell_release(self) -> None:
        self._notify.send(ENDED)
        self._on_notify(ENDED)

    def _tell_changed(self) -> None:
        self._notify.send_seldom(CHANGED)

    def _on_registered(self, replica: UUID) -> None:
        self._claim.replica = self._complete.replica = self._stops.replica = self._tail.replica = replica
        self._tell_changed()
        self._claim.wake.set()

    def _on_beat(self, sent_at: float) -> None:
        self._trust = self._trust.beaten(sent_at)
        metrics.RUNNING.set(len(self._runner.running))
        metrics.UNWRITTEN.set(self._complete.unwritten)
        metrics.BEATEN.set(time.time())

    def _on_dead(self) -> None:
        self._claim.replica = None
        self._give_up.on_dead()

    def _on_clock_step(self) -> None:
        metrics.CLOCK_STEPS.inc()
        if self._leading is not None:
            self._leading.look_again()

    def _on_lease(self, is_held: bool, holder: str, asked_at: float) -> None:  # noqa: FBT001 the election's signature
        now = time.monotonic()
        self._trust = self._trust.saw_lease(is_held=is_held, now=now, holder=holder, asked_at=asked_at)

    def _may_start(self) -> bool:
        return self._trust.may_start(time.monotonic())

    def _state(self) -> dict[str, object]:
        term, lag_ms = self._elect.term, self._lag.take_ms()
        metrics.LOOP_LAG.set(lag_ms / 1000)
        return {
            "running": len(self._runner.running),
            "is_leader": self._elect.is_leader,
            "term": term.number if term and self._elect.is_leader else None,
            "loop_lag_ms": lag_ms,
        }

    def _checks(self) -> dict[str, bool]:
        beaten = time.monotonic() - self._trust.beat_sent_at < READY_WITHIN_SECONDS
        leading = self._leading
        return {
            "schema": self._has_schema,
            "database": beaten,
            "mirror": leading is None or leading.is_synced,
            "web": self._web is None or self._web.is_serving,
            "draining": not self._stop.is_set(),
        }

    def _take_signals(self) -> None:
        """Signals are ours; kopf takes them each time it starts, and does not give them back."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _shut_down(self, loops: Loops) -> None:
        log.info("stopping", running=len(self._runner.running))
        await loops.end("elect")
        # Without a sight of the Lease it could not know that nobody rescues what it runs, should Postgres go away now.
        loops.start("elect", partial(self._keep, "elect", self._elect.look, PROBE_SECONDS, None))
        await self._elect.step_down()
        self._claim.drain()
        self._runner.hand_over(Stop(State.LOST, Reason.DRAINED, "the replica stopped before it ended"))
        await self._drain(self._settings.drain_seconds)
        if self._runner.running:
            self._runner.stop_attempts(Stop(State.LOST, Reason.DRAINED, "the replica stopped before it ended"))
            await self._drain(STOP_SECONDS, hurry=False)
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while self._complete.unwritten and time.monotonic() < deadline:  # noqa: ASYNC110 the writer is waited for, not an event
            await asyncio.sleep(0.02)
        await loops.end()
        if self._runner.running:  # it runs until the process has ended, when ten seconds have not passed yet
            log.warning("code that cannot be stopped runs on: no goodbye", running=len(self._runner.running))
        else:
            await self._heartbeat.close()
        await self._runner.close()
        log.info("stopped")

    async def _drain(self, seconds: float, *, hurry: bool = True) -> None:
        """Wait until nothing runs and all is written, at most so long; a second signal ends the waiting.

        Claims that are on their way are waited for too, not so long: without a database they never come back.
        """
        deadline = time.monotonic() + seconds
        claims_until = time.monotonic() + LAST_WORDS_SECONDS
        while time.monotonic() < deadline and not (hurry and self._hurry.is_set()):
            is_idle = not self._runner.running and not self._complete.unwritten
            if is_idle and (self._claim.is_drained or time.monotonic() > claims_until):
                return
            await asyncio.sleep(0.02)


async def run(settings: Settings) -> None:
    """Run one replica with these settings until it is told to stop."""
    async with open_client() as kube:
        await App(settings, kube).run()
