"""Every error is answered as a problem, and none tells what was sent or what went on inside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal
from uuid import UUID

import pytest
from fastapi import FastAPI, Query
from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from structlog.testing import capture_logs
from tests.pages.asgi import call

from scheduledjobs.core.reasons import Reason, Refusal
from scheduledjobs.errors import (
    Cause,
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    KubeUnavailable,
    NotAuthenticated,
    NotFound,
    RequestError,
    ScheduledJobsError,
    SchemaTooOld,
    SpecError,
    StoreBusy,
    StoreUnavailable,
)
from scheduledjobs.web.models import Model
from scheduledjobs.web.problems import LARGEST_BODY, ProblemError, install

JSON = {"Content-Type": "application/json"}
SECRET = "hunter2-hunter2"


class Nested(Model):
    retry_limit: int = Field(ge=0, le=9)
    when: Literal["now", "later"] = "now"


class Body(Model):
    name: str = Field(max_length=5)
    parts: tuple[Nested, ...] = ()
    job: UUID | None = None
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "UTC":
            raise ValueError(f"{value} is no zone; UTC is")
        return value


def app_that(error: Exception | None = None) -> FastAPI:
    app = FastAPI()
    install(app)

    @app.get("/fails")
    async def fails() -> None:
        if error is not None:
            raise error

    @app.post("/takes")
    async def takes(body: Body) -> str:
        return body.name

    @app.get("/asks")
    async def asks(limit: Annotated[int, Query(ge=1, le=200)]) -> int:
        return limit

    @app.post("/reads")
    async def reads(request: Request) -> int:
        return len(await request.body())

    return app


STATUSES = [
    (ProblemError(409, "Busy", "It runs.", "Runs"), 409, "Runs"),
    (StoreUnavailable("no route to 10.0.0.7"), 503, "DatabaseUnavailable"),
    (StoreBusy("locked"), 503, "DatabaseUnavailable"),
    (SchemaTooOld("run `scheduledjobs migrate`"), 503, "SchemaNotReady"),
    (KubeUnavailable("GET https://10.0.0.1/apis"), 503, "ApiServerUnavailable"),
    (Conflict("the object has been modified", 409), 409, "Conflict"),
    (Forbidden('jane cannot patch resource "scheduledjobs"', 403), 403, "Forbidden"),
    (NotFound("no such job", 404), 404, "NotFound"),
    (Invalid("spec.schedule is wrong", (Cause("spec.schedule", "is no schedule"),)), 422, "Invalid"),
    (KubeError("too large", 413), 413, "Refused"),
    (KubeError("GET https://10.0.0.1/apis: 410", 410), 502, "ApiServerError"),
    (NotAuthenticated("the token is not known"), 401, "NotAuthenticated"),
    (SpecError(Reason.INVALID_SCHEDULE, "no such day"), 422, "InvalidSchedule"),
    (RequestError(Refusal.RUN_REQUEST_PENDING, "wait"), 409, "RunRequestPending"),
    (RequestError(Refusal.SUSPENDED_BY_SPEC, "set it to false there"), 409, "SuspendedBySpec"),
    (RequestError(Refusal.INVALID_PAUSE, "must lie in the future"), 422, "InvalidPause"),
    (ScheduledJobsError("inner words"), 500, "Unexpected"),
    (RuntimeError(SECRET), 500, "Unexpected"),
]


@pytest.mark.parametrize(("error", "status", "reason"), STATUSES, ids=[str(one[2]) for one in STATUSES])
async def test_every_error_has_its_status_and_reason(error: Exception, status: int, reason: str) -> None:
    answer = await call(app_that(error), "GET", "/fails")
    assert (answer.status, answer.json()["status"], answer.json()["reason"]) == (status, status, reason)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get("retry-after") == ("2" if status == 503 else None)
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert b"10.0.0" not in answer.body


async def test_an_unforeseen_error_is_found_in_the_log_by_the_id_that_was_answered() -> None:
    with capture_logs() as logs:
        answer = await call(app_that(RuntimeError(SECRET)), "GET", "/fails")
    assert len(logs) == 1
    assert logs[0]["error_id"] in answer.json()["detail"]
    assert isinstance(logs[0]["exc_info"], RuntimeError)
    assert SECRET.encode() not in answer.body
    assert b"Traceback" not in answer.body


async def test_causes_of_the_api_server_are_errors_of_fields() -> None:
    error = Invalid("is invalid", (Cause("spec.schedule", "is no schedule"), Cause("spec.handler", "is required")))
    answer = await call(app_that(error), "GET", "/fails")
    assert answer.json()["errors"] == [
        {"field": "spec.schedule", "message": "is no schedule"},
        {"field": "spec.handler", "message": "is required"},
    ]


async def test_a_refused_request_names_its_field() -> None:
    answer = await call(app_that(RequestError(Refusal.INVALID_PAYLOAD, "must be a JSON object")), "GET", "/fails")
    assert answer.json()["errors"] == [{"field": "payload", "message": "must be a JSON object"}]


@pytest.mark.parametrize("body", [b"{", b"", b"nonsense", b'{"name": "\xff"}', b"[" * 100_000])
async def test_malformed_json_is_refused_with_a_sentence(body: bytes) -> None:
    answer = await call(app_that(), "POST", "/takes", headers=JSON, body=body)
    assert answer.status in ({422} if body == b"" else {400})
    assert answer.json()["detail"]


WRONG = [
    (b'{"name": "toolongbyfar"}', "name", "should have at most 5 characters"),
    (b'{"name": 3}', "name", "should be a valid string"),
    (b"{}", "name", "is required"),
    (b'{"name": "a", "hunter2-hunter2": 1}', "hunter2-hunter2", "is not a field that is known here"),
    (b'{"name": "a", "parts": [{"retryLimit": 0}, {"retryLimit": 99}]}', "parts[1].retryLimit", "less than or equal"),
    (b'{"name": "a", "parts": [{"retryLimit": 1, "when": "hunter2-hunter2"}]}', "parts[0].when", "'now' or 'later'"),
    (b'{"name": "a", "job": "hunter2-hunter2"}', "job", "must be a UUID"),
    (b'{"name": "a", "zone": "hunter2-hunter2"}', "zone", "… is no zone; UTC is"),
    (b"[]", "body", "must be a valid dictionary"),
]


@pytest.mark.parametrize(("body", "field", "message"), WRONG, ids=[str(one[1]) for one in WRONG])
async def test_each_wrong_field_is_named_and_its_value_is_not(body: bytes, field: str, message: str) -> None:
    answer = await call(app_that(), "POST", "/takes", headers=JSON, body=body)
    assert answer.status == 422
    error = answer.json()["errors"][0]
    assert error["field"] == field
    assert message.removeprefix("should ").removeprefix("must ") in error["message"]
    assert SECRET not in error["message"]


async def test_a_wrong_query_is_named_as_it_is_written() -> None:
    answer = await call(app_that(), "GET", "/asks?limit=hunter2-hunter2")
    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "limit")
    assert SECRET.encode() not in answer.body


async def test_a_field_of_endless_name_is_cut() -> None:
    body = b'{"name": "a", "' + b"x" * 10_000 + b'": 1}'
    answer = await call(app_that(), "POST", "/takes", headers=JSON, body=body)
    assert len(answer.body) < 1000


async def test_an_unknown_path_and_method_are_problems_too() -> None:
    app = app_that()
    missing = await call(app, "GET", "/nowhere")
    assert (missing.status, missing.json()["reason"]) == (404, "NotFound")
    wrong = await call(app, "DELETE", "/asks")
    assert (wrong.status, wrong.json()["reason"], wrong.headers["allow"]) == (405, "MethodNotAllowed", "GET")


async def test_a_body_told_too_large_is_refused_unread() -> None:
    headers = {"Content-Length": str(LARGEST_BODY + 1)}
    answer = await call(app_that(), "POST", "/reads", headers=headers)
    assert (answer.status, answer.json()["reason"]) == (413, "BodyTooLarge")


@pytest.mark.parametrize("path", ["/reads", "/takes"])
async def test_a_body_that_grows_too_large_is_refused_however_it_is_read(path: str) -> None:
    chunks = [b" " * 65536] * 5
    answer = await call(app_that(), "POST", path, headers=JSON, body=chunks)
    assert (answer.status, answer.json()["reason"]) == (413, "BodyTooLarge")


async def test_a_body_of_just_the_limit_is_taken() -> None:
    answer = await call(app_that(), "POST", "/reads", body=[b" " * 65536] * 4)
    assert (answer.status, answer.body) == (200, str(LARGEST_BODY).encode())


async def test_pages_draw_their_problems_themselves() -> None:
    async def page(request: Request, problem: ProblemError) -> Response:
        return HTMLResponse(f"<p>{problem.detail}", problem.status)

    app = FastAPI()
    install(app, page)
    answer = await call(app, "GET", "/ui/nowhere")
    assert (answer.status, answer.body[:3]) == (404, b"<p>")
    assert (await call(app, "GET", "/nowhere")).json()["status"] == 404


async def test_a_page_that_fails_to_draw_a_problem_is_a_problem() -> None:
    async def page(request: Request, problem: ProblemError) -> Response:
        raise RuntimeError(SECRET)

    app = FastAPI()
    install(app, page)
    answer = await call(app, "GET", "/ui/nowhere")
    assert (answer.status, answer.json()["reason"]) == (500, "Unexpected")


async def test_an_error_after_the_beginning_is_logged_and_does_not_begin_a_second_answer() -> None:
    async def halves() -> AsyncIterator[bytes]:
        yield b"a half"
        raise RuntimeError(SECRET)

    app = app_that()

    @app.get("/halves")
    async def stream() -> Response:
        return StreamingResponse(halves())

    with capture_logs() as logs:
        answer = await call(app, "GET", "/halves")
    assert (answer.status, answer.body) == (200, b"a half")
    assert [line["event"] for line in logs] == ["a request failed"]
