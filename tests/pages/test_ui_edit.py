"""The form keeps what was typed, shows what it means, and never saves over what nobody has seen."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.pages.asgi import Answer, call
from tests.pages.ui_edit_stub import Writer, editing_site

from scheduledjobs.errors import KubeUnavailable
from scheduledjobs.web.models import FieldError
from scheduledjobs.web.problems import ProblemError

EDIT = "/ui/jobs/shop/sync-ledger-1/edit"
TYPED = {
    "name": "nightly",
    "namespace": "shop",
    "kind": "schedule",
    "schedule": "30 2 * * *",
    "timeZone": "Europe/Berlin",
    "handler": "log",
    "payload.message": "<script>alert(1)</script>",
}


@pytest.fixture
def stage() -> tuple[Any, Any, Writer]:
    return editing_site()


async def post(app: Any, path: str, form: dict[str, str]) -> Answer:
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": "http://jobs.example"}
    return await call(app, "POST", path, headers=headers, body=urlencode(form).encode())


def text(answer: Answer) -> str:
    return answer.body.decode()


async def test_a_new_job_is_created_with_the_spec_of_the_form(stage: tuple[Any, Any, Writer]) -> None:
    app, _, writer = stage
    answer = await post(app, "/ui/new", TYPED | {"do": "save"})
    spec = {"schedule": "30 2 * * *", "timeZone": "Europe/Berlin", "handler": "log"}
    assert answer.status == 303
    payload = {"message": "<script>alert(1)</script>"}
    assert writer.asked == [("create", "shop.nightly", {**spec, "payload": payload}, None, False)]


async def test_a_check_saves_nothing_and_says_so(stage: tuple[Any, Any, Writer]) -> None:
    app, _, writer = stage
    answer = await post(app, "/ui/new", TYPED | {"do": "preview"})
    assert answer.status == 200
    assert "Nothing is saved yet" in text(answer)
    assert writer.asked[0][-1] is True


async def test_while_one_types_nothing_is_written_and_the_moments_are_shown(stage: tuple[Any, Any, Writer]) -> None:
    app, _, writer = stage
    answer = await post(app, "/ui/new", TYPED | {"do": "live"})
    assert (answer.status, writer.asked) == (200, [])
    assert "At 02:30" in text(answer)
    assert "schedule: &#39;30 2 * * *&#39;" in text(answer)
    assert len(answer.body) < 25_000


async def test_what_was_typed_is_kept_and_escaped_when_it_is_refused(stage: tuple[Any, Any, Writer]) -> None:
    app, _, writer = stage
    errors = [FieldError(field="spec.payload.message", message="is <b>not</b> fit")]
    writer.refusal = ProblemError(422, "The spec cannot work", "no", errors=errors)
    answer = await post(app, "/ui/new", TYPED | {"do": "save"})
    assert answer.status == 422
    assert "&lt;script&gt;alert(1)" in text(answer)
    assert "<script>alert" not in text(answer)
    assert 'aria-describedby="f-payload.message-error' in text(answer)
    assert "is &lt;b&gt;not" in text(answer)


async def test_a_bad_name_and_a_bad_number_are_said_before_anything_is_asked(stage: tuple[Any, Any, Writer]) -> None:
    app, _, writer = stage
    answer = await post(app, "/ui/new", TYPED | {"name": "Nightly!", "retry.limit": "x", "do": "save"})
    assert (answer.status, writer.asked) == (422, [])
    assert "lower-case letters" in text(answer)
    assert '<details class="panel" open>' in text(answer)


async def test_an_api_server_that_does_not_answer_keeps_the_form(stage: tuple[Any, Any, Writer]) -> None:
    app, _, writer = stage
    writer.refusal = KubeUnavailable("gone")
    answer = await post(app, "/ui/new", TYPED | {"do": "save"})
    assert answer.status == 503
    assert 'value="30 2 * * *"' in text(answer)


async def test_an_edit_carries_the_tag_of_the_version_that_was_read(stage: tuple[Any, Any, Writer]) -> None:
    app, parts, writer = stage
    job = await parts.reads.job(None, "shop.sync-ledger-1")
    tag = f'"{job.id}-{job.version}"'
    page = await call(app, "GET", EDIT)
    assert tag.replace('"', "&#34;") in text(page)
    form = {"etag": tag, "kind": "schedule", "schedule": "0 4 * * *", "handler": "http", "payload.url": "https://x"}
    answer = await post(app, EDIT, form | {"do": "save"})
    assert answer.status == 303
    assert writer.asked[0][3] == tag


@pytest.mark.parametrize("is_seen_here", [True, False], ids=["the database knows", "the API server knows"])
async def test_a_conflict_shows_both_and_loses_nothing(*, is_seen_here: bool, stage: tuple[Any, Any, Writer]) -> None:
    app, parts, writer = stage
    job = await parts.reads.job(None, "shop.sync-ledger-1")
    tag = f'"{job.id}-{job.version}"'
    if not is_seen_here:
        writer.refusal = ProblemError(412, "Changed in between", "read it again", "VersionChanged")
    form = {"etag": '"old-1"' if is_seen_here else tag, "schedule": "7 7 * * *", "handler": "http", "do": "save"}
    answer = await post(app, EDIT, form)
    assert (answer.status, writer.asked) == (409, [])
    assert "<del>*/15 * * * *</del>" in text(answer)
    assert "<ins>7 7 * * *</ins>" in text(answer)
    assert 'value="7 7 * * *"' in text(answer)
    assert f'name="etag" value="{tag.replace(chr(34), "&#34;")}"' in text(answer)


async def test_a_masked_secret_is_not_saved_in_place_of_the_secret(stage: tuple[Any, Any, Writer]) -> None:
    app, _, writer = stage
    answer = await post(
        app, EDIT, {"schedule": "0 4 * * *", "handler": "log", "payload": '{"password": "•••"}', "do": "save"}
    )
    assert (answer.status, writer.asked) == (422, [])
    assert "stands for a secret" in text(answer)


async def test_a_copy_is_filled_like_the_other_job(stage: tuple[Any, Any, Writer]) -> None:
    app, _, _ = stage
    page = text(await call(app, "GET", "/ui/new?like=shop.sync-ledger-1"))
    assert 'value="sync-ledger-1-copy"' in page
    assert 'value="*/15 * * * *"' in page


@pytest.mark.parametrize("path", ["/ui/timeline", "/ui/cluster"])
async def test_a_place_is_not_made_again_while_nothing_has_changed(path: str, stage: tuple[Any, Any, Writer]) -> None:
    app, parts, _ = stage
    first = await call(app, "GET", path)
    asked = parts.reads.questions
    again = await call(app, "GET", path, headers={"if-none-match": first.headers["etag"]})
    assert (first.status, again.status, again.body) == (200, 304, b"")
    assert parts.reads.questions == asked


async def test_the_cluster_page_says_that_nobody_leads(stage: tuple[Any, Any, Writer]) -> None:
    app, parts, _ = stage
    parts.reads.leader = None
    page = text(await call(app, "GET", "/ui/cluster"))
    assert "Nobody leads" in page
    assert "r-alive" in page
    assert "r-late" in page
    assert "r-dead" in page


async def test_every_field_at_fault_is_said_at_once(stage: tuple[Any, Any, Writer]) -> None:
    app, _, writer = stage
    writer.refusal = ProblemError(422, "no", "no", errors=[FieldError(field="spec.misfire.grace", message="is long")])
    answer = await post(app, "/ui/new", TYPED | {"schedule": "99 2 * * *", "misfire.grace": "9d", "do": "save"})
    assert 'id="f-misfire.grace-error"' in text(answer)
    assert 'id="f-schedule-error"' in text(answer)


ELSEWHERE = {"handler": "made-elsewhere", "fieldsOf": "made-elsewhere", "payload.region": "eu <west>"}


@pytest.mark.parametrize("path", [EDIT, "/ui/new"])
@pytest.mark.parametrize("handler", ["made-elsewhere", "log"], ids=["no such handler", "an older schema"])
async def test_a_payload_field_that_this_replica_does_not_know_is_refused_and_kept(
    path: str, handler: str, stage: tuple[Any, Any, Writer]
) -> None:
    app, _, writer = stage
    form = TYPED | ELSEWHERE | {"handler": handler, "fieldsOf": handler}
    answer = await post(app, path, form | {"do": "save"})
    assert (answer.status, writer.asked) == (422, [])
    assert 'id="f-payload.region-error"' in text(answer)
    assert "has no such field on this replica" in text(answer)
    assert re.search(
        r'<textarea id="f-payload.region" name="payload.region"[^>]*>\neu &lt;west&gt;</textarea>', text(answer)
    )


async def test_a_payload_field_that_is_not_known_is_left_out_once_it_is_emptied(stage: tuple[Any, Any, Writer]) -> None:
    app, _, writer = stage
    answer = await post(app, "/ui/new", TYPED | {"fieldsOf": "log", "payload.region": "", "do": "save"})
    assert answer.status == 303
    assert writer.asked[0][2]["payload"] == {"message": "<script>alert(1)</script>"}


@pytest.mark.parametrize(("fields_of", "is_kept"), [("made-elsewhere", True), ("http", False)])
async def test_a_look_keeps_the_fields_of_a_handler_but_for_those_of_one_that_was_chosen_before(
    *, fields_of: str, is_kept: bool, stage: tuple[Any, Any, Writer]
) -> None:
    app, _, _ = stage
    page = text(await post(app, "/ui/new", TYPED | ELSEWHERE | {"fieldsOf": fields_of, "do": "typing"}))
    assert ('name="payload.region"' in page) is is_kept
    assert '<input type="hidden" name="fieldsOf" value="made-elsewhere">' in page


def hidden(page: str, name: str) -> str:
    found = re.search(f'<input type="hidden" name="{name}" value="([^"]*)">', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", [EDIT, "/ui/new"])
async def test_a_handler_that_is_changed_and_saved_without_a_look_leaves_fields_that_say_whose_they_are(
    path: str, stage: tuple[Any, Any, Writer]
) -> None:
    app, _, writer = stage
    form = TYPED | {"fieldsOf": "http", "payload.url": "https://a.example/"}
    answer = await post(app, path, form | {"do": "save"})
    page = text(answer)
    assert (answer.status, writer.asked) == (422, [])
    assert "on this replica" not in page
    assert re.search('id="f-payload.url-error"[^>]*>.*belongs to the handler &#39;http&#39;, which was chosen', page)
    assert re.search('<textarea [^>]*name="payload.url"[^>]*>\nhttps://a.example/</textarea>', page)
    assert '<button name="do" value="typing">Show its fields</button>' in page  # also for who has JavaScript
    looked = text(await post(app, path, form | {"fieldsOf": hidden(page, "fieldsOf"), "do": "typing"}))
    assert 'name="payload.url"' not in looked
    assert hidden(looked, "fieldsOf") == "log"
    emptied = form | {"fieldsOf": hidden(page, "fieldsOf"), "payload.url": "", "do": "save"}
    assert (await post(app, path, emptied)).status == 303


async def test_an_edit_shows_the_moments_of_the_grid_that_the_job_keeps(stage: tuple[Any, Any, Writer]) -> None:
    app, parts, _ = stage
    spec = {"fixedRate": "1h", "handler": "log"}
    job = (await parts.reads.job(None, "shop.sync-ledger-1")).model_copy(update={"spec": spec})
    anchor = datetime(2026, 1, 1, 0, 7, 13, tzinfo=UTC)

    async def found(*_: object) -> Any:
        return job

    async def row(_: object, id: str) -> dict[str, Any]:  # noqa: A002 the signature is that of Reads
        assert id == str(job.id)
        return {"spec": spec, "state": "ACTIVE", "anchor_at": anchor, "next_fire_at": None}

    parts.reads.job, parts.reads.row = found, row
    page = text(await call(app, "GET", EDIT))
    assert len(re.findall(r"<strong>\d\d:07:13</strong>", page)) == 10
