"""Who calls REST or a page, and what they may see: the caller's own token says so, in a header or in a cookie.

There is no store of sessions: the cookie holds the token itself, so every replica serves it, and it ends when the
token does. A cookie is sent by browsers whoever made them do so; so what changes something must come from a page of
ours, unless the token is in the header, where no other site's page can put it.
"""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse

from scheduledjobs.errors import NotAuthenticated, ScheduledJobsError
from scheduledjobs.kube.caller import ANYBODY, Caller, Callers
from scheduledjobs.settings import Settings, is_loopback
from scheduledjobs.web.problems import ProblemError, problem, problem_of

COOKIE = "scheduledjobs_session"
HOME = "/ui/"
LOGIN = "/ui/login"
LOGOUT = "/ui/logout"
LONGEST_COOKIE = 3800
LONGEST_NEXT = 2000
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
READING = ("list", "get")
REVIEWS_AT_ONCE = 8
NAMESPACES_SECONDS = 1.0
NO_STORE = {"Cache-Control": "no-store"}


class Auth:
    """Who may, on one server."""

    def __init__(
        self, settings: Settings, callers: Callers, namespaces: Callable[[], Awaitable[Sequence[str]]]
    ) -> None:
        self.callers = callers
        self.is_open = settings.auth != "token"
        self._is_local = settings.auth == "none"
        self._namespaces = namespaces
        self._listed: tuple[str, ...] = ()
        self._listed_at = float("-inf")

    async def caller(self, request: Request) -> Caller:
        """Return who calls. `NotAuthenticated` without a token that counts, `ProblemError` 403 if it is forged."""
        if self.is_open:
            await self.check_origin(request)
            return ANYBODY
        token = bearer(request)
        if token is None:
            token = request.cookies.get(COOKIE)
        if not token:  # said before anything else: whoever shows nothing is not taken for one who forges
            raise NotAuthenticated("Who calls is not known: sign in, or send a token as `Authorization: Bearer TOKEN`.")
        await self.check_origin(request)
        return await self.callers.who(token)

    async def may_now(self, caller: Caller, verb: str, namespace: str, name: str = "") -> bool:
        """Return whether the caller may do that with a job of that name, or ("") of any, in a namespace.

        It is asked anew: for what is written.
        """
        return await self.callers.may(caller, verb, namespace, name=name, anew=True)

    async def scope(self, caller: Caller) -> frozenset[str] | None:
        """Return the namespaces whose jobs and history the caller may see; None: all."""
        if await self._may_read(caller, None):
            return None
        turns = asyncio.Semaphore(REVIEWS_AT_ONCE)

        async def ask(namespace: str) -> bool:
            async with turns:
                return await self._may_read(caller, namespace)

        names = await self._all_namespaces()
        answers = await asyncio.gather(*(ask(name) for name in names))
        return frozenset(name for name, may in zip(names, answers, strict=True) if may)

    def learn(self, namespace: str) -> None:
        """A job was made in this namespace just now: whoever made it wants to see it."""
        if namespace not in self._listed:
            self._listed = (*self._listed, namespace)

    def stale_since(self, caller: Caller) -> datetime | None:
        """Return how old what is known of the caller is, while the API server cannot be asked; else None."""
        return self.callers.stale_since(caller)

    async def check_origin(self, request: Request) -> None:
        """Raise `ProblemError` for a request that another site's page may have caused."""
        if self._is_local and not is_loopback(_host(request.headers.get("host", ""))):
            detail = "This server answers only under localhost: another name that leads here is not to be trusted."
            raise problem(421, detail, reason="ForeignHost")
        if request.method in SAFE_METHODS:
            return
        # A proxy that signs people in puts a token into what their browsers send, so a token alone proves nothing.
        if bearer(request) is not None and "origin" not in request.headers:
            return
        if not is_own(request):
            detail = "The request does not come from a page of this server: its Origin is missing or another one."
            raise problem(403, detail, reason="ForgedOrigin")

    async def _may_read(self, caller: Caller, namespace: str | None) -> bool:
        return await self.callers.may_any(caller, READING, namespace)

    async def _all_namespaces(self) -> tuple[str, ...]:
        """Return the namespaces that have jobs, at most a second old: pages poll, and the answer is everybody's."""
        now = time.monotonic()
        if now - self._listed_at >= NAMESPACES_SECONDS:
            self._listed = tuple(await self._namespaces())
            self._listed_at = now
        return self._listed


def bearer(request: Request) -> str | None:
    """Return the token of the header `Authorization: Bearer`, or None where there is no such header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def is_own(request: Request) -> bool:
    """Return whether a browser says that the request comes from a page of this server."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return False
    # A proxy may put a name of its own into Host. No page of another site can send either without being asked first.
    forwarded = request.headers.get("x-forwarded-host", "").split(",")[0].strip()
    own = {_place(parts.scheme, name) for name in (request.headers.get("host", ""), forwarded) if name}
    return _place(parts.scheme, parts.netloc) in own


def _place(scheme: str, netloc: str) -> str:
    return netloc.lower().removesuffix(":443" if scheme == "https" else ":80")


def _host(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def local_path(wanted: str | None) -> str:
    """Return the page to go on to: `wanted` if it is one of ours, else the first."""
    if wanted is None or not wanted.startswith(HOME) or len(wanted) > LONGEST_NEXT:
        return HOME
    if "\\" in wanted or not wanted.isprintable() or wanted.startswith((LOGIN, LOGOUT)):
        return HOME
    return wanted


def to_login(request: Request) -> Response:
    """Send a browser to the page where one signs in, and back from there to what it asked for.

    A browser that follows another site's link to us sends no SameSite=Strict cookie along. It gets a page that leads on
    to the very same address, now as a link of ours: then the cookie comes, if there is one.
    """
    query = f"?{request.url.query}" if request.url.query else ""
    wanted = f"{request.url.path}{query}" if request.method == "GET" else HOME
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        link = html.escape(local_path(wanted))
        head = f'<!doctype html><title>ScheduledJobs</title><meta http-equiv="refresh" content="0;url={link}">'
        return HTMLResponse(f'{head}<a href="{link}">Go on</a>', headers=NO_STORE)
    return RedirectResponse(f"{LOGIN}?next={quote(wanted, safe='/')}", 303, NO_STORE)


def sign_in(request: Request, token: str) -> dict[str, str]:
    """Return the headers that let a browser keep a token; `ProblemError` 400 for one that is too long for a cookie."""
    if len(token.encode()) > LONGEST_COOKIE:
        detail = f"The token is longer than browsers keep ({LONGEST_COOKIE} bytes); use one with fewer groups."
        raise problem(400, detail, reason="TokenTooLong")
    return {"Set-Cookie": _cookie(request, token), **NO_STORE}


def sign_out(request: Request) -> dict[str, str]:
    """Return the headers that let a browser forget the token."""
    return {"Set-Cookie": f"{_cookie(request, '')}; Max-Age=0", **NO_STORE}


def _cookie(request: Request, value: str) -> str:
    forwarded = request.headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    secure = "; Secure" if "https" in {request.url.scheme, forwarded} else ""
    return f"{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/{secure}"


login_router = APIRouter(include_in_schema=False)


@login_router.get(LOGIN)
async def show_login(request: Request) -> Response:
    """Show the form, or go on at once where nobody has to sign in."""
    wanted = local_path(request.query_params.get("next"))
    if _auth(request).is_open:
        return RedirectResponse(wanted, 303, NO_STORE)
    return await _form(request, wanted, None)


@login_router.post(LOGIN)
async def log_in(request: Request) -> Response:
    """Take the token of the form if the API server knows it, and go on to `next`."""
    auth = _auth(request)
    await auth.check_origin(request)
    try:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    except ValueError:
        raise problem(400, "The form has too many fields.", reason="BadForm") from None
    wanted = local_path(fields.get("next", [""])[-1])
    token = fields.get("token", [""])[-1].strip().removeprefix("Bearer ").strip()
    if auth.is_open:
        return RedirectResponse(wanted, 303, NO_STORE)
    try:
        headers = sign_in(request, token)
        await auth.callers.who(token)
    except ScheduledJobsError as error:
        return await _form(request, wanted, problem_of(error))
    except ProblemError as error:
        return await _form(request, wanted, error)
    return RedirectResponse(wanted, 303, headers)


@login_router.post(LOGOUT)
async def log_out(request: Request) -> Response:
    """Let browser and server forget the token."""
    auth = _auth(request)
    await auth.check_origin(request)
    token = request.cookies.get(COOKIE)
    if token:
        auth.callers.forget(token)
    return RedirectResponse(LOGIN, 303, sign_out(request))


async def _form(request: Request, wanted: str, refused: ProblemError | None) -> Response:
    error = None if refused is None else refused.detail
    page: Response = await request.app.state.render(request, "login.html", next=wanted, error=error)
    if refused is not None:
        page.status_code = refused.status
        page.headers.update(refused.headers)
    page.headers.update(NO_STORE)
    return page


def _auth(request: Request) -> Auth:
    found: Auth = request.app.state.auth
    return found
