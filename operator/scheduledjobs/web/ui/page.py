"""A page: who sees it, whether it has changed since, what was typed, and where one goes after a POST.

A page that has not changed is answered 304 before any query; a POST is answered by a redirect (303) with a message that
the next page shows once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from scheduledjobs.kube.caller import Caller
from scheduledjobs.web.hub import SLOT_SECONDS
from scheduledjobs.web.models import JobDetail

Scope = frozenset[str] | None
FLASH = "scheduledjobs_flash"
MOST_FLASH = 2400
UI = "/ui/"


@dataclass(frozen=True, slots=True)
class Visit:
    """Who looks at a page, and the namespaces whose jobs that person may see (None: all)."""

    caller: Caller
    scope: Scope


@dataclass(frozen=True, slots=True)
class Flash:
    """What came of an action: `kind` is good or bad; `href` is a page that says more."""

    text: str
    kind: str = "good"
    href: str = ""
    link: str = ""


async def visit(request: Request) -> Visit:
    """Return who looks; NotAuthenticated where nobody has signed in."""
    auth = request.app.state.auth
    caller = await auth.caller(request)
    request.state.caller = caller
    return Visit(caller, await auth.scope(caller))


async def acting(request: Request) -> Visit:
    """Return who acts, having seen that the form is one of our own pages."""
    found = await visit(request)
    await request.app.state.auth.check_origin(request)
    return found


async def fields(request: Request) -> Fields:
    """Return what a form sent."""
    body = (await request.body()).decode("utf-8", "replace")
    return Fields(parse_qsl(body, keep_blank_values=True, max_num_fields=2000))


class Fields(dict[str, str]):
    """The fields of a form: one value each; `all` has the values of one that was sent several times."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def text(self, name: str) -> str:
        """Return a field without the spaces around it; empty where it was not sent."""
        return self.get(name, "").strip()

    def all(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self._pairs if key == name]


async def conditional(
    request: Request, seen: Visit, make: Callable[[], Awaitable[Response]], seconds: float = SLOT_SECONDS
) -> Response:
    """Return 304 where nothing can have changed since this page was made, else what `make` returns, with its ETag.

    `seconds` is for how long it is good though nobody tells of a change: less where it shows heartbeats or output.
    """
    if FLASH in request.cookies:
        return await make()
    stale = request.app.state.auth.stale_since(seen.caller)
    scope = None if seen.scope is None else sorted(seen.scope)
    parts = (request.app.state.hub.stamp(seconds), scope, str(request.url), seen.caller.name, str(stale))
    tag = f'"{sha256(repr(parts).encode()).hexdigest()[:20]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    request.state.etag = tag
    answer = await make()
    if answer.status_code == 200:
        answer.headers["ETag"] = tag
    return answer


def go(path: str, *flashes: Flash) -> Response:
    """Send the browser on to a page after a POST; the messages are shown there once."""
    answer = RedirectResponse(path, 303)
    if flashes:
        value = _packed([(one.text, one.kind, one.href, one.link) for one in flashes])
        answer.set_cookie(FLASH, value, max_age=60, path=UI, httponly=True, samesite="strict")
    return answer


def _packed(found: list[tuple[str, str, str, str]]) -> str:
    """A cookie has room for 4 KB: what does not fit is counted."""
    kept: list[tuple[str, str, str, str]] = []
    for one in found:
        short = (one[0][:600], *one[1:])
        if len(json.dumps([*kept, short])) > MOST_FLASH:
            kept.append((f"… and {len(found) - len(kept)} more", "bad", "", ""))
            break
        kept.append(short)
    return base64.urlsafe_b64encode(json.dumps(kept).encode()).decode()


def flashes(request: Request) -> list[Flash]:
    """Return the messages of the action before; none where the cookie is not one of ours."""
    try:
        found = json.loads(base64.urlsafe_b64decode(request.cookies.get(FLASH, "")))
        made = [Flash(*(str(part) for part in one)) for one in found]
    except (ValueError, TypeError):
        return []
    return [one for one in made[:30] if one.kind in ("good", "bad") and (not one.href or one.href.startswith(UI))]


def new_token() -> str:
    """Return a token by which a form asks for one run, however often it is sent."""
    return f"page-{token_hex(6)}"


def unread(answer: JobDetail) -> str:
    """Return what is added to the message of a change that is made while the leader has not read it, else nothing."""
    return "" if answer.is_mirrored else " The leader has not read it yet."


def href(job: Any, *more: str) -> str:
    """Return the path of a job's page: by name while it lives, else by uid."""
    where = str(job.id) if job.deleted_at else f"{quote(job.namespace, safe='')}/{quote(job.name, safe='')}"
    return "/".join((f"{UI}jobs/{where}", *more))


def link(path: str, query: Mapping[str, Any], **changes: Any) -> str:
    """Return an address with some of its query changed; a value that is empty or None is left out."""
    pairs = {**query, **changes}
    text = urlencode([(key, value) for key, value in pairs.items() if value not in (None, "")], doseq=True)
    return f"{path}?{text}" if text else path
