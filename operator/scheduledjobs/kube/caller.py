"""Those who call REST and the pages: who they are and what they may, asked of the API server with their own token.

A caller's request carries the caller's token and nothing else that could speak for somebody: no client certificate,
user, proxy password or cookie of the operator's. So the operator needs no right to review, and none to write.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
import ssl
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from kubernetes.aio import client
from yarl import URL

from scheduledjobs.core.nesting import read_json
from scheduledjobs.core.resource import GROUP, PLURAL
from scheduledjobs.errors import (
    Cause,
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    KubeUnavailable,
    NotAuthenticated,
    NotFound,
)
from scheduledjobs.kube.believed import Believed, Doubt, Line, Monotonic
from scheduledjobs.kube.client import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    REQUEST_SECONDS,
    TRY_AGAIN,
    KubeClient,
    our_errors,
)
from scheduledjobs.kube.renewal import Trust

UNAUTHORIZED, UNPROCESSABLE = 401, 422
REVIEW_SECONDS = 3.0
MOST_CALLERS = 1000
MOST_RIGHTS = 50_000
"""Of all callers. Each namespace is one for each of them: pages ask about all that have jobs, every two seconds."""

LONGEST_TOKEN = 16 * 1024
TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
PATH = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
MAY = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
NOBODY = "system:anonymous"
NO_FIELD = "<nil>"
"""The API server's name for no field: a remark that not every rule was looked at."""

JSON = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "scheduledjobs-web"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls; without a token it is anybody at all, and the operator's own rights do the work."""

    name: str
    groups: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)


ANYBODY = Caller("anonymous")


@dataclass(frozen=True, slots=True)
class Server:
    """Where the API server is and how it proves itself: all that callers take over from the operator."""

    url: str
    tls: ssl.SSLContext
    tls_name: str | None
    proxy: URL | None

    @classmethod
    def of(cls, configuration: client.Configuration) -> Server:
        """Return the server of the operator's own configuration, without its credentials."""
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
        if not configuration.verify_ssl:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        if configuration.disable_strict_ssl_verification:
            tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        url = str(configuration.host).rstrip("/")
        proxy = configuration.proxy or _proxy_of_environment(URL(url))
        return cls(url, tls, configuration.tls_server_name or None, URL(proxy).with_user(None) if proxy else None)


def _proxy_of_environment(url: URL) -> str | None:
    """Return what aiohttp's `trust_env` would find; that one also takes passwords from ~/.netrc."""
    return None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)


class Known:
    """What is known of one token."""

    def __init__(self, line: Line, ask: Callable[[], Awaitable[Caller]], expires_at: float) -> None:
        self.doubt = Doubt()
        self.who = Believed(line, self.doubt, ask)
        self.expires_at = expires_at
        self.rights: OrderedDict[tuple[tuple[str, ...], str | None, str], Believed[bool]] = OrderedDict()


class Callers:
    """Those who call one server: an asynchronous context, of one event loop. All share one session."""

    def __init__(self, configuration: client.Configuration, monotonic: Monotonic = time.monotonic) -> None:
        self._server = Server.of(configuration)
        self._trust = Trust(self._server.tls, configuration, monotonic)
        self._own = KubeClient(configuration, monotonic)
        self._line = Line(monotonic)
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._arriving: dict[bytes, Known] = {}
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Callers:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._server.tls), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._own.api.close()

    async def who(self, token: str) -> Caller:
        """Return whose token it is; `NotAuthenticated` if the API server does not know it, or not any more."""
        check_form(token)
        key = _key(token)
        known = self._find(key) or self._arriving.setdefault(key, self._new(token))
        try:
            caller = await known.who.get()
        except NotAuthenticated:
            self._known.pop(key, None)
            raise
        finally:
            self._arriving.pop(key, None)
        self._keep(key, known)  # only now: tokens that nobody knows must not push out those that somebody does
        return caller

    async def may(
        self, caller: Caller, verb: str, namespace: str | None, *, name: str = "", anew: bool = False
    ) -> bool:
        """Return whether the caller may do that with ScheduledJobs in a namespace, or (None) in all of them.

        `name`: with the job of that name; else with all of them. `anew`: whatever was believed until now; then
        `KubeUnavailable` where the API server does not say.
        """
        return await self.may_any(caller, (verb,), namespace, name=name, anew=anew)

    async def may_any(
        self, caller: Caller, verbs: tuple[str, ...], namespace: str | None, *, name: str = "", anew: bool = False
    ) -> bool:
        """Return whether the caller may do one of these things there; one answer is remembered for all of them."""
        if caller.token is None:
            return True
        key = _key(caller.token)
        known = self._find(key) or self._new(caller.token)
        self._keep(key, known)
        right = known.rights.get((verbs, namespace, name))
        if right is None:
            right = known.rights[verbs, namespace, name] = Believed(
                self._line, known.doubt, lambda: self._ask_rights(caller, verbs, namespace, name)
            )
            self._make_room(known)
        try:
            return await (right.get_anew() if anew else right.get())
        except NotAuthenticated:
            self._known.pop(key, None)
            raise

    def stale_since(self, caller: Caller) -> datetime | None:
        """Return how old what is known of the caller is, if it could not be asked anew; else None."""
        known = None if caller.token is None else self._known.get(_key(caller.token))
        return None if known is None else known.doubt.since

    def forget(self, token: str) -> None:
        """Know nothing of a token any more."""
        self._known.pop(_key(token), None)

    async def request(
        self,
        caller: Caller,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make one request as the caller and return the object that it answers; a refusal has the server's sentence."""
        if not PATH.fullmatch(path):  # a name with a slash or a question mark in it would be another request
            raise NotFound("there is no object of such a name", NOT_FOUND)
        if caller.token is None:
            return await self._request_as_operator(verb, path, query=query, body=body, headers=headers)
        try:
            return await self._request(caller.token, verb, path, query=query, body=body, headers=headers)
        except NotAuthenticated:
            self.forget(caller.token)
            raise

    def _find(self, key: bytes) -> Known | None:
        known = self._known.get(key)
        if known is not None and time.time() >= known.expires_at:
            del self._known[key]
            return None
        return known

    def _keep(self, key: bytes, known: Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > MOST_CALLERS:
            self._known.popitem(last=False)

    def _make_room(self, known: Known) -> None:
        """Forget other callers first: who asks about more than there is room for would forget each answer before its
        next use, since all are asked for in the same order each time."""
        while sum(len(one.rights) for one in self._known.values()) > MOST_RIGHTS:
            if len(self._known) > 1:
                self._known.popitem(last=False)
            else:
                known.rights.popitem(last=False)

    def _new(self, token: str) -> Known:
        return Known(self._line, lambda: self._ask_who(token), expiry(token))

    async def _ask_who(self, token: str) -> Caller:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        user = (await self._review(token, WHO, body))["status"]["userInfo"]
        if user["username"] == NOBODY:
            raise NotAuthenticated("The API server does not see this token: something on the way removes it.")
        return Caller(user["username"], tuple(user.get("groups", ())), token)

    async def _ask_rights(self, caller: Caller, verbs: tuple[str, ...], namespace: str | None, name: str) -> bool:
        for verb in verbs:
            if await self._ask_right(caller, verb, namespace, name):
                return True
        return False

    async def _ask_right(self, caller: Caller, verb: str, namespace: str | None, name: str) -> bool:
        attributes = {"group": GROUP, "resource": PLURAL, "verb": verb, "namespace": namespace or "", "name": name}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        return bool((await self._review(str(caller.token), MAY, body))["status"]["allowed"])

    async def _review(self, token: str, path: str, body: object) -> dict[str, Any]:
        for is_last in (False, True):
            try:
                return await self._request(token, "POST", path, body=body, seconds=REVIEW_SECONDS)
            except KubeUnavailable as error:
                # A connection that lay idle may have been closed just now; a review changes nothing, so: once more.
                if is_last or not isinstance(error.__cause__, aiohttp.ServerDisconnectedError):
                    raise
        raise AssertionError("the loop returns or raises")

    async def _request(
        self,
        token: str,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = REQUEST_SECONDS,
    ) -> dict[str, Any]:
        check_form(token)  # to the API server an empty one is as good as none: a request of system:anonymous
        sent = {**JSON, **(headers or {}), "Authorization": f"Bearer {token}"}
        data = None if body is None else orjson.dumps(body)
        asked = {name: str(value) for name, value in (query or {}).items()}
        self._trust.renew()
        async with (
            our_errors(f"{verb} {path}"),
            asyncio.timeout(seconds),
            self._session.request(
                verb,
                self._server.url + path,
                params=asked,
                data=data,
                headers=sent,
                allow_redirects=False,
                proxy=self._server.proxy,
                server_hostname=self._server.tls_name,
            ) as response,
        ):
            answer = await response.read()
        return _read(response.status, answer)

    async def _request_as_operator(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None,
        body: object,
        headers: Mapping[str, str] | None,
    ) -> dict[str, Any]:
        sent, asked = {**JSON, **(headers or {})}, list((query or {}).items())
        self._own.trust.renew()
        async with our_errors(f"{verb} {path}"), asyncio.timeout(REQUEST_SECONDS):
            prepared = await self._own.api.param_serialize(
                verb, path, query_params=asked, header_params=sent, body=body, auth_settings=["BearerToken"]
            )
            response = await self._own.api.call_api(
                *prepared, _request_timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS)
            )
            answer = await response.read()
        try:
            return _read(response.status, answer)
        except NotAuthenticated as error:  # of the operator itself: nobody can mend that by signing in
            raise Forbidden("the API server does not know the operator's own credentials", UNAUTHORIZED) from error


def _read(status: int, answer: bytes) -> dict[str, Any]:
    """Return the object that was answered; a refusal is raised with the API server's own sentence."""
    if 200 <= status < 300:
        found: dict[str, Any] = read_json(answer)
        return found
    raise refusal(status, answer)


def refusal(status: int, answer: bytes) -> KubeError:
    """Return the error for a Status object, its sentence and the fields it names."""
    try:
        said = orjson.loads(answer)
    except orjson.JSONDecodeError:
        said = None
    said = said if isinstance(said, dict) else {}
    message = str(said.get("message") or f"the API server answered {status}")
    if status == UNAUTHORIZED:
        return NotAuthenticated("The API server does not know this token, or not any more: it may have expired.")
    if status == UNPROCESSABLE:
        causes = (said.get("details") or {}).get("causes") or ()
        named = (cause for cause in causes if cause.get("field", NO_FIELD) != NO_FIELD)
        return Invalid(message, tuple(Cause(str(cause["field"]), str(cause.get("message", ""))) for cause in named))
    kinds: dict[int, type[KubeError]] = {FORBIDDEN: Forbidden, NOT_FOUND: NotFound, CONFLICT: Conflict}
    return (KubeUnavailable if status in TRY_AGAIN else kinds.get(status, KubeError))(message, status)


def check_form(token: str) -> None:
    """Raise `NotAuthenticated` for what can be no token, so that it goes into no header."""
    if not token:
        raise NotAuthenticated("There is no token: who calls is not known.")
    if len(token) > LONGEST_TOKEN or not TOKEN.fullmatch(token):
        raise NotAuthenticated("This is not a token: it has characters that no token has, or too many.")


def expiry(token: str) -> float:
    """Return when a JWT says that it expires, in seconds since 1970; infinity for what is no JWT.

    The signature is not looked at: whoever forges a date here is asked about earlier, or as late as anybody else.
    """
    try:
        part = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return float("inf")


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
