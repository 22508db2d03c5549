"""Following: one attempt's Job from its creation, or from where another replica left it, to its end or its removal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from scheduledjobs.core.resource import PLURAL, VERSION
from scheduledjobs.errors import (
    Conflict,
    Failed,
    Forbidden,
    KubeError,
    KubeUnavailable,
    NotAuthenticated,
    ScheduledJobsError,
    SpecError,
)
from scheduledjobs.handlers.execution import MOST_OUTPUT, Execution, captured
from scheduledjobs.handlers.job_manifest import is_ours, name_of
from scheduledjobs.handlers.job_outcome import (
    Complaint,
    complaint_of_events,
    complaint_of_pods,
    failure_of,
    is_alive,
    is_complete,
    is_finished,
    is_pending,
    is_started,
    last_pod,
    newest_event,
    newest_pod,
    result_of,
)
from scheduledjobs.handlers.job_trouble import Trouble
from scheduledjobs.kube.job_watch import Followed
from scheduledjobs.kube.jobs import JobDoor

LOOK_SECONDS = 5.0
"""Between two looks at what keeps a Job whose pod is not ready."""

INTERNAL_ERROR = 500
PODS_SECONDS = 2.0
UNSURE_SECONDS = 2.0
UNSURE_LOOKS = 3
"""A creation whose answer was lost may still be on its way: it is looked for so often before there is no Job."""

END_SECONDS = 20.0
"""How long the pods and the log of a Job that has ended are asked for, before its end is told without them."""

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 10.0
MOST_TRIES = 5

T = TypeVar("T")


class Following:
    """One attempt and its Job."""

    def __init__(self, execution: Execution, door: JobDoor, followed: Followed, grace_seconds: float) -> None:
        """`grace_seconds`: how long a pod that cannot start is waited for."""
        self._execution = execution
        self._door = door
        self._followed = followed
        self._grace = grace_seconds
        self._namespace = execution.namespace
        self._name = name_of(execution)
        self._creating: asyncio.Task[dict[str, Any]] | None = None
        self._is_unsure = False
        self._trouble = Trouble(grace_seconds)
        self._began_at = asyncio.get_running_loop().time()
        self._look_at = self._began_at + LOOK_SECONDS
        self._read_at = self._began_at

    async def run(self, body: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Create the Job that `body` describes, or find it; return its result, or raise `Failed`.

        Where the attempt is stopped the Job is deleted and waited for; where it is handed over, it is left.
        """
        try:
            await self._begin(body)
            return await self._wait()
        except asyncio.CancelledError:
            if not self._execution.stopping.is_set() or self._execution.stopping.hands_over:
                raise
            _uncancel()
            result = await self._remove_surely()
            if result is not None:
                return result
            raise
        except (Failed, SpecError):
            raise
        except Exception as error:
            self._say("for a reason unforeseen: %r", error)
            await self._remove_surely()  # whatever it is, no Job may run on under an attempt that has ended
            raise

    # The beginning.

    async def _begin(self, body: Callable[[], Mapping[str, Any]]) -> None:
        if self._execution.stopping.is_set():
            raise asyncio.CancelledError  # it was to be stopped before it was claimed: nothing is begun
        noted = self._execution.noted
        if isinstance(noted, Mapping) and noted.get("job") == self._name:
            found = await self._patiently(lambda: self._door.get(self._namespace, self._name))
            if found is None or not is_ours(found, self._execution):
                raise await self._gone()
            self._say("went on with Job %s", self._name)
        else:
            found = await self._create(body)
        self._followed.mean(found)
        self._execution.note.set({"job": self._name, "uid": self._followed.uid})

    async def _create(self, body: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        failures = 0
        while True:
            try:
                # Shielded: a creation that was cancelled half-way might happen all the same, with nobody to know.
                self._creating = asyncio.create_task(self._door.create(self._namespace, body()))
                self._creating.add_done_callback(_heard)
                found = await asyncio.shield(self._creating)
            except (KubeUnavailable, NotAuthenticated) as error:
                self._is_unsure = True
                failures += 1
                await self._give_up_on(error)
                await self._pause("Job not created yet: %s", error, failures)
            except (KubeError, SpecError) as error:
                # Whatever is said of a new one: an earlier claim may have made it, and died before it could note that.
                present = await self._patiently(lambda: self._door.get(self._namespace, self._name))
                if present is not None and is_ours(present, self._execution):
                    self._say("found Job %s", self._name)
                    return present
                failures += 1
                if not isinstance(error, Conflict) or present is not None or failures > MOST_TRIES:
                    raise self._refused(error, present) from error
                await self._pause("Job not created yet: %s", error, failures)  # a quota was counted just then
            else:
                self._say("created Job %s", self._name)
                return found

    async def _give_up_on(self, error: KubeError) -> None:
        """An API server that does not answer is waited for; one that answers with an error, only so long."""
        now = asyncio.get_running_loop().time()
        if error.status == INTERNAL_ERROR and now - self._began_at > self._grace and await self._there() is None:
            raise Failed(f"the API server could not take the Job: {error}")

    def _refused(self, error: ScheduledJobsError, present: object) -> ScheduledJobsError:
        """A quota may have room the next time; whatever else is refused stays refused."""
        if isinstance(error, SpecError):
            return error
        if isinstance(error, Conflict) and present is not None:
            sentence = f"a Job named {self._name} is there already, and was not made for this attempt"
            return Failed(sentence, is_permanent=True)
        is_quota = isinstance(error, Forbidden) and "exceeded quota" in str(error)
        return Failed(f"the API server refused the Job: {error}", is_permanent=not is_quota)

    # Its life.

    async def _wait(self) -> dict[str, Any]:
        while True:
            if self._followed.is_stale:
                await self._read()
            job = self._followed.latest
            if job is not None and is_finished(job):
                return await self._finished(job)
            if self._followed.is_gone or job is None:
                raise await self._gone()
            is_started_now = is_started(job)
            if is_started_now:
                self._trouble.clear()
            elif complaint := await self._lasting_complaint():
                ended_well = await self._remove(self._followed.uid or "")
                if ended_well is not None:
                    return ended_well
                raise Failed(complaint.text, result_of(job, None))
            seconds = self._followed.again_seconds() if is_started_now else LOOK_SECONDS
            if not await self._followed.wait(seconds) and (is_started_now or self._is_unread()):
                self._followed.doubt()

    def _is_unread(self) -> bool:
        """Return whether it has gone unread for as long as it may: an event may have been lost without a break."""
        return asyncio.get_running_loop().time() - self._read_at >= self._followed.again_seconds()

    async def _read(self) -> None:
        self._read_at = asyncio.get_running_loop().time()
        self._followed.is_stale = False  # before: what is doubted while the answer is on its way is read once more
        before = self._followed.latest
        found = await self._patiently(lambda: self._door.get(self._namespace, self._name))
        if found is None or found["metadata"]["uid"] != self._followed.uid:
            self._followed.is_gone = True
        else:
            self._followed.read(found, before)

    async def _lasting_complaint(self) -> Complaint | None:
        """Return what has kept the Job's pods from starting for longer than they are waited for."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return None
        self._look_at = now + LOOK_SECONDS
        try:
            complaint = await self._look(now)
        except KubeError:
            return None
        if complaint is not None and self._trouble.is_news(complaint):
            self._say("it does not start: %s", complaint.text)
        return complaint if self._trouble.is_over(complaint, now) else None

    async def _look(self, now: float) -> Complaint | None:
        uid = self._followed.uid or ""
        pods = await self._door.pods(self._namespace, uid)
        if not pods:
            return complaint_of_events(await self._door.warnings(self._namespace, uid))
        complaint = complaint_of_pods(pods)
        newest = newest_pod(pods)
        if complaint is not None or not is_pending(newest):
            return complaint
        # One without a node waits for that: an autoscaler may be at work, and that takes what it takes.
        if not newest["spec"].get("nodeName"):
            return None
        return self._trouble.fresh(
            newest_event(await self._door.warnings(self._namespace, newest["metadata"]["uid"])), now
        )

    # Its end.

    async def _finished(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the end of the Job, with its last pod and log where these can be had."""
        pod = None
        try:
            async with asyncio.timeout(END_SECONDS):
                pod = last_pod(
                    await self._patiently(lambda: self._door.pods(self._namespace, self._followed.uid or ""))
                )
                if pod is not None and pod.container is not None and pod.has_logs:
                    await self._keep_log(pod.name, pod.container)
        except (TimeoutError, KubeError) as error:
            self._say("its pod or log could not be read: %s", error or "no answer")
        result = result_of(job, pod)
        if is_complete(job):
            return result
        raise Failed(failure_of(job, pod), result)

    async def _keep_log(self, pod: str, container: str) -> None:
        text, is_cut = await self._door.log(self._namespace, pod, container, MOST_OUTPUT)
        output = captured.get()
        if output is not None:
            output.is_truncated |= is_cut
            for line in text.splitlines():
                output.add(line)

    async def _gone(self) -> Failed:
        """Return how the attempt ends whose Job is not there any more, once its pods are not either."""
        await self._pods_gone()
        return Failed(await self._why_gone(), {"job": self._name})

    async def _pods_gone(self) -> None:
        """Wait until no pod of the Job is alive: one that somebody deletes in the background goes before they do."""
        noted = self._execution.noted
        uid = self._followed.uid or (noted.get("uid") if isinstance(noted, Mapping) else None)
        while uid and await self._has_pods(uid):  # noqa: ASYNC110 no event tells of them
            await asyncio.sleep(PODS_SECONDS)

    async def _has_pods(self, uid: str) -> bool:
        return any(map(is_alive, await self._patiently(lambda: self._door.pods(self._namespace, uid))))

    async def _why_gone(self) -> str:
        try:
            owner = await self._door.owner_uid(self._namespace, PLURAL, VERSION, self._execution.job)
        except KubeError:
            owner = str(self._execution.job_id)
        if owner != str(self._execution.job_id):
            return f"its Job {self._name} was deleted with the ScheduledJob"
        if self._followed.uid is None:
            return f"its Job {self._name} is gone: deleted, or ended and collected while nobody watched"
        return f"its Job {self._name} was deleted"

    # Its removal.

    async def _remove_surely(self) -> dict[str, Any] | None:
        failures = 0
        while True:
            try:
                return await self._remove_stopped()
            except Exception as error:  # noqa: BLE001 the attempt must not end before its Job has
                failures += 1
                await self._pause("the Job could not be removed yet: %r", error, failures)

    async def _remove_stopped(self) -> dict[str, Any] | None:
        """Delete the Job and wait until it is gone; return its result where it had ended well before."""
        if self._creating is not None:
            await asyncio.wait({self._creating})
            self._is_unsure |= self._creating.cancelled() or self._creating.exception() is not None
        job = await self._there()
        if job is None or not is_ours(job, self._execution):
            await self._pods_gone()
            return None
        self._followed.mean(job)
        if is_complete(job):
            return await self._finished(job)
        if not is_finished(job):
            await self._keep_last_log()
            self._say("deleting Job %s", self._name)
            ended_well = await self._remove(job["metadata"]["uid"])
            self._say("Job %s is gone, and its pods", self._name)
            return ended_well
        return None

    async def _there(self) -> dict[str, Any] | None:
        """Return the Job, or None once it is sure that there is none and none is on its way."""
        for look in range(UNSURE_LOOKS if self._is_unsure else 1):
            if look:
                await asyncio.sleep(UNSURE_SECONDS)
            found = await self._patiently(lambda: self._door.get(self._namespace, self._name))
            if found is not None:
                return found
        return None

    async def _keep_last_log(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                pods = await self._door.pods(self._namespace, self._followed.uid or "")
                pod = last_pod(pods)
                if pod is not None and pod.container is not None:
                    await self._keep_log(pod.name, pod.container)
        except (TimeoutError, KubeError):
            return  # a log that cannot be had must not put off the removal

    async def _remove(self, uid: str) -> dict[str, Any] | None:
        """Delete the Job with this uid, and return once it is gone with its pods; its result if it had ended well."""
        while not self._followed.is_gone:
            if "deletionTimestamp" not in (self._followed.latest or {}).get("metadata", {}):
                await self._patiently(lambda: self._door.delete(self._namespace, self._name, uid))
            if not await self._followed.wait(LOOK_SECONDS) or self._followed.is_stale:
                await self._read()
        await self._pods_gone()
        job = self._followed.latest
        return result_of(job, None) if job is not None and is_complete(job) else None

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer, however long the API server gives none; a refusal is asked again too.

        A right that was taken away does not end a Job: what is not known of it must not be made up.
        """
        failures = 0
        while True:
            try:
                return await ask()
            except KubeError as error:
                failures += 1
                await self._pause("no answer about the Job yet: %s", error, failures)

    async def _pause(self, text: str, error: Exception, failures: int) -> None:
        if failures & (failures - 1) == 0:
            self._say(text, error)
        await asyncio.sleep(min(FIRST_WAIT_SECONDS * 2 ** min(failures - 1, 10), LONGEST_WAIT_SECONDS))

    def _say(self, text: str, *words: object) -> None:
        self._execution.logger.info(text, *words)


def _uncancel() -> None:
    """Go on after a cancel: in Python 3.11.2 `asyncio.timeout` takes its own end for the cancel that came before."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def _heard(task: asyncio.Task[dict[str, Any]]) -> None:
    """Let an error that nobody waits for any more go."""
    if not task.cancelled():
        task.exception()
