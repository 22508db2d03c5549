"""What a person may ask of a job, said in annotations, and the sentence where it cannot be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from scheduledjobs.core.pause import LONGEST, read_pause
from scheduledjobs.core.reasons import Refusal
from scheduledjobs.core.requests import LONGEST_TOKEN, check_token, pause, read_payload, resume, run_now
from scheduledjobs.core.resource import (
    PAUSE_REASON,
    PAUSED_BY,
    PAUSED_UNTIL,
    RUN_NOW,
    RUN_NOW_PAYLOAD,
    Resource,
    ResourceMeta,
)
from scheduledjobs.core.spec import JobSpec, check_payload_size
from scheduledjobs.errors import RequestError

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def job(*, handled: str | None = None, suspend: bool = False, **annotations: str) -> Resource:
    ours = {f"scheduledjobs.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    meta = ResourceMeta(UUID(int=1), "default", "job", 1, 1, ours)
    status: dict[str, Any] = {"lastHandledRunNow": handled} if handled else {}
    return Resource(meta, NOON, {"suspend": suspend}, status)


def test_a_pause_is_said_in_utc_to_the_second_and_reads_back() -> None:
    changes = pause("2026-12-24T18:00:00.750+01:00", "ana", "migration", NOON)
    assert changes == {PAUSED_UNTIL: "2026-12-24T17:00:00Z", PAUSED_BY: "ana", PAUSE_REASON: "migration"}
    read = read_pause({key: value for key, value in changes.items() if value is not None})
    assert read is not None
    assert read.until == datetime(2026, 12, 24, 17, tzinfo=UTC)


def test_a_pause_may_be_forever_and_without_a_reason() -> None:
    assert pause("forever", "ana", "", NOON) == {PAUSED_UNTIL: "forever", PAUSED_BY: "ana", PAUSE_REASON: None}


def test_who_paused_and_why_are_cut_and_hold_no_nul() -> None:
    changes = pause("forever", "a\0b", "x" * 1000, NOON)
    assert (changes[PAUSED_BY], changes[PAUSE_REASON]) == ("ab", "x" * LONGEST)


@pytest.mark.parametrize(
    ("until", "sentence"),
    [
        ("soon", "must be forever, or RFC 3339"),
        ("2026-12-24T18:00:00", "must be forever, or RFC 3339 with an offset"),
        ("2026-11-24T12:00:00Z", "must lie in the future"),
        ("9500-01-01T00:00:00Z", "must lie in the years 1970 to 9000"),
        ("9999-12-31T23:59:59-10:00", "must be forever, or RFC 3339"),
        ("", "must be forever"),
    ],
)
def test_a_pause_that_cannot_be_is_refused(until: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as refused:
        pause(until, "ana", "", NOON)
    assert refused.value.reason is Refusal.INVALID_PAUSE


def test_resume_removes_what_the_pause_has_set_and_nothing_else() -> None:
    assert resume(job(paused_until="forever", paused_by="ana", run_now="t")) == {PAUSED_UNTIL: None, PAUSED_BY: None}
    assert resume(job()) == {}


def test_resume_of_a_job_that_its_manifest_suspends_is_refused() -> None:
    with pytest.raises(RequestError, match=r"spec\.suspend is true in the manifest") as refused:
        resume(job(suspend=True, paused_until="forever"))
    assert refused.value.reason is Refusal.SUSPENDED_BY_SPEC


def test_run_now_names_the_request_and_removes_an_older_payload() -> None:
    assert run_now(job(), "t", '{"a": 1}') == {RUN_NOW: "t", RUN_NOW_PAYLOAD: '{"a": 1}'}
    assert run_now(job(run_now="s", handled="s"), "t", None) == {RUN_NOW: "t", RUN_NOW_PAYLOAD: None}


def test_the_same_token_is_the_same_request() -> None:
    assert run_now(job(run_now="t"), "t", None) == {}
    assert run_now(job(run_now="t", handled="t"), "t", None) == {}


@pytest.mark.parametrize("payload", [None, '{"a": 1, "b": 2}', '{"b":2,"a":1}'])
def test_the_same_token_with_the_same_payload_or_none_is_the_same_request(payload: str | None) -> None:
    assert run_now(job(run_now="t", run_now_payload='{"a": 1, "b": 2}'), "t", payload) == {}


@pytest.mark.parametrize("before", [{}, {"run_now_payload": '{"a": 2}'}, {"run_now_payload": "{"}])
def test_the_same_token_with_another_payload_is_refused(before: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="the request t was made with another payload") as refused:
        run_now(job(run_now="t", **before), "t", '{"a": 1}')
    assert refused.value.reason is Refusal.RUN_REQUEST_DIFFERS


@pytest.mark.parametrize("token", ["x" * 129, "a\0b"])
def test_a_request_that_no_leader_takes_stands_in_nobodys_way(token: str) -> None:
    """Written with kubectl; it would never be recorded, and no other one could be made until it was removed."""
    assert run_now(job(run_now=token, handled=token[:128]), "next", None)[RUN_NOW] == "next"


def test_a_request_waits_until_the_one_before_is_recorded() -> None:
    with pytest.raises(RequestError, match="the request s is not recorded yet") as refused:
        run_now(job(run_now="s", handled="r"), "t", None)
    assert refused.value.reason is Refusal.RUN_REQUEST_PENDING


@pytest.mark.parametrize("token", ["", "x" * (LONGEST_TOKEN + 1), "a\0b"])
def test_a_token_that_no_leader_takes_is_refused(token: str) -> None:
    with pytest.raises(RequestError) as refused:
        run_now(job(), token, None)
    assert refused.value.reason is Refusal.INVALID_TOKEN


def test_the_longest_token_is_taken() -> None:
    check_token("x" * LONGEST_TOKEN)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1]", "must be a JSON object"),
        ("{", "must be a JSON object"),
        ('{"a": "\\u0000"}', "must not contain NUL"),
        ("[" * 100_000, "nested deeper"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested deeper than 64 levels"),
        ('{"a":"' + "x" * 32_761 + '"}', "has 32769 bytes as JSON; at most 32768 are allowed"),
        ("\ud800", "must be a JSON object"),
        ('{"a":NaN}', "must be a JSON object: unexpected character"),
        ('{"a":-Infinity}', "must be a JSON object"),
        ('{"a":1e999}', "must be a JSON object: number is infinity"),
        ('{"a":"\\ud800"}', "must be a JSON object: no low surrogate"),
    ],
)
def test_a_payload_that_no_leader_takes_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as refused:
        read_payload(text)
    assert refused.value.reason is Refusal.INVALID_PAYLOAD


def test_a_payload_may_speak_of_nul() -> None:
    read_payload(r'{"a": "tr -d \\u0000"}')


@pytest.mark.parametrize("text", ['{"a":' * 64 + "1" + "}" * 64, '{"a" : "' + "x" * 32_760 + '"}'])
def test_the_deepest_and_the_largest_payload_that_a_leader_takes_is_taken(text: str) -> None:
    spec = JobSpec(handler="log", payload=read_payload(text))
    check_payload_size(spec)
