"""The small pure rules: backoff, jitter, pauses, and what a spec may not ask for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from scheduledjobs.core.backoff import backoff, next_attempt_in
from scheduledjobs.core.jitter import check_jitter, due_at
from scheduledjobs.core.pause import FOREVER, read_pause
from scheduledjobs.core.plan import Judge
from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.core.resource import PAUSE_REASON, PAUSED_BY, PAUSED_UNTIL
from scheduledjobs.core.schedule import next_fire, parse_schedule
from scheduledjobs.core.spec import Retry, parse_spec
from scheduledjobs.errors import SpecError
from scheduledjobs.handlers import Registry
from scheduledjobs.handlers.registry import AnyPayload, Handler, handler

SECOND = timedelta(seconds=1)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TWICE = Retry.model_validate({"limit": 2, "backoff": "10s", "maxBackoff": "30s"})


def test_backoff_doubles_up_to_its_most() -> None:
    assert [backoff(TWICE, attempt, 0.5) for attempt in (1, 2, 3, 100)] == [
        10 * SECOND,
        20 * SECOND,
        28.5 * SECOND,
        28.5 * SECOND,
    ]


@pytest.mark.parametrize("attempt", [3, 100])
def test_no_wait_is_longer_than_its_most(attempt: int) -> None:
    waits = [backoff(TWICE, attempt, fraction) for fraction in (0.0, 0.5, 0.999)]
    assert waits[0] == 27 * SECOND
    assert waits[0] < waits[1] < waits[2] <= TWICE.max_backoff  # jobs that failed together do not come back together


def test_backoff_varies_by_a_tenth() -> None:
    assert backoff(TWICE, 1, 0.0) == 9 * SECOND
    assert backoff(TWICE, 1, 0.999) < 11 * SECOND


@pytest.mark.parametrize("state", [State.FAILED, State.TIMED_OUT, State.LOST])
def test_failed_timed_out_and_lost_attempts_are_retried_up_to_the_limit(state: State) -> None:
    waits = [next_attempt_in(TWICE, state, Reason.ERROR, attempt, 0.5) for attempt in (1, 2, 3)]
    assert waits == [10 * SECOND, 20 * SECOND, None]


def test_a_permanent_error_is_not_retried() -> None:
    assert next_attempt_in(TWICE, State.FAILED, Reason.PERMANENT_ERROR, 1, 0.5) is None


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED])
def test_a_success_or_a_cancel_is_not_retried(state: State) -> None:
    assert next_attempt_in(TWICE, state, Reason.SUCCESS, 1, 0.5) is None


def test_a_handler_names_its_own_delay_within_the_limit() -> None:
    assert next_attempt_in(TWICE, State.FAILED, Reason.ERROR, 1, 0.5, asked=SECOND) == SECOND
    assert next_attempt_in(TWICE, State.FAILED, Reason.ERROR, 3, 0.5, asked=SECOND) is None


@given(st.uuids(), st.integers(0, 10**9), st.integers(0, 200))
def test_jitter_is_stable_and_keeps_moments_in_order(job_id: UUID, offset: int, jitter: int) -> None:
    schedule = parse_schedule(schedule="* * * * *")
    fire_time = next_fire(schedule, NOON + timedelta(seconds=offset))
    assert fire_time is not None
    following = next_fire(schedule, fire_time)
    due = due_at(job_id, schedule, timedelta(seconds=jitter), fire_time, None)
    assert due == due_at(job_id, schedule, timedelta(seconds=jitter), fire_time, None)
    assert following is not None
    assert fire_time <= due < following
    assert due - fire_time <= timedelta(seconds=jitter)


def test_jitter_spreads_jobs() -> None:
    schedule = parse_schedule(schedule="0 * * * *")
    delays = {due_at(UUID(int=n), schedule, timedelta(seconds=30), NOON, None) for n in range(100)}
    assert len(delays) > 90


@pytest.mark.parametrize(
    ("cron", "jitter", "longest"),
    [("* * * * *", "2m", "1m"), ("*/10 * * * * *", "11s", "10s"), ("0 */2 * * *", "3h", "2h")],
)
def test_a_jitter_longer_than_the_time_between_moments_is_refused(cron: str, jitter: str, longest: str) -> None:
    raw = {"schedule": cron, "jitter": jitter, "handler": "log"}
    with pytest.raises(SpecError, match=f"longer than {longest}, the time between") as raised:
        check_jitter(parse_schedule(schedule=cron), parse_spec(raw).jitter)
    assert raised.value.reason is Reason.INVALID_SPEC


@pytest.mark.parametrize(
    ("cron", "jitter"), [("* * * * *", "1m"), ("*/5 9-17 * * *", "2h"), ("0 0 29 2 *", "24h"), ("0 3 * * *", "0s")]
)
def test_a_jitter_no_longer_than_some_distance_of_moments_is_taken(cron: str, jitter: str) -> None:
    check_jitter(
        parse_schedule(schedule=cron), parse_spec({"schedule": cron, "jitter": jitter, "handler": "log"}).jitter
    )


def test_a_pause_says_until_when_by_whom_and_why() -> None:
    annotations = {PAUSED_UNTIL: "2026-12-01T09:00:00+01:00", PAUSED_BY: "ana", PAUSE_REASON: "migration"}
    pause = read_pause(annotations)
    assert pause is not None
    assert pause.until == datetime(2026, 12, 1, 8, tzinfo=UTC)
    assert pause.message == "paused until 2026-12-01T08:00:00Z by ana: migration"


def test_a_pause_may_be_forever() -> None:
    pause = read_pause({PAUSED_UNTIL: "forever"})
    assert pause is not None
    assert (pause.until, pause.reason) == (FOREVER, Reason.SUSPENDED)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-12-01", "2026-12-01T09:00:00", "2026-99-01T09:00:00Z"])
def test_a_pause_that_cannot_be_read_pauses(text: str) -> None:
    pause = read_pause({PAUSED_UNTIL: text})
    assert pause is not None
    assert (pause.until, pause.reason) == (FOREVER, Reason.INVALID_PAUSE)
    assert "RFC 3339" in pause.message


def spec(**changes: Any) -> dict[str, Any]:
    return {"fixedRate": "10s", "handler": "log", **changes}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schedule": "* * * * *"}, "set exactly one of schedule"),
        ({"startTime": "2026-12-02T00:00:00Z", "endTime": "2026-12-01T00:00:00Z"}, "spec.endTime: must be after"),
        ({"jitter": "11s"}, "spec.jitter: must not be longer than fixedRate"),
        ({"fixedRate": None, "fixedDelay": "10s", "jitter": "11s"}, "spec.jitter: must not be longer than fixedDelay"),
        ({"retry": {"backoff": "20m"}}, "spec.retry.maxBackoff: must not be shorter than backoff"),
        ({"misfire": {"policy": "FireTwice"}}, "spec.misfire.policy"),
        ({"misfire": {"limit": 0}}, "spec.misfire.limit"),
        ({"concurrencyPolicy": "Whatever"}, "spec.concurrencyPolicy"),
    ],
)
def test_what_a_spec_may_not_ask_for_is_named(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        parse_spec(spec(**changes))


def test_replace_needs_a_handler_that_can_be_cancelled() -> None:
    registry = Registry([Handler("sync", lambda *_: None, AnyPayload, is_async=False)])
    verdict = Judge(lambda _: True, registry.check).verdict(
        spec(handler="sync", concurrencyPolicy="Replace"), "default"
    )
    assert verdict.reason is Reason.INVALID_SPEC
    assert "use Forbid, Queue or Allow" in verdict.message
    assert verdict.schedule is not None  # its moments are skipped as NotReady, not lost


def test_a_payload_that_is_too_large_leaves_the_schedule_readable() -> None:
    verdict = Judge(lambda _: True, Registry().check).verdict(spec(payload={"a": "x" * 40_000}), "default")
    assert verdict.reason is Reason.INVALID_PAYLOAD
    assert verdict.schedule is not None


@pytest.mark.parametrize("model", [BaseModel, dict])
def test_a_payload_that_is_no_model_of_its_own_is_refused_where_it_is_written(model: Any) -> None:
    with pytest.raises(TypeError, match="the payload of the handler 'report' must be a class of its own"):
        handler("report", payload=model)
