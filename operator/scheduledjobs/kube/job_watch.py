"""One watch for all Jobs that a replica follows: a task per scope while anything is followed, none while nothing is.

Level-triggered: whoever follows a Job is woken by its events, reads it again after every break of the watch, and once
in a while without being asked. So an event that is lost costs time and nothing else. What is kept is a Job's status for
each one that is followed; the events of other replicas' Jobs are read and dropped. Versions order events; only a quorum
read may go back, as it does once etcd was restored from a snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from contextvars import Context
from typing import Any

import structlog
from kubernetes.aio import client

from scheduledjobs.errors import KubeError
from scheduledjobs.kube.client import KubeClient, load_configuration
from scheduledjobs.kube.jobs import JobDoor, reduced

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 60.0
READS_PER_SECOND = 10.0
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 10.0


class Followed:
    """One Job that is followed, as it was last seen."""

    def __init__(self, again_seconds: Callable[[], float] = lambda: AGAIN_SECONDS) -> None:
        """`again_seconds()`: how long it may go unread."""
        self.again_seconds = again_seconds
        self.uid: str | None = None
        """Of the Job that is meant; another one of its name is not looked at."""

        self.latest: Mapping[str, Any] | None = None
        self.is_gone = False
        self.is_stale = False
        """Events may have been lost: read it, having set this to False before."""

        self.went_back = False
        """A read has told of a version below the one that was known: the watch has to begin anew."""

        self._changed = asyncio.Event()

    def see(self, job: Mapping[str, Any], *, is_gone: bool = False) -> None:
        """Take in a Job as the API server has it, or had it when it was deleted; what is older changes nothing."""
        found = reduced(job)
        meta = found["metadata"]
        if self.uid is not None and meta.get("uid") != self.uid:
            return
        if self.latest is None or _version(found) >= _version(self.latest):
            self.latest = found
        if is_gone and self.uid is not None:
            self.is_gone = True
        self._changed.set()

    def read(self, job: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
        """Take in what a quorum read says of it that was begun when `before` was the latest.

        It counts whatever its version, unless an event came meanwhile: etcd may have been restored from a snapshot.
        """
        if self.latest is before and before is not None:
            self.went_back |= _version(job) < _version(before)
            self.latest = None
        self.see(job)

    def mean(self, job: Mapping[str, Any]) -> None:
        """From now on this very Job is meant."""
        self.uid = job["metadata"]["uid"]
        if self.latest is not None and self.latest["metadata"].get("uid") != self.uid:
            self.latest = None
        self.see(job)

    def doubt(self) -> None:
        """Events may have been lost."""
        self.is_stale = True
        self._changed.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until there is news, at most so long; return whether there was."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
                self._changed.clear()
                return True
        return False


def _version(job: Mapping[str, Any]) -> int:
    try:
        return int(job["metadata"].get("resourceVersion", 0))
    except ValueError:
        return 0


class JobWatch:
    """What one replica follows. It belongs to the event loop of its first use."""

    def __init__(
        self,
        namespaces: Sequence[str] = (),
        configure: Callable[[], Awaitable[client.Configuration]] = load_configuration,
    ) -> None:
        """`namespaces` are those that may be watched, each by itself; none: all at once."""
        self._namespaces = tuple(namespaces)
        self._configure = configure
        self._followed: dict[tuple[str, str], Followed] = {}
        self._tasks: dict[str | None, asyncio.Task[None]] = {}
        self._door: JobDoor | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def following(self, namespace: str, name: str) -> AsyncIterator[tuple[JobDoor, Followed]]:
        """Follow a Job, which need not be there yet."""
        followed = self._followed[namespace, name] = Followed(self.again_seconds)
        try:
            yield await self._open(namespace), followed
        finally:
            if self._followed.get((namespace, name)) is followed:
                del self._followed[namespace, name]
            await self._close_idle()

    def again_seconds(self) -> float:
        """How long a Job may go unread: longer where many are followed, so that the reads of all are bounded."""
        return max(AGAIN_SECONDS, len(self._followed) / READS_PER_SECOND)

    @property
    def is_watching(self) -> bool:
        """Return whether a watch is open or being opened."""
        return bool(self._tasks)

    async def _open(self, namespace: str) -> JobDoor:
        scope = namespace if self._namespaces else None
        async with self._opening:
            if self._door is None:
                self._door = JobDoor(KubeClient(await self._configure()))
            if scope not in self._tasks:
                # A context of its own: what it logs is no output of the attempt that happens to be first.
                self._tasks[scope] = asyncio.get_running_loop().create_task(
                    self._keep(scope, self._door), name="watch of jobs", context=Context()
                )
            return self._door

    async def _close_idle(self) -> None:
        async with self._opening:
            scopes = {namespace if self._namespaces else None for namespace, _ in self._followed}
            for scope in [scope for scope in self._tasks if scope not in scopes]:
                task = self._tasks.pop(scope)
                task.cancel()
                await asyncio.wait({task})
            if not self._followed and self._door is not None:
                door, self._door = self._door, None
                await door.close()

    async def _keep(self, scope: str | None, door: JobDoor) -> None:
        version, failures = "", 0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                if self._went_back(scope) or not version:
                    version = await door.newest(scope)
                    self._doubt(scope)
                async with aclosing(door.events(scope, version)) as events:
                    async for event in events:
                        version, failures = self._take(event) or version, 0
                failures = 0
            except Exception as error:  # noqa: BLE001 whatever it is, it must not leave every Job unwatched
                version, failures = "", failures + 1
                if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th...: an outage must not fill the log
                    _tell(scope, error, failures)
            took = asyncio.get_running_loop().time() - began
            wait = min(FIRST_WAIT_SECONDS * 2 ** min(failures, 10), LONGEST_WAIT_SECONDS) if failures else 1.0 - took
            await asyncio.sleep(max(0.0, wait))  # a server that ends each watch at once is not asked without a pause

    def _of(self, scope: str | None) -> list[Followed]:
        return [one for (namespace, _), one in self._followed.items() if scope is None or scope == namespace]

    def _doubt(self, scope: str | None) -> None:
        for followed in self._of(scope):
            followed.doubt()

    def _went_back(self, scope: str | None) -> bool:
        """Return whether versions are lower than they were; the API server tells nothing to a watch of higher ones."""
        back = [followed for followed in self._of(scope) if followed.went_back]
        for followed in back:
            followed.went_back = False
        return bool(back)

    def _take(self, event: Mapping[str, Any]) -> str:
        """Take in an event; return the version from which the watch goes on."""
        job = event.get("object") or {}
        meta = job.get("metadata") or {}
        followed = self._followed.get((meta.get("namespace", ""), meta.get("name", "")))
        if followed is not None and event.get("type") != "BOOKMARK":
            followed.see(job, is_gone=event.get("type") == "DELETED")
        return str(meta.get("resourceVersion") or "")


def _tell(scope: str | None, error: Exception, failures: int) -> None:
    if isinstance(error, KubeError):
        log.warning("the watch of Jobs broke", namespace=scope, error=str(error), failures=failures)
    else:
        log.error("the watch of Jobs failed for a reason unforeseen", namespace=scope, exc_info=error)
