"""The live feed: kopf watches ScheduledJobs in our own event loop and hands every event on; it writes nothing.

kopf brings discovery, login, reconnects and order per object. It swallows errors of callbacks, gives up on many
answers of the API server, and never sees a delete that it missed; so a callback only puts the event into memory, a
supervisor starts kopf again, and the compare step closes the holes.

Settings and traps: kopf's embedding has it cancel the host's tasks when it stops, keep the signal handlers that it
took, and kill the process ten minutes after a crash; each line below that looks odd answers one of these.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf
import structlog

from scheduledjobs.core.resource import GROUP, PLURAL, VERSION, Resource
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.listing import is_served, read_resource

log = structlog.get_logger(__name__)

LONGEST_WAIT_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
CREDENTIALS_LIVE = timedelta(minutes=10)

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


class _Memo:
    """What callbacks are given; kopf copies it for every object, so a copy is itself."""

    def __init__(self, on_event: OnEvent) -> None:
        self.on_event = on_event

    def __copy__(self) -> _Memo:
        return self


def kopf_settings() -> kopf.OperatorSettings:
    """Return kopf's settings for a feed that only reads."""
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.chunk_size = 100
    settings.watching.server_timeout = 600
    settings.watching.connect_timeout = 5
    settings.watching.reconnect_backoff = 1.0
    settings.watching.inactivity_timeout = 70
    settings.watching.initial_streaming = False
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, 5)
    settings.queueing.worker_limit = 50
    settings.queueing.idle_timeout = 0.005
    settings.queueing.exit_timeout = 0.5
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    return settings


async def feed(
    kube: KubeClient, on_event: OnEvent, namespaces: Sequence[str], restore_signals: Callable[[], None]
) -> None:
    """Run one life of kopf, until cancelled or until kopf gives up, which raises what made it."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await _connection(kube)

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
            settings=kopf_settings(),
            memo=_Memo(on_event),
            standalone=True,
            stop_flag=stop,
            **where,
        )
        restore_signals()
        await kopf.run_tasks(tasks, ignored=_Everything())
    finally:
        stop.set()


async def _connection(kube: KubeClient) -> kopf.ConnectionInfo:
    settings = kube.configuration
    scheme, _, token = (await settings.get_api_key_with_prefix("BearerToken") or "").partition(" ")
    return kopf.ConnectionInfo(
        server=settings.host,
        ca_path=settings.ssl_ca_cert,
        insecure=not settings.verify_ssl,
        certificate_path=settings.cert_file,
        private_key_path=settings.key_file,
        proxy_url=settings.proxy,
        scheme=scheme or None,
        token=token.strip() or None,
        expiration=datetime.now(UTC) + CREDENTIALS_LIVE,
    )


async def keep_feeding(
    kube: KubeClient,
    on_event: OnEvent,
    on_broken: Callable[[], None],
    namespaces: Sequence[str],
    restore_signals: Callable[[], None] = lambda: None,
) -> None:
    """Run the feed until cancelled: kopf is started again when it gives up, and `on_broken` asks for a compare."""
    for name in ("kopf.objects", "kopf.activities", "kopf._core.engines.activities"):
        logging.getLogger(name).setLevel(logging.WARNING)
    loop = asyncio.get_running_loop()
    wait = 1.0
    while True:
        started_at = loop.time()
        try:
            await _until_served(kube, namespaces)
            await feed(kube, on_event, namespaces, restore_signals)
        except Exception as error:  # noqa: BLE001 kopf ends with whatever the API server answered
            log.warning("the watch gave up", error=repr(error), retry_seconds=wait)
        if loop.time() - started_at > HEALTHY_SECONDS:
            wait = 1.0
        on_broken()
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


async def _until_served(kube: KubeClient, namespaces: Sequence[str]) -> None:
    """Wait for the CRD: kopf, started without it, would idle for ever."""
    is_told = False
    while not await is_served(kube, namespaces):
        if not is_told:
            log.warning("the API server does not know scheduledjobs: crds.install=true, or kubectl apply -f crds/")
            is_told = True
        await asyncio.sleep(2.0)
