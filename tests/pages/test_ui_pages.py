"""The pages, drawn from a made-up site: safe, small, fast, and kind to what was typed."""

from __future__ import annotations

import html
import json
import re
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from tests.pages.asgi import Answer, call
from tests.pages.ui_stub import job, run, site

from scheduledjobs.core.reasons import FAILURE_STATES, Refusal, State
from scheduledjobs.errors import KubeUnavailable, RequestError, StoreUnavailable
from scheduledjobs.web.filters import JobFilters
from scheduledjobs.web.problems import ProblemError
from scheduledjobs.web.ui.actions import _Wrong, read_until
from scheduledjobs.web.ui.jobs import back_to
from scheduledjobs.web.ui.page import Fields

ONE, HOSTILE, PAUSED = job(1), job(4), job(6)
AT = f"/ui/jobs/{ONE.namespace}/{ONE.name}"
PAGES = [
    "/ui/",
    "/ui/jobs",
    "/ui/help",
    *(
        f"/ui/jobs/{one.id}{suffix}"
        for one in (ONE, HOSTILE, PAUSED)
        for suffix in ("", "/history", "/versions", "/yaml")
    ),
    *(f"/ui/jobs/{HOSTILE.id}/{name}" for name in ("why", "why?at=2026-11-24T10:00", "pause", "run-now", "delete")),
    *(f"/ui/executions/{HOSTILE_RUN}" for HOSTILE_RUN in (4001, 4002, 4003, 4004)),
]


async def post(app: Any, path: str, *pairs: tuple[str, str]) -> Answer:
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": "http://jobs.example"}
    return await call(app, "POST", path, headers=headers, body=urlencode(pairs).encode())


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_holds_nothing_inline_and_no_markup_of_others(path: str) -> None:
    app, _ = site()
    answer = await call(app, "GET", path)
    assert answer.status == 200
    text = answer.body.decode()
    assert "<script>alert" not in text
    assert "<<<" not in text  # the mark of a merge that went wrong
    assert not re.search(r"\sstyle=|\son\w+=|<style|\x1b|\x00|\u202e", text)
    assert text.count("<h1") == 1


async def test_a_page_of_50_jobs_is_under_60_kb() -> None:
    app, _ = site()
    assert len((await call(app, "GET", "/ui/jobs")).body) < 60_000


async def test_a_page_of_50_jobs_is_drawn_quickly() -> None:
    app, parts = site()
    found = await parts.reads.jobs(None, JobFilters(recent=60))

    async def known(*_: object) -> object:
        return found

    parts.reads.jobs = known
    took = []
    for _ in range(8):
        began = time.perf_counter()
        await call(app, "GET", "/ui/jobs")
        took.append(time.perf_counter() - began)
    assert min(took) < 0.1  # 12 ms on two quiet cores; the bound leaves room for busy ones


async def test_an_unchanged_page_is_304_without_a_question() -> None:
    app, parts = site()
    first = await call(app, "GET", "/ui/jobs")
    asked = parts.reads.questions
    again = await call(app, "GET", "/ui/jobs", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body, parts.reads.questions) == (304, b"", asked)
    parts.hub.change()
    later = await call(app, "GET", "/ui/jobs", headers={"If-None-Match": first.headers["etag"]})
    assert later.status == 200


async def test_who_has_not_signed_in_is_sent_to_do_so() -> None:
    app, parts = site()
    parts.auth.signed_in = False
    answer = await call(app, "GET", "/ui/jobs?q=a")
    assert answer.status == 303
    assert answer.headers["location"].startswith("/ui/login?next=/ui/jobs%3Fq%3Da")
    assert (await call(app, "GET", "/ui/login")).status == 200


async def test_an_action_answers_by_a_redirect_whose_page_tells_it_once() -> None:
    app, parts = site()
    done = await post(app, f"{AT}/run-now", ("token", "t1"), ("payload", '{"a": 1}'))
    assert (done.status, done.headers["location"]) == (303, AT)
    assert parts.writes.asked == [("run-now", str(ONE.id), {"a": 1}, "t1")]
    cookie = done.headers["set-cookie"].partition(";")[0]
    told = await call(app, "GET", AT, headers={"Cookie": cookie})
    assert "runs now." in told.body.decode()
    assert "etag" not in told.headers
    assert "Max-Age=0" in told.headers["set-cookie"]


@pytest.mark.parametrize("tab", ["", "/history", "/versions", "/why", "/yaml"])
async def test_a_double_click_on_run_now_asks_for_one_run_on_every_tab(tab: str) -> None:
    app, parts = site()
    page = (await call(app, "GET", f"{AT}{tab}")).body.decode()
    token = re.search(r'action="[^"]*/run-now"><input type="hidden" name="token" value="([^"]*)"', page)
    assert token is not None
    for _ in range(2):
        await post(app, f"{AT}/run-now", ("token", token[1]))
    assert [asked[-1] for asked in parts.writes.asked] == [token[1], token[1]]
    assert re.fullmatch("page-[0-9a-f]{12}", token[1])


async def test_the_yaml_that_is_copied_says_what_the_job_says() -> None:
    app, _ = site()
    page = (await call(app, "GET", f"/ui/jobs/{HOSTILE.id}/yaml")).body.decode()
    shown = re.search(r'<pre id="yaml"[^>]*>(.*?)</pre>', page, re.S)
    assert shown is not None
    text = html.unescape(shown[1])
    assert yaml.safe_load(text)["metadata"] == {"name": HOSTILE.name, "namespace": HOSTILE.namespace}
    assert "    account: '098765432109'\n" in text


async def test_a_run_that_was_not_answered_for_is_asked_for_again_as_the_same() -> None:
    app, parts = site()
    parts.writes.refusal = KubeUnavailable("the API server did not answer")
    answer = await post(app, f"{AT}/run-now", ("token", "t1"), ("payload", "{}"))
    assert answer.status == 503
    assert '<input type="hidden" name="token" value="t1">' in answer.body.decode()
    parts.writes.refusal = RequestError(Refusal.RUN_REQUEST_DIFFERS, "take another token for another run")
    answer = await post(app, f"{AT}/run-now", ("token", "t1"), ("payload", '{"a": 1}'))
    assert (answer.status, 'value="t1"' in answer.body.decode()) == (409, False)


async def test_a_payload_that_is_no_object_is_shown_at_its_field_and_kept() -> None:
    app, parts = site()
    answer = await post(app, f"{AT}/run-now", ("payload", '["<b>"'))
    text = answer.body.decode()
    assert answer.status == 422
    assert 'id="payload-error"' in text
    assert "[&#34;&lt;b&gt;&#34;" in text
    assert parts.writes.asked == []


@pytest.mark.parametrize("payload", [{"password": "•••"}, {"headers": [{"X-Token": "•••"}]}, {"url": "https://•••@x/"}])
async def test_no_run_is_asked_for_with_the_mask_in_place_of_a_secret(payload: dict[str, Any]) -> None:
    app, parts = site()
    answer = await post(app, f"{AT}/run-now", ("payload", json.dumps(payload)))
    assert answer.status == 422
    assert f"{next(iter(payload))} holds •••, which stands for a secret" in answer.body.decode()
    assert parts.writes.asked == []


async def test_a_payload_that_is_to_be_run_again_is_in_the_page_and_in_no_address() -> None:
    app, _ = site()
    shown = (await call(app, "GET", "/ui/executions/1002")).body.decode()
    (link,) = re.findall(r'href="([^"]+)">[^<]*(?:<svg.*?</svg>)?Run again…', shown)
    assert link == f"/ui/jobs/{ONE.id}/run-now?execution=1002"
    form = (await call(app, "GET", link)).body.decode()
    assert "https://x.example/&lt;b&gt;" in form.partition("<textarea")[2].partition("</textarea>")[0]
    assert (await call(app, "GET", link.replace("1002", "2002"))).status == 404  # of another job
    assert (await call(app, "GET", link.replace("1002", "x"))).status == 404


async def test_a_run_that_waits_to_be_retried_is_not_said_to_go_on_for_what_its_last_attempt_took() -> None:
    app, parts = site()
    ran = await parts.reads.execution(None, 1001)

    async def waits(*_: object) -> object:
        return ran.model_copy(update={"state": State.PENDING, "duration_ms": 5000})

    parts.reads.execution = waits
    assert "5.0 s" not in (await call(app, "GET", "/ui/executions/1001")).body.decode()


async def test_a_refusal_is_told_on_the_page_of_the_form_with_what_was_typed() -> None:
    app, parts = site()
    parts.writes.refusal = ProblemError(409, "Conflict", "an earlier run <b>is</b> outstanding", "RunRequestPending")
    answer = await post(app, f"{AT}/pause", ("for", "hour"), ("reason", "say <why>"))
    text = answer.body.decode()
    assert answer.status == 409
    assert "an earlier run &lt;b&gt;is&lt;/b&gt; outstanding" in text
    assert "say &lt;why&gt;" in text


async def test_a_job_is_deleted_only_with_its_name() -> None:
    app, parts = site()
    assert (await post(app, f"{AT}/delete", ("name", "other"))).status == 422
    assert parts.writes.asked == []
    assert (await post(app, f"{AT}/delete", ("name", ONE.name))).status == 303
    assert parts.writes.asked == [("delete", str(ONE.id))]


async def test_several_jobs_at_once_each_have_their_word() -> None:
    app, parts = site()
    answer = await post(app, "/ui/jobs", ("action", "pause"), ("id", str(ONE.id)), ("id", "nobody"), ("back", "//evil"))
    assert answer.headers["location"] == "/ui/jobs"
    told = await call(app, "GET", "/ui/jobs", headers={"Cookie": answer.headers["set-cookie"].partition(";")[0]})
    text = told.body.decode()
    assert f"Paused: {ONE.namespace}/{ONE.name}." in text
    assert "nobody: there is no job nobody" in text
    assert parts.writes.asked == [("pause", str(ONE.id), "forever", "")]


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_a_change_that_the_leader_has_not_read_is_not_said_to_be_in_force(verb: str) -> None:
    app, parts = site()

    async def unread(*_: object) -> object:
        return (await parts.reads.job(None, str(ONE.id))).model_copy(update={"is_mirrored": False})

    setattr(parts.writes, verb, unread)
    for path, form in ((f"{AT}/{verb}", []), ("/ui/jobs", [("action", verb), ("id", str(ONE.id))])):
        answer = await post(app, path, *form)
        told = await call(app, "GET", AT, headers={"Cookie": answer.headers["set-cookie"].partition(";")[0]})
        assert "he leader has not read it yet" in told.body.decode()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.CANCELLED, "It is cancelled."),
        (State.RUNNING, "It is asked to stop"),
        (State.SUCCEEDED, "It is not cancelled: it ended before it was stopped, as SUCCEEDED."),
        (State.TIMED_OUT, "It is not cancelled: it ended before it was stopped, as TIMED_OUT."),
    ],
)
async def test_only_a_run_that_is_cancelled_is_said_to_be(state: State, words: str) -> None:
    app, parts = site()

    async def cancel(*_: object) -> object:
        return run(1001, state)

    parts.writes.cancel = cancel
    answer = await post(app, "/ui/executions/1001/cancel")
    told = await call(app, "GET", AT, headers={"Cookie": answer.headers["set-cookie"].partition(";")[0]})
    assert words in told.body.decode()
    assert ("It is cancelled." in told.body.decode()) == (state is State.CANCELLED)


async def test_a_forged_message_is_not_shown() -> None:
    app, _ = site()
    for cookie in ("x", "W10=", "bnVsbA==", "W1siYSIsImdvb2QiLCJqYXZhc2NyaXB0OngiLCJiIl1d"):
        answer = await call(app, "GET", "/ui/", headers={"Cookie": f"scheduledjobs_flash={cookie}"})
        assert answer.status == 200
        assert "javascript:" not in answer.body.decode()


async def test_a_database_that_is_away_is_a_page_that_says_what_it_means() -> None:
    app, parts = site()
    parts.reads.broken = StoreUnavailable("gone")
    answer = await call(app, "GET", "/ui/jobs")
    assert answer.status == 503
    assert "retry-after" in answer.headers
    assert "nothing is lost" in answer.body.decode()
    assert 'data-poll="yes"' in answer.body.decode()


async def test_the_page_of_versions_leads_to_older_ones_and_back() -> None:
    app, _ = site()
    first = (await call(app, "GET", f"{AT}/versions")).body.decode()
    assert f'href="{AT}/versions?cursor=abc">Older' in first
    later = (await call(app, "GET", f"{AT}/versions?cursor=abc")).body.decode()
    assert f'href="{AT}/versions">Newest' in later
    assert "Older" not in later


async def test_no_leader_and_two_versions_are_said() -> None:
    app, parts = site()
    parts.reads.leader = None
    text = (await call(app, "GET", "/ui/")).body.decode()
    assert "There is no leader" in text
    assert "different versions: 0.7.0, 0.8.0" in text


async def test_the_overview_leads_to_the_jobs_of_every_state_that_is_a_failure() -> None:
    app, _ = site()
    text = (await call(app, "GET", "/ui/")).body.decode()
    assert {state for state in State if f'href="/ui/jobs?outcome={state}"' in text} == FAILURE_STATES


async def test_rights_that_could_not_be_asked_for_are_said() -> None:
    app, parts = site()
    parts.auth.stale = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
    assert "has not answered since" in (await call(app, "GET", "/ui/")).body.decode()


@pytest.mark.parametrize(
    "path", ["/ui/nothing", "/ui/executions/x", "/ui/executions/9999999", "/ui/jobs/a/b", "/ui/jobs?state=x"]
)
async def test_an_error_is_a_page(path: str) -> None:
    app, _ = site()
    answer = await call(app, "GET", path)
    assert answer.status in (404, 422)
    assert answer.headers["content-type"].startswith("text/html")


def test_the_end_of_a_pause_is_read_in_the_zone_of_the_job() -> None:
    now = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)
    assert read_until(Fields([("for", "hour")]), "Europe/Berlin", now) == "2026-11-25T00:30:00Z"
    assert read_until(Fields([("for", "morning")]), "Europe/Berlin", now) == "2026-11-26T07:00:00Z"
    typed = Fields([("for", "until"), ("until", "2026-12-24T18:00")])
    assert read_until(typed, "Europe/Berlin", now) == "2026-12-24T17:00:00Z"
    with pytest.raises(_Wrong):
        read_until(Fields([("for", "until"), ("until", "soon")]), "Europe/Berlin", now)


@pytest.mark.parametrize("text", ["2027-03-28T02:30", "2027-03-28 02:30:00"])
async def test_a_pause_until_a_time_that_the_clocks_leave_out_is_refused(text: str) -> None:
    app, parts = site()
    answer = await post(app, f"{AT}/pause", ("for", "until"), ("until", text))
    assert (answer.status, parts.writes.asked) == (422, [])
    assert 'id="until-error"' in answer.body.decode()
    assert "does not exist that day in Europe/Berlin: the clocks go forward" in answer.body.decode()
    assert f'value="{text}"' in answer.body.decode()


def test_a_pause_of_a_job_whose_zone_is_not_known_ends_in_utc() -> None:
    typed = Fields([("for", "until"), ("until", "2026-12-24T18:00:00.5")])
    assert read_until(typed, "Mars/Olympus", datetime(2026, 11, 24, tzinfo=UTC)) == "2026-12-24T18:00:00Z"


@pytest.mark.parametrize("path", ["https://evil", "//evil", "/ui/\\evil", "/ui/\n", "", "/other"])
def test_one_goes_back_only_to_a_page_of_ours(path: str) -> None:
    assert back_to(path, "/ui/jobs") == "/ui/jobs"
