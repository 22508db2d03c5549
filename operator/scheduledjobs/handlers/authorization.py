"""What an http request carries of a credential, and what its payload may not carry in place of one.

The keys of the Secret say what is sent: `token` as `Authorization: Bearer`, `username` and `password` as Basic (so a
Secret of type kubernetes.io/basic-auth fits), `header.X-Api-Key` as that header. A header has a key of its own so that
it is rotated alone and nothing has to be parsed, whose errors would quote it. All of it goes to the hosts that the
credential names and to no other: a person who may write jobs could otherwise have it sent to a server of theirs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from yarl import URL

from scheduledjobs.core.reasons import Reason
from scheduledjobs.errors import CredentialError, SpecError
from scheduledjobs.handlers.credentials import Credential, Keys, credentials
from scheduledjobs.handlers.execution import hide

TOKEN, USER, PASSWORD, HEADER = "token", "username", "password", "header."
AUTHORIZATION = "Authorization"
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
SECRET = frozenset({"authorization", "proxy-authorization", "cookie"})
STEERING = frozenset({"host", "connection", "content-length", "te", "trailer", "transfer-encoding", "upgrade"})
"""With these a payload could have a server behind the same address take the request, and so the credential."""

NO_PLACE = (
    "a resource is no place for a secret: name a credential that the operator was given, in spec.payload.credential"
)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `ValueError` for headers that are secrets by their name, or would break out of their line."""
    for name, value in headers.items():
        if NAME.fullmatch(name) is None:
            raise ValueError(f"{name[:64]!r} is not the name of a header")
        if any(char in value for char in "\r\n\0"):
            raise ValueError(f"{name[:64]}: must be one line")
        if name.lower() in SECRET:
            raise ValueError(f"{name}: {NO_PLACE}")


def check_credential(namespace: str, name: str, url: URL, headers: Mapping[str, str]) -> None:
    """Raise `SpecError` unless a job of this namespace may have the credential sent to that URL."""
    found = credentials.find(name, namespace)
    if found.path is None or not found.hosts:
        raise _refused("credential", f"{name!r} is not for http: the operator was given no {_lacks(found)} for it")
    if not found.may_go_to(url.scheme, url.raw_host or "", url.port):
        allowed = ", ".join(found.hosts)
        raise _refused("url", f"credential {name!r} must not be sent to {url.origin()}; it may be to {allowed}")
    steering = sorted(key for key in headers if key.lower() in STEERING)
    if steering:
        raise _refused("headers", f"{', '.join(steering)} must not be set where a credential is sent")


def _lacks(credential: Credential) -> str:
    return "path" if credential.path is None else "hosts"


def _refused(field: str, sentence: str) -> SpecError:
    return SpecError(Reason.INVALID_PAYLOAD, f"spec.payload.{field}: {sentence}")


def headers_of(credential: Credential) -> dict[str, str]:
    """Return the headers that carry a credential; `CredentialError` where its keys make none. It reads files."""
    keys = credential.keys()
    found = {name.removeprefix(HEADER): keys.read(name) for name in sorted(keys.names) if name.startswith(HEADER)}
    for name in found:
        if NAME.fullmatch(name) is None or name.lower() in STEERING:
            raise CredentialError(
                f"credential {keys.name!r}: the key {HEADER + name!r} names no header that may be set"
            )
    ways = [name for name in found if name.lower() == AUTHORIZATION.lower()]
    ways += [name for name in (TOKEN, USER) if name in keys.names]
    if len(ways) > 1:
        raise CredentialError(f"credential {keys.name!r} has {' and '.join(ways)}: which one is meant?")
    if TOKEN in keys.names:
        found[AUTHORIZATION] = f"Bearer {keys.read(TOKEN)}"
    elif USER in keys.names or PASSWORD in keys.names:
        found[AUTHORIZATION] = f"Basic {_basic(keys)}"
    if not found:
        known = f"{TOKEN}, {USER} and {PASSWORD}, {HEADER}NAME"
        raise CredentialError(f"credential {keys.name!r} has none of the keys that http sends: {known}")
    return found


def _basic(keys: Keys) -> str:
    user, password = keys.read(USER), keys.read(PASSWORD)
    if ":" in user:
        raise CredentialError(f"credential {keys.name!r}: the key {USER!r} must not hold a colon")
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    hide(encoded)
    return encoded
