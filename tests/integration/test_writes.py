"""What REST and pages say of a change that was made: as it is, whether or not there is a leader that has read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.conftest import Stage
from tests.pages.ui_stub import Auth

from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.resource import Resource
from scheduledjobs.handlers import load_registry
from scheduledjobs.kube.caller import Caller
from scheduledjobs.kube.listing import read_resource
from scheduledjobs.web.hub import Hub
from scheduledjobs.web.problems import ProblemError
from scheduledjobs.web.reads import Reads
from scheduledjobs.web.sessions import web_sessions
from scheduledjobs.web.writes import Writes

ADA, BEN = Caller("ada", token="t"), Caller("ben", token="t")
UNTIL = "2099-12-24T18:00:00Z"


class Api(Hub):
    """An API server with one job; whoever waits for a leader finds that it has read the job, where there is one."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self.has_leader = True
        meta = {"name": "job", "namespace": "default", "uid": str(uuid4()), "generation": 1, "resourceVersion": "1"}
        times = {"creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {}}
        self.raw: dict[str, Any] = {"metadata": meta | times, "spec": {"handler": "log", "fixedRate": "1h"}}

    @property
    def resource(self) -> Resource:
        found = read_resource(self.raw)
        assert found is not None
        return found

    async def request(self, _: Caller, verb: str, path: str, *, body: Any = None, **__: Any) -> Mapping[str, Any]:
        assert path.endswith("/default/scheduledjobs/job")
        if verb == "PATCH":
            meta = self.raw["metadata"]
            changed = {**meta["annotations"], **body["metadata"]["annotations"]}
            changed = {key: value for key, value in changed.items() if value is not None}
            if changed != meta["annotations"]:
                self.touch()
            meta["annotations"] = changed
        return deepcopy(self.raw)

    def touch(self) -> None:
        """Raise the version of the object, as a change of its status does."""
        self.raw["metadata"]["resourceVersion"] = str(int(self.raw["metadata"]["resourceVersion"]) + 1)

    async def wait(self, seconds: float) -> None:  # noqa: ARG002 the hub's signature
        if self.has_leader:
            await self._stage.mirror(self.resource)


class LateAuth(Auth):
    """Everybody may, and something happens before that is said."""

    def __init__(self, meanwhile: Callable[[], Awaitable[object]] | None) -> None:
        self._meanwhile = meanwhile

    async def may_now(self, *_: object) -> bool:
        if self._meanwhile is not None:
            await self._meanwhile()
        return True


@asynccontextmanager
async def writing(
    stage: Stage, meanwhile: Callable[[], Awaitable[object]] | None = None
) -> AsyncIterator[tuple[Writes, Api, str]]:
    """Lend writes, the API server and the uid of its job, which is mirrored; `meanwhile` is what a review waits for."""
    api: Any = Api(stage)
    auth: Any = LateAuth(meanwhile)
    await stage.mirror(api.resource)
    async with web_sessions(stage.url) as sessions:
        registry = load_registry()
        reads = Reads(sessions, registry, api)
        yield Writes(api, auth, reads, registry, api, stage.url), api, str(api.resource.meta.uid)


async def test_a_pause_that_no_leader_has_read_is_said_to_be_unread(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.web.writes.SEEN_SECONDS", 0.0)
    async with writing(stage) as (writes, api, uid):
        api.has_leader = False
        asked = await writes.pause(ADA, uid, UNTIL, "upgrade")
        assert (asked.state, asked.paused_until, asked.is_mirrored) == (JobState.ACTIVE, None, False)
        await stage.mirror(api.resource)
        resumed = await writes.resume(ADA, uid)
        assert (resumed.state, resumed.is_mirrored) == (JobState.SUSPENDED, False)


async def test_a_pause_that_the_leader_has_read_is_told_as_it_is(stage: Stage) -> None:
    async with writing(stage) as (writes, _, uid):
        paused = await writes.pause(ADA, uid, UNTIL, "upgrade")
        assert (paused.state, paused.paused_by, paused.is_mirrored) == (JobState.SUSPENDED, "ada", True)
        resumed = await writes.resume(ADA, uid)
        assert (resumed.state, resumed.paused_by, resumed.is_mirrored) == (JobState.ACTIVE, None, True)


async def test_a_pause_until_the_same_moment_is_told_with_its_new_reason_and_person(stage: Stage) -> None:
    async with writing(stage) as (writes, _, uid):
        await writes.pause(ADA, uid, UNTIL, "upgrade")
        again = await writes.pause(BEN, uid, UNTIL, "audit")
        assert (again.paused_by, again.pause_reason, again.is_mirrored) == ("ben", "audit", True)


async def test_a_pause_that_changes_nothing_is_read_already(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async with writing(stage) as (writes, api, uid):
        await writes.pause(ADA, uid, UNTIL, "upgrade")
        api.touch()  # the leader's own status: nothing of it is mirrored
        api.has_leader = False
        monkeypatch.setattr("scheduledjobs.web.writes.SEEN_SECONDS", 0.0)
        assert (await writes.pause(ADA, uid, UNTIL, "upgrade")).is_mirrored


async def test_a_pause_of_a_job_that_is_suspended_by_its_spec_is_read_too(stage: Stage) -> None:
    async with writing(stage) as (writes, api, uid):
        api.raw["spec"]["suspend"] = True
        api.raw["metadata"]["generation"] = 2
        paused = await writes.pause(ADA, uid, UNTIL, "upgrade")
        assert (paused.paused_until, paused.is_mirrored) == (None, True)


async def test_a_run_that_ends_as_it_is_to_be_cancelled_is_refused_with_how_it_ended(stage: Stage) -> None:
    async def end() -> None:
        await stage.complete(replica, claimed)

    async with writing(stage, end) as (writes, _, _):
        stage.tick(hours=1)
        await stage.fire()
        replica = await stage.replica()
        (claimed,) = await stage.claim(replica)
        with pytest.raises(ProblemError, match="the execution has ended already: SUCCEEDED") as caught:
            await writes.cancel(ADA, claimed["id"])
        assert (caught.value.status, caught.value.reason) == (409, "ExecutionEnded")
