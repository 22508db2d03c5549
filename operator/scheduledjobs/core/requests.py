"""What a person asks of a job, said in annotations: pause, resume, run now. The same rules for the CLI and for REST.

Each function returns the annotations to change (None removes one); nothing to change means that it is so already.
What cannot be asked for is a `RequestError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from scheduledjobs.core.nesting import cut_json
from scheduledjobs.core.pause import FOREVER, LONGEST, parse_until
from scheduledjobs.core.reasons import Refusal
from scheduledjobs.core.resource import PAUSE_REASON, PAUSED_BY, PAUSED_UNTIL, RUN_NOW, RUN_NOW_PAYLOAD, Resource
from scheduledjobs.core.result import has_nul
from scheduledjobs.core.schedule import YEARS, is_askable
from scheduledjobs.core.spec import MAX_PAYLOAD_BYTES, MOST_PAYLOAD_LEVELS
from scheduledjobs.errors import RequestError

LONGEST_TOKEN = 128
"""Characters of the token that names a run-now."""

Changes = Mapping[str, str | None]
PAUSE_KEYS = (PAUSED_UNTIL, PAUSED_BY, PAUSE_REASON)


def pause(until: str, by: str, reason: str, now: datetime) -> Changes:
    """Return the annotations of a pause until a moment (RFC 3339 with an offset, or `forever`), to the second."""
    end = parse_until(until)
    if end is None:
        message = "must be forever, or RFC 3339 with an offset, such as 2026-12-24T18:00:00Z"
        raise RequestError(Refusal.INVALID_PAUSE, message)
    if end != FOREVER and not is_askable(end):
        raise RequestError(Refusal.INVALID_PAUSE, f"must lie in the years {YEARS[0]} to {YEARS[-1]}")
    if end <= now:
        raise RequestError(Refusal.INVALID_PAUSE, "must lie in the future")
    text = "forever" if end == FOREVER else end.replace(microsecond=0).isoformat().replace("+00:00", "Z")
    return {PAUSED_UNTIL: text, PAUSED_BY: _short(by), PAUSE_REASON: _short(reason)}


def _short(text: str) -> str | None:
    return text.replace("\0", "")[:LONGEST] or None


def resume(resource: Resource) -> Changes:
    """Return the annotations to remove; a job that its manifest suspends cannot be resumed by an annotation."""
    if resource.spec.get("suspend"):
        message = "spec.suspend is true in the manifest: set it to false there"
        raise RequestError(Refusal.SUSPENDED_BY_SPEC, message)
    return {key: None for key in PAUSE_KEYS if key in resource.meta.annotations}


def run_now(resource: Resource, token: str, payload: str | None, recorded: str | None = None) -> Changes:
    """Return the annotations that ask for one run, named by `token`; `payload`, a JSON object, is used for that run.

    There is room for one request: an outstanding one must be recorded first. The same token is the same request.
    `recorded` is a token that is known to be recorded, though the status does not show it yet.
    """
    check_token(token)
    if payload is not None:
        read_payload(payload)
    known, handled = resource.meta.annotations.get(RUN_NOW), resource.status.get("lastHandledRunNow")
    if known == token:
        check_same(token, payload, resource.meta.annotations.get(RUN_NOW_PAYLOAD))
        return {}
    if known and known not in (handled, recorded) and is_taken(known):
        message = f"the request {known} is not recorded yet; try again when status.lastHandledRunNow shows it"
        raise RequestError(Refusal.RUN_REQUEST_PENDING, message)
    return {RUN_NOW: token, RUN_NOW_PAYLOAD: payload}


def is_taken(token: str) -> bool:
    """Return whether a leader takes this token: else nothing comes of it, and no echo."""
    try:
        check_token(token)
    except RequestError:  # whoever wrote it with kubectl: it stands in nobody's way, since nothing will come of it
        return False
    return True


def check_same(token: str, payload: str | None, before: str | None) -> None:
    """Raise `RequestError` where a token comes again with another payload; without one it asks for the same run."""
    if payload is None or payload == before:
        return
    try:
        is_same = before is not None and json.loads(before) == json.loads(payload)
    except (ValueError, RecursionError):  # whoever wrote it with kubectl
        is_same = False
    if not is_same:
        message = (
            f"the request {token} was made with another payload, and is one run: take another token for another run"
        )
        raise RequestError(Refusal.RUN_REQUEST_DIFFERS, message)


def check_token(token: str) -> None:
    """Raise `RequestError` for a token that no leader would take."""
    if not 1 <= len(token) <= LONGEST_TOKEN:
        raise RequestError(Refusal.INVALID_TOKEN, f"must have 1 to {LONGEST_TOKEN} characters")
    if "\0" in token:
        raise RequestError(Refusal.INVALID_TOKEN, "must not contain NUL")


def read_payload(text: str) -> dict[str, Any]:
    """Return a payload; `RequestError` where it is not a JSON object, or not one that a row should hold.

    The leader reads it so as well: what is refused there must be refused to the person who asks.
    """
    try:
        data = text.encode()
        if cut_json(data, MOST_PAYLOAD_LEVELS) != data:  # before a reader meets it that recurses
            raise RequestError(Refusal.INVALID_PAYLOAD, f"must not be nested deeper than {MOST_PAYLOAD_LEVELS} levels")
        payload = orjson.loads(data)  # not json.loads: it takes NaN, infinities and lone surrogates, which are no JSON
    except ValueError as error:
        raise RequestError(Refusal.INVALID_PAYLOAD, f"must be a JSON object: {error}") from None
    if not isinstance(payload, dict):
        raise RequestError(Refusal.INVALID_PAYLOAD, 'must be a JSON object, such as {"message": "hello"}')
    if has_nul(data):
        raise RequestError(Refusal.INVALID_PAYLOAD, "must not contain NUL")
    if (size := len(orjson.dumps(payload))) > MAX_PAYLOAD_BYTES:
        message = f"has {size} bytes as JSON; at most {MAX_PAYLOAD_BYTES} are allowed"
        raise RequestError(Refusal.INVALID_PAYLOAD, message)
    return payload
