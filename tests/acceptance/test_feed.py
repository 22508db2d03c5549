"""The live feed, and what kopf does that it must not do to us."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientResponseError, RequestInfo
from kopf._core.reactor.inventory import ResourceMemories
from kubernetes.aio import client
from multidict import CIMultiDict, CIMultiDictProxy
from structlog.testing import capture_logs
from tests.acceptance.fake_api import FakeApi, serve, thing
from yarl import URL

from scheduledjobs.core.resource import Resource
from scheduledjobs.kube import feed, feed_session
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.feed import keep_feeding, kopf_settings
from scheduledjobs.kube.feed_session import Course, Login
from scheduledjobs.kube.refusals import Refusals

WATCH = "WATCH"
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


class Feeding:
    """A feed under way, and what it brought."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []
        self.broken = 0
        self.watching = 0
        self.restored = 0
        self.refusals = Refusals()

    def on_event(self, resource: Resource, is_gone: bool) -> None:  # noqa: FBT001 the feed's signature
        self.seen.append((resource.meta.name, is_gone))

    def on_broken(self) -> None:
        self.broken += 1

    def on_watching(self) -> None:
        self.watching += 1

    def restore(self) -> None:
        self.restored += 1


async def until(look: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "not so in time"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def feeding(api: FakeApi, *namespaces: str) -> AsyncIterator[Feeding]:
    configuration = client.Configuration()
    configuration.host = api.url
    kube, found = KubeClient(configuration), Feeding()
    task = asyncio.create_task(
        keep_feeding(
            kube, found.on_event, found.on_broken, found.on_watching, namespaces, found.refusals, found.restore
        )
    )
    try:
        yield found
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await kube.api.close()


async def test_brings_what_changes_and_leaves_what_is_there_to_the_compare() -> None:
    async with serve() as api:
        api.objects = [thing(f"thing-{number}") for number in range(5)]
        async with feeding(api) as found:
            await until(lambda: api.watchers and found.watching == 1)
            api.send("ADDED", thing("new"))
            api.send("DELETED", api.objects[0])
            await until(lambda: ("thing-0", True) in found.seen)
            assert found.seen == [("new", False), ("thing-0", True)] or found.seen == [
                ("thing-0", True),
                ("new", False),
            ]
        assert api.limits == ["1", "1"]  # whether the CRD is there, and the version from which to watch
        assert api.watched_from[0] == "100"
        assert not any(request.startswith(("PATCH", "POST", "PUT", "DELETE")) for request in api.requests)


async def test_watches_under_a_user_id_that_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr("getpass.getuser", nameless)
    async with serve() as api, feeding(api) as found:
        await until(lambda: api.watchers)
        assert found.broken == 0


async def test_what_the_watch_gave_up_for_is_told_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The repr of an answer that is none has the headers of its request."""
    url = URL("http://127.0.0.1/")
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": "Bearer hush-hush"}))
    error = ClientResponseError(RequestInfo(url, "GET", headers, url), (), status=400, message="invalid header")

    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(feed, "feed", fail)
    assert "hush-hush" in repr(error)
    with capture_logs() as logs:
        async with serve() as api, feeding(api) as found:
            await until(lambda: found.broken)
    (told,) = [log for log in logs if log["event"] == "the watch gave up"]
    assert "invalid header" in told["error"]
    assert "hush-hush" not in str(logs)


async def test_what_kopf_logs_is_left_to_the_level_of_the_logs() -> None:
    kopf = logging.getLogger("kopf")
    before = kopf.level
    kopf.setLevel(logging.ERROR)
    try:
        async with serve() as api, feeding(api):
            await until(lambda: api.watchers)
            assert logging.getLogger("kopf.objects").getEffectiveLevel() == logging.ERROR
    finally:
        kopf.setLevel(before)


async def test_an_object_that_cannot_be_read_does_not_block_the_others() -> None:
    async with serve() as api, feeding(api) as found:
        await until(lambda: api.watchers)
        api.send("ADDED", thing("bad", resourceVersion="not a number"))
        api.send("ADDED", thing("good"))
        await until(lambda: ("good", False) in found.seen)
        assert ("bad", False) not in found.seen


async def test_a_watch_that_expired_begins_again_from_now_and_asks_for_a_compare() -> None:
    async with serve() as api, feeding(api) as found:
        await until(lambda: api.watchers and found.watching == 1)
        api.version = "200"
        api.error(410)
        await until(lambda: found.watching == 2 and api.watchers)
        assert api.watched_from == ["100", "200"]
        api.send("ADDED", thing("late"))
        await until(lambda: ("late", False) in found.seen)


async def test_when_kopf_gives_up_it_is_started_again_and_a_compare_is_asked_for() -> None:
    async with serve() as api, feeding(api) as found:
        await until(lambda: api.watchers)
        api.error(500)
        await until(lambda: found.broken == 1)
        await until(lambda: found.watching == 2 and api.watchers)
        api.send("ADDED", thing("late"))
        await until(lambda: ("late", False) in found.seen)


async def test_nothing_is_kept_of_an_object_that_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ResourceMemories] = []

    class Watched(feed._Forgetful):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(feed, "_Forgetful", Watched)
    async with serve() as api, feeding(api) as found:
        await until(lambda: api.watchers)
        api.send("ADDED", thing("a"))
        await until(lambda: ("a", False) in found.seen)
        assert [list(memories.iter_all_memories()) for memories in made] == [[]]


async def test_a_compare_is_asked_for_when_a_watch_begins_after_a_list_or_a_refusal() -> None:
    async with serve() as api, feeding(api) as found:
        await until(lambda: api.watchers and found.watching == 1)
        api.cut()
        await until(lambda: api.requests[WATCH] == 2 and api.watchers)
        assert found.watching == 1
        api.error(410)
        await until(lambda: found.watching == 2)
        api.refuse_watch = 503
        api.cut()
        await until(lambda: api.requests[WATCH] >= 5)
        assert found.watching == 2
        api.refuse_watch = 0
        await until(lambda: found.watching == 3)
        assert found.broken == 0


async def test_a_silent_watch_is_noticed_within_seconds() -> None:
    async with serve() as api, feeding(api) as found:
        await until(lambda: api.watchers)
        await until(lambda: api.requests[WATCH] == 2, kopf_settings().watching.inactivity_timeout + 2)
        assert found.broken == 0
        assert kopf_settings(1000).watching.server_timeout == 100


async def test_kopf_is_started_again_when_it_idles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduledjobs.kube.feed.SILENT_SECONDS", -3.0)
    async with serve() as api:
        api.is_discovered = False
        async with feeding(api) as found:
            await until(lambda: found.broken == 1)
            api.is_discovered = True
            await until(lambda: api.watchers)


async def test_waits_for_a_crd_that_is_not_there_yet() -> None:
    async with serve() as api:
        api.is_served = False
        async with feeding(api) as found:
            await until(lambda: api.requests["GET /apis/scheduledjobs.dev/v1/scheduledjobs"] >= 1)
            api.is_served = True
            await until(lambda: api.watchers)
            api.send("ADDED", thing("a"))
            await until(lambda: ("a", False) in found.seen)


def told(logs: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """What was said of namespaces that are refused, or refused no more."""
    return [log for log in logs if log["event"].startswith("a namespace is refused")]


@pytest.mark.parametrize("refused", [{"list a", "watch a"}, {"watch a"}])
async def test_a_refused_namespace_stops_no_other_and_is_watched_once_it_may_be(
    refused: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `kubectl delete namespace a`, which takes the operator's Role with it, and its creation anew."""
    monkeypatch.setattr(feed, "REFUSED_SECONDS", 0.2)
    with capture_logs() as logs:
        async with serve() as api:
            api.refused = refused
            async with feeding(api, "a", "b") as found:
                await until(lambda: api.requests["WATCH b"] and found.watching == 1)
                api.send("ADDED", thing("b-1", namespace="b"))
                await until(lambda: ("b-1", False) in found.seen)
                asked = api.requests["REFUSED"]
                await until(lambda: api.requests["REFUSED"] > asked)  # again and again, but not at once
                assert (found.broken, found.watching) == (0, 1)
                api.refused = set()
                await until(lambda: api.requests["WATCH a"] and found.watching == 2)
                await until(lambda: len(told(logs)) == 2)
                api.send("ADDED", thing("a-1", namespace="a"))
                await until(lambda: ("a-1", False) in found.seen)
                assert (found.broken, found.watching) == (0, 2)
    refusal, end = told(logs)
    assert (refusal["namespace"], refusal["log_level"], end["namespace"]) == ("a", "warning", "a")
    assert "in a" in refusal["error"]


async def test_a_namespace_that_is_refused_while_it_is_watched_ends_no_other_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "REFUSED_SECONDS", 0.2)
    with capture_logs() as logs:
        async with serve() as api, feeding(api, "a", "b") as found:
            await until(lambda: api.watchers == 2 and found.watching == 2)
            api.refused = {"list a", "watch a"}
            api.cut()
            await until(lambda: api.requests["REFUSED"] >= 7, 20)  # kopf asks six times before it gives up
            api.send("ADDED", thing("b-1", namespace="b"))
            await until(lambda: ("b-1", False) in found.seen)
            assert (found.broken, found.watching, found.restored) == (0, 2, 1)
    assert [log["namespace"] for log in told(logs)] == ["a"]


async def test_where_every_namespace_is_refused_the_feed_waits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "ASK_SECONDS", 0.05)
    with capture_logs() as logs:
        async with serve() as api:
            api.refused = {"list a", "list b"}
            async with feeding(api, "a", "b") as found:
                await until(lambda: api.requests["REFUSED"] >= 4)
                assert found.restored == 0
                api.refused = {"list a", "watch a"}
                await until(lambda: api.requests["WATCH b"])
    assert [log["event"] for log in logs if log not in told(logs)] == ["cannot watch yet"]
    assert "403" in logs[0]["error"]


async def test_of_the_sessions_of_a_long_life_only_those_in_use_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf closes the one before when it has been given another, every ten minutes for as long as it lives."""
    monkeypatch.setattr(feed_session, "CREDENTIALS_LIVE", timedelta(0))
    kube = KubeClient(client.Configuration())
    way_in = Login(kube, Course(lambda: None, Refusals(), 1.0))
    given = [(await way_in()).aiohttp_session for _ in range(2)]
    for _ in range(3):
        await given[-2].close()
        given.append((await way_in()).aiohttp_session)
    assert way_in._sessions == given[-2:]
    await way_in.close()
    await kube.api.close()
    assert all(session.closed for session in given)


async def test_ending_the_feed_is_quick_and_leaves_our_tasks_and_signals_alone() -> None:
    loop = asyncio.get_running_loop()
    async with serve() as api:
        async with feeding(api) as found:
            await until(lambda: api.watchers)
            assert found.restored == 1
            ours = asyncio.create_task(asyncio.sleep(60))
            started = time.monotonic()
        took = time.monotonic() - started
        assert not ours.done()
        ours.cancel()
        assert took < 1.5
    received: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, received.append, 1)
    signal.raise_signal(signal.SIGUSR1)
    await until(lambda: received)
    loop.remove_signal_handler(signal.SIGUSR1)


def test_kopf_never_kills_the_process_that_it_crashed_in() -> None:
    assert kopf_settings().process.ultimate_exiting_timeout is None
