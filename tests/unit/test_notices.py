"""Who is told of what, when what waits becomes one message, and what a message says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduledjobs.core.grouping import LATE, Count, Looks, message_of, retry_in, wait_for
from scheduledjobs.core.notice_forms import body_of, plain, trial_body
from scheduledjobs.core.notices import (
    NOTIFY,
    NOTIFY_LONG_RUN,
    NOTIFY_ON,
    Kind,
    Notice,
    Recipients,
    kind_of,
    read_rules,
    read_webhooks,
)
from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.errors import SettingsError
from scheduledjobs.settings import load

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOOKS = {
    "ops": {"url": "https://ops.example/hook", "format": "slack", "namespaces": ["*"]},
    "finance": {"url": "https://finance.example/hook", "format": "cloudevents", "namespaces": ["finance"]},
}


def recipients(*rules: dict[str, Any]) -> Recipients:
    webhooks = read_webhooks(HOOKS)
    return Recipients(webhooks, read_rules(list(rules), webhooks))


def notice(number: int = 1, **changes: Any) -> Notice:
    given = {
        "kind": Kind.FAILURE,
        "execution_id": number,
        "job_id": UUID(int=number),
        "namespace": "finance",
        "job_name": f"job-{number}",
        "fire_time": NOON,
        "occurred_at": NOON + number * SECOND,
        "state": "FAILED",
        "reason": "Error",
        "message": "no such table",
        "attempt": 1,
        **changes,
    }
    return Notice(**given)


def test_a_rule_tells_its_webhook_of_its_namespaces_and_kinds_only() -> None:
    found = recipients({"webhook": "ops", "namespaces": ["finance"], "on": ["failure", "miss"]})
    assert found.of(Kind.FAILURE, "finance", {}) == ["ops"]
    assert found.of(Kind.MISS, "finance", {}) == ["ops"]
    assert found.of(Kind.RECOVERY, "finance", {}) == []
    assert found.of(Kind.FAILURE, "sales", {}) == []


def test_failures_and_recoveries_are_what_is_told_where_nothing_is_named() -> None:
    found = recipients({"webhook": "ops"})
    assert [kind for kind in Kind if found.of(kind, "any", {})] == [Kind.FAILURE, Kind.RECOVERY]


def test_a_job_adds_a_webhook_of_its_namespace_to_those_of_the_rules() -> None:
    found = recipients({"webhook": "ops"})
    asked = {NOTIFY: "finance", NOTIFY_ON: "failure, miss"}
    assert found.of(Kind.FAILURE, "finance", asked) == ["finance", "ops"]
    assert found.of(Kind.MISS, "finance", asked) == ["finance"]


def test_a_job_cannot_use_a_webhook_of_another_namespace() -> None:
    found = recipients()
    assert found.of(Kind.FAILURE, "sales", {NOTIFY: "finance"}) == []
    assert "unknown webhook 'finance' in namespace sales: allowed are ops" in found.problem(
        "sales", {NOTIFY: "finance"}
    )
    assert found.problem("finance", {NOTIFY: "finance, ops"}) == ""


def test_none_silences_the_rules_for_a_job() -> None:
    found = recipients({"webhook": "ops", "on": ["failure", "longRun"], "longRun": "1m"})
    assert found.of(Kind.FAILURE, "finance", {NOTIFY: "none"}) == []
    assert found.late_for(timedelta(hours=1), "finance", {NOTIFY: "none"}) == []


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({NOTIFY: "ops", NOTIFY_ON: "failures"}, "'failures' is none of failure, recovery, miss, longRun"),
        ({NOTIFY: "ops", NOTIFY_LONG_RUN: "soon"}, "must be a duration such as 30s"),
        ({NOTIFY: "ops", NOTIFY_ON: "longRun"}, "longRun needs scheduledjobs.dev/notify-long-run"),
        ({NOTIFY: "none, ops"}, "`none` stands alone"),
        ({NOTIFY: ",".join(f"hook-{n}" for n in range(11))}, "at most 10 webhooks"),
        ({NOTIFY: "x" * 100_000}, "unknown webhook"),
    ],
)
def test_annotations_that_cannot_be_read_are_said(asked: dict[str, str], sentence: str) -> None:
    problem = recipients().problem("finance", asked)
    assert sentence in problem
    assert len(problem) < 500


def test_a_wrong_annotation_leaves_the_rest_in_force() -> None:
    asked = {NOTIFY: "ops", NOTIFY_ON: "failure, failures", NOTIFY_LONG_RUN: "soon"}
    assert recipients().of(Kind.FAILURE, "finance", asked) == ["ops"]


def test_a_long_run_is_told_from_the_shortest_time_that_applies() -> None:
    found = recipients({"webhook": "ops", "on": ["longRun"], "longRun": "30m"})
    assert found.late_for(timedelta(minutes=29), "finance", {}) == []
    assert found.late_for(timedelta(minutes=30), "finance", {}) == ["ops"]
    sooner = {NOTIFY: "finance, ops", NOTIFY_LONG_RUN: "5m"}
    assert found.late_for(timedelta(minutes=5), "finance", sooner) == ["finance", "ops"]
    assert found.shortest_run == timedelta(minutes=30)
    assert recipients({"webhook": "ops"}).shortest_run is None


@pytest.mark.parametrize(
    ("state", "reason", "kind"),
    [
        (State.FAILED, Reason.ERROR, Kind.FAILURE),
        (State.FAILED, Reason.SUPERSEDED_BY_NEXT_FIRE, Kind.FAILURE),
        (State.TIMED_OUT, Reason.TIMEOUT_EXCEEDED, Kind.FAILURE),
        (State.LOST, Reason.REPLICA_DIED, Kind.FAILURE),
        (State.SUCCEEDED, Reason.SUCCESS, Kind.RECOVERY),
        (State.MISSED, Reason.TOO_LATE, Kind.MISS),
        (State.MISSED, Reason.STARTING_DEADLINE_EXCEEDED, Kind.MISS),
        (State.MISSED, Reason.COALESCED, None),
        (State.MISSED, Reason.DELETED, None),
        (State.SKIPPED, Reason.OVERLAP, None),
        (State.CANCELLED, Reason.CANCEL_REQUESTED, None),
    ],
)
def test_which_ends_are_told(state: State, reason: Reason, kind: Kind | None) -> None:
    assert kind_of(state, reason) is kind


# When what waits becomes a message


COLLECT, EVERY = timedelta(seconds=10), timedelta(minutes=1)


def sent_at(noticed: list[int]) -> list[tuple[int, int]]:
    """Return when messages go, and of how many notices, where these come at these seconds."""
    waiting: list[int] = []
    sent: list[tuple[int, int]] = []
    for now in range(max(noticed) + 200):
        waiting += [at for at in noticed if at == now]
        if waiting:
            since_last = (now - sent[-1][0]) * SECOND if sent else None
            if not wait_for((now - waiting[0]) * SECOND, since_last, COLLECT, EVERY):
                sent.append((now, len(waiting)))
                waiting = []
    return sent


def test_an_outage_that_fails_500_jobs_is_one_message() -> None:
    assert sent_at([n // 50 for n in range(500)]) == [(10, 500)]


def test_while_an_outage_goes_on_there_is_at_most_one_message_a_minute() -> None:
    sent = sent_at(list(range(300)))
    assert [at for at, _ in sent] == [10, 70, 130, 190, 250, 310]
    assert sum(count for _, count in sent) == 300


def test_a_failure_long_after_the_last_message_waits_for_the_collection_only() -> None:
    assert sent_at([0, 500]) == [(10, 1), (510, 1)]


def test_waits_after_failed_attempts_double_up_to_a_bound_and_hear_the_webhook() -> None:
    waits = [retry_in(n, None).total_seconds() for n in range(1, 12)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert retry_in(10**9, None) == timedelta(minutes=5)
    assert retry_in(1, timedelta(seconds=30)) == timedelta(seconds=30)
    assert retry_in(1, timedelta(days=365)) == timedelta(minutes=10)


# How far back looks go


def test_looks_go_back_to_where_they_were_before_the_last_half_minute_of_looking() -> None:
    looks = Looks(((0.0, NOON),))
    for now in range(1, 101):
        looks = looks.after(NOON + now * SECOND, float(now), is_trusted=True)
    assert looks.newest == NOON + 100 * SECOND
    assert looks.since == NOON + 100 * SECOND - LATE
    assert len(looks.made) <= 32


def test_an_outage_is_no_looking_so_what_ended_before_it_is_read_again_after_it() -> None:
    looks = Looks(((0.0, NOON),)).after(NOON + 40 * SECOND, 40.0, is_trusted=True)
    looks = looks.after(NOON + 1000 * SECOND, 1000.0, is_trusted=True)
    assert looks.since == NOON + 40 * SECOND
    looks = looks.after(NOON + 1029 * SECOND, 1029.0, is_trusted=True)
    assert looks.since == NOON + 40 * SECOND
    assert looks.after(NOON + 1031 * SECOND, 1031.0, is_trusted=True).since == NOON + 1000 * SECOND


def test_while_nobody_can_be_declared_dead_looks_go_back_to_where_that_began() -> None:
    looks = Looks(((0.0, NOON),))
    for now in range(1, 301):
        looks = looks.after(NOON + now * SECOND, float(now), is_trusted=False)
    assert looks.since == NOON
    assert looks.after(NOON + 310 * SECOND, 310.0, is_trusted=True).since == NOON
    assert len(looks.made) <= 3


def test_a_clock_that_was_set_back_hides_nothing() -> None:
    looks = Looks(((0.0, NOON),)).after(NOON - 3600 * SECOND, 1.0, is_trusted=True)
    assert looks.since == looks.newest == NOON - 3600 * SECOND


# What a message says


def counts(*notices: Notice, folded: dict[tuple[Kind, str], int] | None = None) -> dict[tuple[Kind, str], Count]:
    """What the database counts of these; each folded one is of a job of its own."""
    found = {key: Count(many, many) for key, many in (folded or {}).items()}
    for key in {(one.kind, one.namespace) for one in notices}:
        mine = [one for one in notices if (one.kind, one.namespace) == key]
        before = found.get(key, Count(0, 0))
        found[key] = Count(before.notices + len(mine), before.jobs + len({one.job_id for one in mine}))
    return found


def slack(*notices: Notice, folded: dict[tuple[Kind, str], int] | None = None, public_url: str = "") -> str:
    message = message_of("m", NOON, notices, counts(*notices, folded=folded), 10)
    return str(body_of(message, "slack", "/source", public_url)["text"])


def test_one_failure_is_one_line() -> None:
    assert slack(notice()) == "*Failed:* finance/job-1, Error: no such table, fire time 2026-11-27 12:00:00 UTC"


def test_it_links_to_the_page_of_the_execution() -> None:
    said = slack(notice(7), public_url="https://jobs.example/")
    assert "<https://jobs.example/ui/executions/7|2026-11-27 12:00:00 UTC>" in said


def test_500_failures_are_counted_by_namespace_and_ten_are_named() -> None:
    many = [notice(n, namespace="finance" if n <= 300 else "sales") for n in range(1, 501)]
    lines = slack(*many).splitlines()
    assert lines[0] == "*500 executions failed* (finance 300, sales 200)"
    assert lines[1] == "• finance/job-1, Error: no such table, fire time 2026-11-27 12:00:00 UTC"
    assert len(lines) == 12
    assert lines[-1] == "and 490 others"


def test_a_job_that_failed_many_times_is_named_once_with_its_last_reason() -> None:
    again = [notice(n, job_id=UUID(int=1), job_name="job", message=f"number {n}") for n in (1, 2, 3)]
    first, line = slack(*again).splitlines()
    assert first == "*3 executions failed* (finance 3)"
    assert line == "• finance/job, Error: number 3, fire time 2026-11-27 12:00:00 UTC, the last of 3"


def test_recoveries_are_counted_as_such_though_one_job_has_all_of_them() -> None:
    again = [notice(n, job_id=UUID(int=1), job_name="job", kind=Kind.RECOVERY, state="SUCCEEDED") for n in range(30)]
    first, line = slack(*again).splitlines()
    assert first == "*30 recoveries* (finance 30)"
    assert line == "• finance/job, fire time 2026-11-27 12:00:00 UTC, the last of 30"


def test_recoveries_and_misses_have_parts_of_their_own() -> None:
    missed = notice(3, kind=Kind.MISS, reason="TooLate", message=None, moment_count=40)
    lines = slack(notice(1), missed, notice(2, kind=Kind.RECOVERY, state="SUCCEEDED")).splitlines()
    assert lines[0].startswith("*Failed:* finance/job-1")
    assert lines[1] == "*Works again:* finance/job-2, fire time 2026-11-27 12:00:00 UTC"
    assert lines[2] == "*Missed:* finance/job-3, TooLate, 40 moments from 2026-11-27 12:00:00 UTC"


def test_a_long_run_says_why_its_attempt_has_ended_if_it_has() -> None:
    runs = notice(1, kind=Kind.LONG_RUN, state="RUNNING", reason="HandedOver", message=None)
    assert slack(runs) == "*Runs long:* finance/job-1, fire time 2026-11-27 12:00:00 UTC"
    hangs = notice(2, kind=Kind.LONG_RUN, state="TIMED_OUT", reason="TimeoutExceeded", message="600 s")
    assert slack(hangs).startswith("*Runs long:* finance/job-2, TimeoutExceeded: 600 s, fire time")


def test_what_was_folded_is_counted() -> None:
    folded = {(Kind.FAILURE, "sales"): 90, (Kind.FAILURE, "finance"): 9}
    first, _, last = slack(notice(), folded=folded).splitlines()
    assert first == "*100 executions failed* (sales 90, finance 10)"
    assert last == "and 99 others"


def test_a_job_can_name_nobody_and_turn_no_text() -> None:
    hostile = "<!channel> & <https://evil.example|click>\n\x1b[31mred\x1b[0m \u202egnp\u2066.exe\u200b\x07"
    said = slack(notice(message=hostile))
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt; red gnp.exe" in said
    assert not any(each in said for each in "\n\x1b\u202e\u2066\u200b\x07")


def test_a_text_is_cut_and_shows_no_password_of_a_url() -> None:
    assert plain("x" * 10_000) == "x" * 199 + "…"
    assert "hunter2" not in plain("cannot reach postgresql://me:hunter2@db/main")


def test_a_message_of_many_long_ones_stays_small() -> None:
    many = [notice(n, namespace=f"{n:063}", job_name="j" * 63, message="&" * 9999) for n in range(500)]
    assert len(slack(*many, public_url="https://jobs.example")) < 40_000


def test_a_message_is_a_cloud_event() -> None:
    notices = [notice(n) for n in range(7, 307)]
    message = message_of("ops-7-failure", NOON, notices, counts(*notices), 100)
    event = json.loads(json.dumps(body_of(message, "cloudevents", "/scheduledjobs/a/b", "https://jobs.example")))
    assert {key: event[key] for key in ("specversion", "id", "source", "type", "time", "datacontenttype")} == {
        "specversion": "1.0",
        "id": "ops-7-failure",
        "source": "/scheduledjobs/a/b",
        "type": "dev.scheduledjobs.notices.v1",
        "time": "2026-11-27T12:00:00.000Z",
        "datacontenttype": "application/json",
    }
    failure = event["data"]["failure"]
    assert (failure["count"], failure["namespaces"], failure["others"], len(failure["jobs"])) == (
        300, {"finance": 300}, 200, 100,
    )  # fmt: skip
    assert failure["jobs"][0] == {
        "namespace": "finance", "name": "job-7", "uid": str(UUID(int=7)), "count": 1, "execution": 7,
        "notice": "7-failure", "fireTime": "2026-11-27T12:00:00.000Z", "occurredAt": "2026-11-27T12:00:07.000Z",
        "state": "FAILED", "reason": "Error", "message": "no such table", "attempts": 1, "moments": 1,
        "url": "https://jobs.example/ui/executions/7",
    }  # fmt: skip


def test_a_test_message_says_that_it_is_one() -> None:
    assert "test of the webhook ops" in trial_body("slack", "ops", "/s", NOON)["text"]
    assert trial_body("cloudevents", "ops", "/s", NOON)["type"] == "dev.scheduledjobs.test.v1"


# Settings


def settings(monkeypatch: pytest.MonkeyPatch, webhooks: Any = HOOKS, notices: Any = (), **more: str) -> Any:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    monkeypatch.setenv("SCHEDULEDJOBS_WEBHOOKS", webhooks if isinstance(webhooks, str) else json.dumps(webhooks))
    monkeypatch.setenv("SCHEDULEDJOBS_NOTICES", notices if isinstance(notices, str) else json.dumps(notices))
    for name, value in more.items():
        monkeypatch.setenv(f"SCHEDULEDJOBS_{name.upper()}", value)
    return load()


def test_webhooks_and_rules_are_read_and_the_url_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch, notices=[{"webhook": "ops", "on": ["longRun"], "longRun": "90s"}])
    assert found.notices[0].long_run == timedelta(seconds=90)
    assert found.webhooks["ops"].every == timedelta(minutes=1)
    assert "ops.example" not in f"{found!r} {found.webhooks!r} {found}"
    assert "ops.example" not in found.model_dump_json()


def hook(**changes: Any) -> dict[str, Any]:
    given = {"url": "https://hooks.example/s3cret", "format": "slack", "namespaces": ["*"], **changes}
    return {"ops": {key: value for key, value in given.items() if value is not None}}


@pytest.mark.parametrize(
    ("webhooks", "notices", "sentence"),
    [
        ("{s3cret", (), "WEBHOOKS: must be JSON"),
        ([], (), "WEBHOOKS: must be a JSON object"),
        ({"Ops!": {}}, (), "WEBHOOKS: the name of a webhook"),
        ({"none": {}}, (), "WEBHOOKS: the name of a webhook"),
        (hook(url="ftp://s3cret"), (), "WEBHOOKS: ops.url: must begin with https:// or http://"),
        (hook(url=None), (), "WEBHOOKS: ops: set one of url and url_file"),
        (hook(url_file="/s3cret"), (), "WEBHOOKS: ops: set one of url and url_file"),
        (hook(format="teams"), (), "WEBHOOKS: ops.format"),
        (hook(namespaces=[]), (), "WEBHOOKS: ops.namespaces"),
        (hook(namespaces=["a", "s3cret-*"]), (), "WEBHOOKS: ops.namespaces.1: must be the name of a namespace, or *"),
        (hook(every="often"), (), "WEBHOOKS: ops.every: must be a duration"),
        (hook(colour="s3cret"), (), "WEBHOOKS: ops.colour"),
        (hook(), "[s3cret", "NOTICES: must be JSON"),
        (hook(), {}, "NOTICES: must be a JSON array"),
        (hook(), [{"webhook": "s3cret"}], "NOTICES: 0.webhook: SCHEDULEDJOBS_WEBHOOKS has none of this name"),
        (hook(), [{"webhook": "ops", "on": ["success"]}], "NOTICES: 0.on.0"),
        (hook(), [{"webhook": "ops", "on": ["longRun"]}], "NOTICES: 0: longRun in `on` and the duration longRun"),
        (hook(), [{"webhook": "ops", "longRun": "1h"}], "NOTICES: 0: longRun in `on` and the duration longRun"),
        (hook(), [{"webhook": "ops", "namespaces": ["s3cret-*"]}], "NOTICES: 0.namespaces.0: must be the name of a"),
        (hook(namespaces=["a"]), [{"webhook": "ops", "namespaces": ["b"]}], "NOTICES: 0.namespaces: b may not use"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(
    webhooks: Any, notices: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(monkeypatch, webhooks, notices)
    assert f"SCHEDULEDJOBS_{sentence}" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_the_public_url_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, public_url="https://jobs.example").public_url == "https://jobs.example"
    with pytest.raises(SettingsError, match="SCHEDULEDJOBS_PUBLIC_URL: must begin with https://"):
        settings(monkeypatch, public_url="javascript:alert(1)")
