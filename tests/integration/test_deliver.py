"""Messages to webhooks on loopback that hang, refuse or ask for time; the database is real."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from tests.integration.conftest import Stage

from scheduledjobs.core.notices import Webhook, read_webhooks
from scheduledjobs.errors import WebhookError
from scheduledjobs.steps.deliver import Deliver
from scheduledjobs.store.notices import insert_notices
from scheduledjobs.store.sessions import connect
from scheduledjobs.webhooks import post as door
from scheduledjobs.webhooks.post import post

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
BODY = {"text": "hello"}


@dataclass
class Receiver:
    """A webhook of the test's own: answers as it is told, and keeps what it was sent."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    types: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        self.types.append(request.headers["Content-Type"])
        if self.hangs:
            await self.freed.wait()
        return web.Response(status=self.status, text="why not\n", headers=self.headers)

    def hook(self, form: str = "slack", **changes: Any) -> Webhook:
        given = {"url": self.url, "format": form, "namespaces": ["*"], "collect": "0s", "every": "0s", **changes}
        return read_webhooks({"ops": given})["ops"]


@asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/s3cret", receiver.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    receiver.url = f"http{'s' if context else ''}://127.0.0.1:{runner.addresses[0][1]}/s3cret"
    try:
        yield receiver
    finally:
        receiver.freed.set()
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def refused(webhook: Webhook) -> WebhookError:
    with pytest.raises(WebhookError) as caught:
        await post(webhook, BODY, NOON)
    assert "s3cret" not in str(caught.value)
    return caught.value


async def test_a_message_is_posted_in_its_form(receiver: Receiver) -> None:
    assert await post(receiver.hook(), BODY, NOON) == 200
    await post(receiver.hook("cloudevents"), BODY, NOON)
    assert receiver.bodies == [BODY, BODY]
    assert receiver.types == ["application/json", "application/cloudevents+json; charset=utf-8"]


async def test_a_webhook_that_hangs_is_left_after_its_time(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "SECONDS", 0.2)
    receiver.hangs = True
    error = await refused(receiver.hook())
    assert str(error) == "no answer within 0.2 s"
    assert not error.is_final


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(500, False), (503, False), (429, False), (404, False), (403, False), (400, True), (413, True)],
)
async def test_an_answer_that_is_no_yes_says_so(receiver: Receiver, status: int, *, is_final: bool) -> None:
    receiver.status = status
    error = await refused(receiver.hook())
    assert str(error) == f"it answered {status}: why not"
    assert error.is_final is is_final


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 307, {"Location": "http://127.0.0.1/other"}
    assert str(await refused(receiver.hook())) == "it answered 307: redirects are not followed"
    assert len(receiver.bodies) == 1


@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        ("30", timedelta(seconds=30)),
        ("Fri, 27 Nov 2026 12:01:00 GMT", timedelta(minutes=1)),
        ("Fri, 27 Nov 2020 12:01:00 GMT", timedelta(0)),
        ("soon", None),
        ("-5", None),
        ("9" * 500, timedelta(seconds=10**6)),
    ],
)
async def test_how_long_a_webhook_asks_to_wait_is_read(receiver: Receiver, asked: str, wait: timedelta | None) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": asked}
    assert (await refused(receiver.hook())).retry_after == wait


async def test_nobody_there_is_said_without_the_url() -> None:
    webhook = read_webhooks({"ops": {"url": "http://127.0.0.1:1/s3cret", "format": "slack", "namespaces": ["*"]}})[
        "ops"
    ]
    assert str(await refused(webhook)).startswith("cannot connect: ")


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject]
    subprocess.run([*made, "-keyout", key, "-out", cert], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with receiving(context) as receiver:
        assert str(await refused(receiver.hook())) == "its certificate is refused: self-signed certificate"
    assert receiver.bodies == []


async def test_the_file_of_a_url_is_read_each_time(receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "url"
    webhook = receiver.hook(url=None, url_file=str(file))
    assert "cannot be read: No such file" in str(await refused(webhook))
    file.write_text("s3cret, but no address")
    assert "does not hold a URL" in str(await refused(webhook))
    file.write_text(f"{receiver.url}\n")
    assert await post(webhook, BODY, NOON) == 200


# Delivery


@dataclass
class Sender:
    """One webhook's delivery, in the newest term; time is in the test's hand."""

    stage: Stage
    webhook: Webhook
    now: float = 1000.0
    is_trusted: bool = True

    async def step(self, times: int = 1, seconds: float = 0.0, *, anew: bool = False) -> list[float | None]:
        """Go so many steps, each so much later; `anew` as the next leader."""
        found = []
        for _ in range(times):
            self.now += seconds
            self.stage.tick(seconds=seconds)
            async with self.stage.leader() as leader:
                leader.is_trusted = lambda: self.is_trusted
                if anew or not hasattr(self, "deliver"):
                    self.deliver = Deliver(leader, "ops", self.webhook, "/source", "", lambda: self.now)
                self.deliver._leader = leader
                found.append(await self.deliver.step())
        return found

    async def notice(self, *numbers: int) -> None:
        """Write down the failures of these executions."""
        row = {"kind": "failure", "webhook": "ops", "namespace": "default", "state": "FAILED", "reason": "Error"}
        more = {"message": "boom", "attempt": 1, "moment_count": 1}
        rows = [
            {
                **row, **more, "execution_id": number, "job_id": UUID(int=number), "job_name": f"job-{number}",
                "fire_time": NOON, "occurred_at": NOON + timedelta(seconds=number),
            }
            for number in numbers
        ]  # fmt: skip
        async with connect(self.stage.url, "test", **self.stage.clock_setting) as conn:
            await insert_notices(conn, rows)

    def messages(self) -> list[tuple[str, str | None, int, str | None]]:
        query = "SELECT id, result, attempts, error FROM notice_message ORDER BY sealed_at, id"
        return [(row["id"], row["result"], row["attempts"], row["error"]) for row in self.stage.rows(query)]


def counted(result: str) -> float:
    labels = {"webhook": "ops", "result": result}
    return REGISTRY.get_sample_value("scheduledjobs_notice_messages_total", labels) or 0.0


async def test_what_waits_is_sent_once_as_one_message(stage: Stage, receiver: Receiver) -> None:
    sender, before = Sender(stage, receiver.hook()), counted("sent")
    await sender.notice(*range(1, 501))
    assert await sender.step(4) == [0.0, 0.0, None, None]
    (body,) = receiver.bodies
    assert body["text"].splitlines()[0] == "*500 executions failed* (default 500)"
    assert body["text"].splitlines()[-1] == "and 490 others"
    assert sender.messages() == [("ops-1-failure", "SENT", 1, None)]
    assert counted("sent") == before + 1


async def test_however_much_waits_is_one_message_that_is_filled_bit_by_bit_whoever_leads(
    stage: Stage, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.steps.deliver.MOST_AT_ONCE", 100)
    sender, in_message = Sender(stage, receiver.hook()), "SELECT count(*) AS n FROM notice WHERE message_id IS NOT NULL"
    await sender.notice(*range(1, 301))
    for filled in (100, 200):
        assert await sender.step(anew=True) == [0.0]
        assert stage.rows(in_message) == [{"n": filled}]
        assert receiver.bodies == []
    assert await sender.step(4, anew=True) == [0.0, 1.0, 0.0, None]
    (body,) = receiver.bodies
    assert body["text"].splitlines()[0] == "*300 executions failed* (default 300)"
    assert sender.messages() == [("ops-1-failure", "SENT", 1, None)]


async def test_it_collects_first_and_then_keeps_its_pace(stage: Stage, receiver: Receiver) -> None:
    sender = Sender(stage, receiver.hook(collect="10s", every="60s"))
    await sender.notice(1)
    (wait,) = await sender.step(seconds=1)
    assert 0 < (wait or 0) < 10
    await sender.notice(2)
    await sender.step(2, seconds=10)
    assert len(receiver.bodies) == 1
    await sender.notice(3)
    await sender.step(2, seconds=15)
    assert len(receiver.bodies) == 1, "a minute has not passed since the message before"
    await sender.step(3, seconds=20)
    assert [body["text"].count("job-") for body in receiver.bodies] == [2, 1]


async def test_what_does_not_arrive_is_sent_again_later_and_as_it_was(stage: Stage, receiver: Receiver) -> None:
    sender, before = Sender(stage, receiver.hook("cloudevents")), counted("failed")
    receiver.status = 500
    await sender.notice(1)
    await sender.step(2)
    await sender.notice(2)
    assert await sender.step(seconds=1) == [1.0], "two seconds after the first failure"
    await sender.step(seconds=2)
    receiver.status = 200
    await sender.step(4, seconds=5)
    first, again, third, rest = receiver.bodies
    assert first == again == third
    assert first["id"] == "ops-1-failure"
    assert rest["id"] == "ops-2-failure"
    assert sender.messages() == [("ops-1-failure", "SENT", 3, None), ("ops-2-failure", "SENT", 1, None)]
    assert counted("failed") == before + 2


async def test_the_next_leader_sends_what_the_last_one_could_not(stage: Stage, receiver: Receiver) -> None:
    sender = Sender(stage, receiver.hook("cloudevents"))
    receiver.status = 503
    await sender.notice(1, 2)
    await sender.step(2)
    receiver.status = 200
    await sender.step(2, anew=True)
    first, again = receiver.bodies
    assert first == again
    assert await sender.step() == [None]


async def test_a_webhook_is_given_the_time_that_it_asks_for(stage: Stage, receiver: Receiver) -> None:
    sender = Sender(stage, receiver.hook())
    receiver.status, receiver.headers = 429, {"Retry-After": "120"}
    await sender.notice(1)
    await sender.step(2)
    receiver.status = 200
    await sender.step(5, seconds=20)
    assert len(receiver.bodies) == 1
    await sender.step(2, seconds=20)
    assert len(receiver.bodies) == 2


async def test_a_message_that_is_refused_for_good_does_not_hold_up_the_next(stage: Stage, receiver: Receiver) -> None:
    sender, before = Sender(stage, receiver.hook()), counted("dropped")
    receiver.status = 400
    await sender.notice(1)
    await sender.step(2)
    receiver.status = 200
    await sender.notice(2)
    await sender.step(2)
    assert sender.messages() == [
        ("ops-1-failure", "DROPPED", 1, "it answered 400: why not"),
        ("ops-2-failure", "SENT", 1, None),
    ]
    assert counted("dropped") == before + 1


async def test_a_time_to_wait_that_no_clock_can_tell_is_no_reason_to_send_for_ever(
    stage: Stage, receiver: Receiver
) -> None:
    sender = Sender(stage, receiver.hook())
    receiver.status, receiver.headers = 400, {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}
    await sender.notice(1)
    await sender.step(2)
    assert sender.messages() == [("ops-1-failure", "DROPPED", 1, "it answered 400: why not")]


async def test_a_message_is_given_up_after_a_day(stage: Stage, receiver: Receiver) -> None:
    sender = Sender(stage, receiver.hook())
    receiver.status = 500
    await sender.notice(1)
    await sender.step(2)
    await sender.step(1, seconds=23 * 3600)
    assert [result for _, result, _, _ in sender.messages()] == [None]
    await sender.step(1, seconds=2 * 3600)
    assert [result for _, result, _, _ in sender.messages()] == ["DROPPED"]


async def test_a_leader_that_may_have_a_follower_sends_nothing(stage: Stage, receiver: Receiver) -> None:
    sender = Sender(stage, receiver.hook(), is_trusted=False)
    await sender.notice(1)
    await sender.step(3)
    assert receiver.bodies == []
    sender.is_trusted = True
    await sender.step(2)
    assert len(receiver.bodies) == 1


async def test_the_age_of_what_does_not_arrive_is_measured(stage: Stage, receiver: Receiver) -> None:
    sender = Sender(stage, receiver.hook())

    def age() -> float | None:
        return REGISTRY.get_sample_value("scheduledjobs_notice_undelivered_seconds", {"webhook": "ops"})

    receiver.status = 500
    await sender.notice(1)
    await sender.step(2)
    await sender.step(1, seconds=700)
    assert (age() or 0) >= 700
    receiver.status = 200
    await sender.step(1, seconds=700)
    assert age() == 0
