"""Every refusal of REST is a problem (RFC 9457): a status, a sentence, a word for programs, the fields at fault.

No answer shows a traceback, and none repeats a value that was sent: it may be a secret, or somebody else's markup.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduledjobs.core.reasons import Refusal
from scheduledjobs.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    KubeUnavailable,
    NotAuthenticated,
    NotFound,
    RequestError,
    ScheduledJobsError,
    SchemaError,
    SpecError,
    StoreUnavailable,
)
from scheduledjobs.web.models import FieldError

log = structlog.get_logger(__name__)

LARGEST_BODY = 256 * 1024
TRY_AGAIN = {"Retry-After": "2"}
MOST_FIELDS = 50
LONGEST_FIELD = 200
UI = "/ui/"

PLAIN = {
    "extra_forbidden": "is not a field that is known here",
    "missing": "is required",
    "uuid_parsing": "must be a UUID",
    "union_tag_invalid": "must be one of the kinds that are allowed",
    "json_invalid": "must be JSON",
}
"""Sentences in place of pydantic's: theirs repeat a part of the value, or are not ours."""

FIELDS = {Refusal.INVALID_PAUSE: "until", Refusal.INVALID_TOKEN: "token", Refusal.INVALID_PAYLOAD: "payload"}
"""The field at fault of a request on a job; the other refusals are of the job as it is."""


class ProblemError(Exception):
    """A request is refused: what REST answers, and what a page shows."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        reason: str | None = None,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.reason = reason
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the members of the problem document."""
        found: dict[str, Any] = {"type": "about:blank", "title": self.title, "status": self.status}
        found["detail"] = self.detail
        if self.reason is not None:
            found["reason"] = self.reason
        if self.errors:
            found["errors"] = [{"field": error.field, "message": error.message} for error in self.errors]
        return found

    def response(self) -> Response:
        """Return the problem as an HTTP answer."""
        headers = {"Cache-Control": "no-store", **self.headers}
        return JSONResponse(self.body(), self.status, headers, media_type="application/problem+json")


Page = Callable[[Request, ProblemError], Awaitable[Response]]
"""Draws a problem as a page."""


def install(app: FastAPI, page: Page | None = None) -> None:
    """Let `app` answer every error as a problem, and under /ui/ as a page; bodies over 256 KiB are refused."""
    turn = partial(_answer, page)
    for kind in (ProblemError, ScheduledJobsError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, turn)
    app.add_middleware(BodyLimit)
    app.add_middleware(LastResort, answer=turn)


async def _answer(page: Page | None, request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        problem = _unexpected(request.scope, error)
    if page is not None and request.url.path.startswith(UI):
        return await page(request, problem)
    return problem.response()


def _unexpected(scope: Scope, error: Exception) -> ProblemError:
    """Log an error that is a fault of ours, and return the problem that names the log line."""
    number = secrets.token_hex(6)
    log.error("a request failed", error_id=number, method=scope["method"], path=scope["path"], exc_info=error)
    return problem(500, f"Something went wrong here; the log says what, at id {number}.", reason="Unexpected")


def problem(status: int, detail: str, **more: Any) -> ProblemError:
    """Return a problem whose title is the usual phrase of its status."""
    return ProblemError(status, HTTPStatus(status).phrase, detail, **more)


def problem_of(error: Exception) -> ProblemError:
    """Return what is answered for an error; one that nobody foresaw is 500 and says nothing of itself."""
    match error:
        case ProblemError():
            return error
        case RequestValidationError():
            return _of_validation(error.errors())
        case HTTPException():
            return _of_router(error)
        case NotAuthenticated():
            headers = {"WWW-Authenticate": "Bearer"}
            return problem(401, str(error), reason="NotAuthenticated", headers=headers)
        case KubeError():
            return _of_kube(error)
        case StoreUnavailable():
            return problem(503, "The database does not answer.", reason="DatabaseUnavailable", headers=TRY_AGAIN)
        case SchemaError():
            return problem(503, str(error), reason="SchemaNotReady", headers=TRY_AGAIN)
        case SpecError():
            return problem(422, error.message, reason=str(error.reason))
        case RequestError():
            return _of_request(error)
        case _:
            return problem(500, "Something went wrong here.", reason="Unexpected")


def _of_request(error: RequestError) -> ProblemError:
    field = FIELDS.get(error.reason)
    if field is None:  # it is the job that is not so that it can be done
        return problem(409, error.message, reason=str(error.reason))
    errors = (FieldError(field, error.message),)
    return problem(422, f"{field} {error.message}", reason=str(error.reason), errors=errors)


def _of_kube(error: KubeError) -> ProblemError:
    match error:
        case KubeUnavailable():
            detail = "The API server of the cluster does not answer."
            return problem(503, detail, reason="ApiServerUnavailable", headers=TRY_AGAIN)
        case Conflict():
            return problem(409, str(error), reason="Conflict")
        case Forbidden():
            return problem(403, str(error), reason="Forbidden")
        case Invalid():
            errors = (FieldError(_short(cause.field), cause.message) for cause in error.causes)
            return problem(422, str(error), reason="Invalid", errors=errors)
        case NotFound():
            return problem(404, str(error), reason="NotFound")
        case KubeError(status=status) if status in {400, 413, 415, 422}:
            return problem(status, str(error), reason="Refused")
        case _:
            return problem(502, "The API server of the cluster answered with an error.", reason="ApiServerError")


def _of_router(error: HTTPException) -> ProblemError:
    status = error.status_code
    sentences = {
        404: ("There is nothing at this path.", "NotFound"),
        405: ("This path does not know that method.", "MethodNotAllowed"),
    }
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem(500, "Something went wrong here.", reason="Unexpected")
    detail, reason = sentences.get(status, (str(error.detail), None))
    return ProblemError(status, _phrase(status), detail, reason, headers=error.headers)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _of_validation(found: Sequence[Any]) -> ProblemError:
    if any(one["type"] == "json_invalid" and one["loc"][0] == "body" for one in found):
        return problem(400, "The body is not JSON.", reason="MalformedJson")
    errors = [FieldError(field_name(one["loc"]), sentence(one)) for one in found[:MOST_FIELDS]]
    detail = "; ".join(f"{error.field} {error.message}" for error in errors[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return problem(422, f"{detail}{more}.", reason="InvalidFields", errors=errors)


def field_name(loc: Sequence[str | int]) -> str:
    """Return a field's name as it is written: `spec.retry.limit`, `ids[3]`; `body` for the whole of it."""
    parts = loc[1:] if len(loc) > 1 and loc[0] in {"body", "query", "path", "header", "cookie"} else loc
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return _short(text.removeprefix("."))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_FIELD else f"{text[:LONGEST_FIELD]}…"


def sentence(one: Mapping[str, Any]) -> str:
    """Return what is wrong in a pydantic error, as the rest of a sentence that begins with the field's name."""
    message: str = PLAIN.get(one["type"]) or str(one["msg"])
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    for begin in ("Input should", "String should", "List should", "Value should", "Dictionary should"):
        message = message.replace(begin, "must" if message.startswith(f"{begin} be") else "should")
    value = one.get("input")
    if isinstance(value, str) and len(value) > 2 and value in message:
        message = message.replace(value, "…")
    return message


class LastResort:
    """An error that nobody turned into an answer is 500 with an id; where the answer has begun it breaks off.

    Starlette's own last handler raises the error again, and uvicorn logs it a second time.
    """

    def __init__(self, app: ASGIApp, answer: Callable[[Request, Exception], Awaitable[Response]]) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 the form of ASGI
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 whatever it is, its caller gets an answer
            if has_begun:
                _unexpected(scope, error)
                return
            answer = await self._turned(scope, receive, error)
            await answer(scope, receive, send)

    async def _turned(self, scope: Scope, receive: Receive, error: Exception) -> Response:
        try:
            return await self._answer(Request(scope, receive), error)
        except Exception as second:  # noqa: BLE001 the page that should say it is itself at fault
            return _unexpected(scope, second).response()


class _TooLarge(Exception):
    """The body has passed the limit."""


class BodyLimit:
    """413 for a body over 256 KiB: at once where its length is told, else as soon as that much has come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 the form of ASGI
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and int(told[:20]) > LARGEST_BODY:
            await _too_large().response()(scope, receive, send)
            return
        await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, has_begun = 0, False

        async def counting() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LARGEST_BODY:
                raise _TooLarge
            return message

        async def sending(message: Message) -> None:
            nonlocal has_begun
            if size <= LARGEST_BODY or has_begun:  # else the framework's own words for a body that it could not read
                has_begun = True
                await send(message)

        with suppress(_TooLarge):
            await self._app(scope, counting, sending)
        if size > LARGEST_BODY and not has_begun:
            await _too_large().response()(scope, receive, send)


def _too_large() -> ProblemError:
    headers = {"Connection": "close"}
    return problem(413, "The body may have at most 256 KiB.", reason="BodyTooLarge", headers=headers)
