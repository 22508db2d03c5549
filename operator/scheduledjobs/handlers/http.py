"""The built-in handler `http`: one HTTP request per execution, with an Idempotency-Key and a guard on where it goes.

The guard looks at the address that is connected to, after names are resolved, so a name that resolves to another
address the next time gains nothing. Loopback, link-local (where clouds keep credentials), multicast and reserved
addresses are refused unless SCHEDULEDJOBS_HTTP_ALLOW names them; private ones are where a cluster's Services live.
Secrets come by the name of a credential, never from the payload (`authorization.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Literal

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from multidict import CIMultiDict
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, field_validator
from yarl import URL

from scheduledjobs.errors import Permanent, SettingsError
from scheduledjobs.handlers import tracing
from scheduledjobs.handlers.authorization import NO_PLACE, check_credential, check_headers, headers_of
from scheduledjobs.handlers.credentials import credentials
from scheduledjobs.handlers.execution import Execution, without_hidden
from scheduledjobs.handlers.registry import handler
from scheduledjobs.handlers.threads import in_secrets_thread

MOST_READ = 64 * 1024
MOST_SECONDS = 3600
LONGEST_TEXT = 200
HTTP_ERROR, SERVER_ERROR = 400, 500
WORTH_RETRYING = frozenset({408, 425, 429})
NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
METADATA = frozenset(
    ip_address(text)
    for text in ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
"""Where clouds hand out credentials besides link-local: AWS, EKS, Google, Alibaba, Azure, Oracle."""

Address = IPv4Address | IPv6Address


class HttpPayload(BaseModel):
    """The request to make."""

    model_config = ConfigDict(extra="forbid")

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field(default="GET", description="HTTP method")
    url: HttpUrl = Field(description="http or https")
    credential: str | None = Field(
        default=None, max_length=63, description="Name of a credential that the operator was given, sent along"
    )
    headers: dict[str, str] = Field(
        default_factory=dict, max_length=32, description="Headers; secrets come by a credential"
    )
    body: Any = Field(default=None, description="A text is sent as it is, anything else as JSON")
    seconds: float = Field(default=30, gt=0, le=MOST_SECONDS, description="Most time that the request may take")

    @field_validator("url")
    @classmethod
    def _has_no_login(cls, value: HttpUrl) -> HttpUrl:
        if value.username or value.password:
            raise ValueError(f"must not hold a user or password: {NO_PLACE}")
        return value

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, value: dict[str, str]) -> dict[str, str]:
        check_headers(value)
        return value


def check(namespace: str, payload: BaseModel) -> None:
    """Refuse a credential that this namespace may not use, or that may not be sent to the URL."""
    assert isinstance(payload, HttpPayload)  # noqa: S101 the registry has validated it
    if payload.credential is not None:
        check_credential(namespace, payload.credential, URL(str(payload.url)), payload.headers)


class HttpError(Exception):
    """The server did not answer as it should."""


class AddressRefused(Permanent):
    """The guard does not let the request go to this address."""


class Guard:
    """Which addresses may be called."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """`allow` are CIDRs that may be called besides public and private addresses."""
        try:
            self._allow = [ip_network(cidr) for cidr in allow]
        except ValueError as error:
            raise SettingsError(f"SCHEDULEDJOBS_HTTP_ALLOW: must be CIDRs such as 127.0.0.0/8: {error}") from error

    def check(self, text: str) -> None:
        """Raise `AddressRefused` unless this address may be called."""
        address = _real(ip_address(text.split("%")[0]))
        if any(address in network for network in self._allow):
            return
        refused = (
            address.is_loopback
            or address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or address.is_reserved
            or address in METADATA
        )
        if refused:
            raise AddressRefused(f"{address} must not be called; SCHEDULEDJOBS_HTTP_ALLOW can allow it")


def _real(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if any(address in network for network in NAT64):
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.sixtofour or address
    return address


class GuardedResolver(AbstractResolver):
    """Resolves names, and refuses them where one of their addresses is refused."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        """Return the addresses of a name, all of them allowed."""
        found = await self._inner.resolve(host, port, family)
        for result in found:
            self._guard.check(result["host"])
        return found

    async def close(self) -> None:
        """Nothing is held open."""


_guard = Guard()


def allow(cidrs: Sequence[str]) -> None:
    """Set what the operator's settings allow, for this process."""
    global _guard  # one guard a process: a payload cannot choose another
    _guard = Guard(cidrs)


@handler("http", payload=HttpPayload, check=check)
async def http(execution: Execution, payload: HttpPayload) -> dict[str, Any]:
    """Make the request; 2xx succeeds, 4xx fails for good, 5xx and no answer fail."""
    url = URL(str(payload.url))
    _check_literal(url)
    sent = payload.body if isinstance(payload.body, str | None) else None
    json = None if isinstance(payload.body, str | None) else payload.body
    headers = await _headers(execution, payload)
    connector = aiohttp.TCPConnector(resolver=GuardedResolver(_guard), force_close=True)
    timeout = aiohttp.ClientTimeout(total=payload.seconds)
    try:
        with tracing.request(payload.method, url, headers) as answered:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
                session.request(
                    payload.method, url, headers=headers, data=sent, json=json, allow_redirects=False
                ) as response,
            ):
                answered(response.status)
                read = await _read_some(response)
                return _judge(execution, response, read)
    except TimeoutError:
        raise HttpError(f"no answer from {url.host} within {payload.seconds:g} s") from None
    except aiohttp.ClientError as error:
        raise HttpError(f"{url.host}:{url.port}: {type(error).__name__}: {error}") from error


async def _headers(execution: Execution, payload: HttpPayload) -> CIMultiDict[str]:
    """Return what is sent; a payload that spells a name of ours in another way does not send it twice."""
    headers = CIMultiDict({"User-Agent": "scheduledjobs"})
    headers.update(payload.headers)
    if payload.credential is not None:
        check(execution.namespace, payload)  # here too: nothing but this stands between it and another's server
        found = credentials.find(payload.credential, execution.namespace)
        headers.update(await in_secrets_thread(headers_of, found))
    headers["Idempotency-Key"] = execution.idempotency_key
    return headers


def _check_literal(url: URL) -> None:
    """A literal address never meets the resolver, so it is checked here."""
    try:
        ip_address((url.host or "").split("%")[0])
    except ValueError:
        return
    _guard.check(url.host or "")


async def _read_some(response: aiohttp.ClientResponse) -> bytes:
    found = b""
    async for chunk in response.content.iter_chunked(16 * 1024):
        found += chunk
        if len(found) >= MOST_READ:
            break
    return found[:MOST_READ]


def _judge(execution: Execution, response: aiohttp.ClientResponse, read: bytes) -> dict[str, Any]:
    execution.logger.info("%s %s: %s", response.method, response.url.host, response.status)
    if response.ok and response.status < 300:
        return {"status": response.status, "bytes": len(read)}
    text = without_hidden(read.decode(errors="replace"))[:LONGEST_TEXT]
    message = f"{response.status} {response.reason}: {text}".rstrip(": ")
    if response.status < HTTP_ERROR:
        raise Permanent(
            f"{response.status}: redirects are not followed; the Location is {response.headers.get('Location')}"
        )
    if response.status < SERVER_ERROR and response.status not in WORTH_RETRYING:
        raise Permanent(message)
    raise HttpError(message)
