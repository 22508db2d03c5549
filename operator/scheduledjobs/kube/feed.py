"""The live feed: kopf watches ScheduledJobs in our own event loop and hands every event on; it writes nothing.

kopf brings discovery, login, reconnects and order per object. It swallows errors of callbacks, gives up on many
answers of the API server, and never sees a delete that it missed; so a callback only puts the event into memory, a
supervisor starts kopf again, and the compare step closes the holes. kopf does not say when there may be one, its
requests do: a watch that begins after a list or after a refusal has missed what happened before it.

Settings and traps: kopf's embedding has it cancel the host's tasks when it stops, keep the signal handlers that it
took, and kill the process ten minutes after a crash; each line below that looks odd answers one of these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import kopf
import structlog
from kopf._core.reactor.inventory import ResourceMemories

from scheduledjobs.core.resource import GROUP, PLURAL, VERSION, Resource
from scheduledjobs.errors import KubeError, KubeUnavailable, named
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.feed_session import Course, Login
from scheduledjobs.kube.listing import is_served, read_resource
from scheduledjobs.kube.refusals import Refusals

log = structlog.get_logger(__name__)

LONGEST_WAIT_SECONDS = 5.0
HEALTHY_SECONDS = 60.0
WATCH_SECONDS = 5
WATCHES_PER_SECOND = 10
ASK_SECONDS = 2.0
REFUSED_SECONDS = 3.0
SILENT_SECONDS = 15.0
"""kopf asks for each watch anew in time; between two requests there may be one that is not answered, and a pause."""

OnEvent = Callable[[Resource, bool], None]
"""Takes a resource and whether it is gone."""


class _Everything(Collection[Any]):
    """Contains every task: those that kopf does not know of are not kopf's to cancel."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no copy of the spec on the object: nothing is written to any object."""

    def build(self, **_: Any) -> Any:
        return None

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: there are none that have any."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class _Forgetful(ResourceMemories):
    """Keeps nothing of an object: what kopf remembers is for handlers that go on after an event."""

    async def recall(self, raw_body: Any, **how: Any) -> Any:
        return await super().recall(raw_body, **{**how, "ephemeral": True})


class _Memo:
    """What callbacks are given; kopf copies it for every object, so a copy is itself."""

    def __init__(self, on_event: OnEvent) -> None:
        self.on_event = on_event

    def __copy__(self) -> _Memo:
        return self


def watch_seconds(namespaces: int) -> int:
    """Return how long one watch lasts: short, so that a silent one is noticed; longer where there are many."""
    return max(WATCH_SECONDS, namespaces // WATCHES_PER_SECOND)


def refused_seconds(namespaces: int) -> float:
    """Return after how long a refused namespace is asked for again: before kopf takes its watch for a silent one."""
    return max(REFUSED_SECONDS, namespaces / WATCHES_PER_SECOND)


def kopf_settings(namespaces: int = 1) -> kopf.OperatorSettings:
    """Return kopf's settings for a feed that only reads."""
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.chunk_size = 1  # its list is only asked for its version
    # The API server ends each watch in time, so one that is silent for longer has lost its connection.
    settings.watching.server_timeout = watch_seconds(namespaces)
    settings.watching.inactivity_timeout = watch_seconds(namespaces) + 1
    settings.watching.connect_timeout = 5
    settings.watching.reconnect_backoff = 1.0
    settings.watching.initial_streaming = False
    settings.networking.request_timeout = 10
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, 2)  # the end of an outage is noticed in two seconds
    settings.queueing.worker_limit = 50
    settings.queueing.idle_timeout = 0.005
    settings.queueing.exit_timeout = 0.5
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    return settings


async def feed(
    kube: KubeClient,
    on_event: OnEvent,
    on_watching: Callable[[], None],
    namespaces: Sequence[str],
    refusals: Refusals,
    restore_signals: Callable[[], None],
) -> None:
    """Run one life of kopf, until cancelled or until kopf gives up, which raises what made it."""
    registry = kopf.OperatorRegistry()
    course = Course(on_watching, refusals, refused_seconds(len(namespaces)))
    way_in = Login(kube, course)

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        return await way_in()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def seen(event: Any, memo: Any, **_: Any) -> None:
        resource = read_resource(event["object"])
        if resource is not None:
            memo.on_event(resource, event["type"] == "DELETED")

    stop = asyncio.Event()
    where: dict[str, Any] = {"namespaces": list(namespaces)} if namespaces else {"clusterwide": True}
    where["identity"] = "scheduledjobs"  # or kopf asks for the name of the user, who has none in a pod
    try:
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=kopf_settings(len(namespaces)),
            memo=_Memo(on_event),
            memories=_Forgetful(),
            standalone=True,
            stop_flag=stop,
            **where,
        )
        restore_signals()
        await _run(tasks, course, watch_seconds(len(namespaces)) + SILENT_SECONDS)
    finally:
        stop.set()
        await way_in.close()


async def _run(tasks: Collection[asyncio.Task[Any]], course: Course, silent_seconds: float) -> None:
    """Run kopf until it ends, or makes no more requests: where it could not learn what the API server serves, it says
    nothing and idles for ever."""
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=_Everything()))
    silence = asyncio.create_task(course.fall_silent(silent_seconds))
    try:
        await asyncio.wait({running, silence}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise KubeUnavailable(f"kopf has not asked for anything for {silent_seconds:g} s")
        running.result()
    finally:
        for task in (running, silence):
            task.cancel()
        await asyncio.gather(running, silence, return_exceptions=True)


async def keep_feeding(
    kube: KubeClient,
    on_event: OnEvent,
    on_broken: Callable[[], None],
    on_watching: Callable[[], None],
    namespaces: Sequence[str],
    refusals: Refusals,
    restore_signals: Callable[[], None] = lambda: None,
) -> None:
    """Run the feed until cancelled: kopf is started again when it gives up, which `on_broken` hears of; `on_watching`
    is called when a watch begins that may have missed something. Either asks for a compare. A namespace that is refused
    is left out until it is not."""
    loop = asyncio.get_running_loop()
    wait = 1.0
    while True:
        started_at = loop.time()
        try:
            await _until_served(kube, namespaces)
            await feed(kube, on_event, on_watching, namespaces, refusals, restore_signals)
        except Exception as error:  # noqa: BLE001 kopf ends with whatever the API server answered
            log.warning("the watch gave up", error=named(error), retry_seconds=wait)
        if loop.time() - started_at > HEALTHY_SECONDS:
            wait = 1.0
        on_broken()
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


async def _until_served(kube: KubeClient, namespaces: Sequence[str]) -> None:
    """Wait for the CRD: kopf, started without it, would idle for ever. And for an answer at all, which costs less
    than to start kopf for each try."""
    told = ""
    while why := await _why_not_served(kube, namespaces):
        if why != told:
            log.warning("cannot watch yet", error=why)
            told = why
        await asyncio.sleep(ASK_SECONDS)


async def _why_not_served(kube: KubeClient, namespaces: Sequence[str]) -> str:
    try:
        is_there = await is_served(kube, namespaces)
    except KubeError as error:
        return str(error)
    return (
        "" if is_there else "the API server does not know scheduledjobs: crds.install=true, or kubectl apply -f crds/"
    )
