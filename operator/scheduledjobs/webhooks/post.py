"""Post a message to a webhook: once, within five seconds, without following a redirect.

The URL is the operator's, so where it leads is not guarded; but it is a secret, and it may hold one (Slack's do). No
error says more of it than why there was no answer, and what a server says back is told without what the URL holds.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from scheduledjobs.core.hidden import Hidden
from scheduledjobs.core.notice_forms import CONTENT_TYPES, plain
from scheduledjobs.core.notices import Webhook, is_http
from scheduledjobs.errors import WebhookError

SECONDS = 5.0
MOST_READ = 1024
LONGEST_FILE = 4096
OK, REDIRECTS, CLIENT_ERRORS, SERVER_ERRORS = range(200, 300), range(300, 400), range(400, 500), range(500, 600)
WORTH_RETRYING = frozenset({401, 403, 404, 407, 408, 410, 421, 423, 425, 429})
"""Of the answers 4xx: those that may be another one once the webhook is put right, or has time. Others are said of the
message itself, which will not change."""


async def post(webhook: Webhook, body: dict[str, Any], now: datetime) -> int:
    """Send a message and return the status of the answer, 2xx; `WebhookError` where it did not arrive."""
    url = await asyncio.to_thread(_url, webhook)
    headers = {"Content-Type": CONTENT_TYPES[webhook.format], "User-Agent": "scheduledjobs"}
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    connector = aiohttp.TCPConnector(force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(url, data=orjson.dumps(body), headers=headers, allow_redirects=False) as response,
        ):
            said = await response.content.read(MOST_READ) if response.status not in OK else b""
    except TimeoutError:
        raise WebhookError(f"no answer within {SECONDS:g} s") from None
    except aiohttp.ClientError as error:
        raise WebhookError(_why(error)) from None
    except ValueError:
        raise WebhookError("its URL cannot be called") from None
    if response.status not in OK:
        text = _secrets(url).mask(said.decode(errors="replace"))
        raise _refusal(response.status, response.headers.get("Retry-After"), text, now)
    return response.status


def _secrets(address: str) -> Hidden:
    """Return what a URL holds beside its host, whole and in parts: a server that echoes it echoes secrets."""
    url, hidden = URL(address), Hidden()
    parts = [url.path_qs, url.path, *url.parts, *url.query.values(), url.user or "", url.password or ""]
    for part in (address, url.raw_path_qs, *url.raw_parts, url.raw_query_string, *parts):
        hidden.add(part)
    return hidden


def _url(webhook: Webhook) -> str:
    if webhook.url is not None:
        return webhook.url.get_secret_value()
    assert webhook.url_file is not None  # noqa: S101 the model has one of both
    try:
        with Path(webhook.url_file).open("rb") as file:
            url = file.read(LONGEST_FILE).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise WebhookError(f"{webhook.url_file} cannot be read: {why}") from None
    if not is_http(url):
        raise WebhookError(f"{webhook.url_file} does not hold a URL that begins with https:// or http://")
    return url


def _why(error: aiohttp.ClientError) -> str:
    """Return what went wrong, without the URL that aiohttp's own messages may quote."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        detail = getattr(error.certificate_error, "verify_message", "") or "it cannot be verified"
        return f"its certificate is refused: {detail}"
    if isinstance(error, aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return "no TLS connection can be made"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host's name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or type(error.os_error).__name__}"
    if isinstance(error, aiohttp.InvalidURL):
        return "its URL cannot be called"
    return f"the connection broke: {type(error).__name__}"


def _refusal(status: int, retry_after: str | None, said: str, now: datetime) -> WebhookError:
    if status in REDIRECTS:
        return WebhookError(f"it answered {status}: redirects are not followed")
    message = f"it answered {status}: {plain(said, 100)}".rstrip(": ")
    is_final = status in CLIENT_ERRORS and status not in WORTH_RETRYING
    return WebhookError(message, retry_after=_seconds(retry_after, now), is_final=is_final)


def _seconds(text: str | None, now: datetime) -> timedelta | None:
    """Read Retry-After: seconds, or a date."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return timedelta(seconds=min(int(text.strip()[:9]), 10**6))
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year beyond what C can count
        return None
    return max(timedelta(0), (at if at.tzinfo else at.replace(tzinfo=UTC)) - now)
