"""Every error this project raises on purpose, in one tree.

ScheduledJobsError
├── SettingsError            a setting is wrong; the message names it
├── SpecError                a resource's spec cannot work: reason and message go to its condition
├── RequestError             what a person asks of a job cannot be done; reason for programs, message for people
├── StoreError               Postgres refused or cannot be reached
│   ├── StoreUnavailable     no connection, or it broke: try again later
│   │   └── StoreBusy        somebody else's lock was in the way: try again, other rows may be free
│   ├── TermLost             another leader's term is in force: step down
│   └── SchemaError          the database's schema is not the one this program needs
│       └── SchemaTooOld     and `scheduledjobs migrate` mends that
├── KubeError                the API server refused or cannot be reached
│   ├── KubeUnavailable      no answer, or a 5xx or 429: try again later
│   ├── NotFound             404: there is no such object
│   ├── Conflict             409: somebody else changed the object first
│   ├── Forbidden            401 or 403: the message names the verb and resource that RBAC must grant
│   ├── Invalid              422: the object is not as it must be; causes name the fields
│   └── NotAuthenticated     the caller shows no token, or one that the API server does not know
├── WebhookError             a message did not arrive at a webhook
└── HandlerError             raised by job code to steer its own execution
    ├── Permanent            ends the execution as FAILED, without a retry
    ├── CredentialError      a credential has not what the handler needs; FAILED, and retried: a Secret can be mended
    ├── Failed               fails the attempt for what happened elsewhere: a sentence and a result, no traceback
    └── Retry                fails the attempt and names the wait before the next one
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from scheduledjobs.core.reasons import Reason, Refusal


class ScheduledJobsError(Exception):
    """The base of every error of this project."""


class SettingsError(ScheduledJobsError):
    """A setting is wrong; the message names it and says what is allowed."""


class SpecError(ScheduledJobsError):
    """A spec cannot work; `reason` is the Ready condition's reason, the message a sentence for people.

    `fields` are all the fields that are wrong, each with what is wrong with it, where more than one can be.
    """

    def __init__(self, reason: Reason, message: str, fields: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.fields = tuple(fields)


class RequestError(ScheduledJobsError):
    """A request on a job is refused; the message is a sentence without its subject, the option or field at fault."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class StoreError(ScheduledJobsError):
    """Postgres refused a statement."""


class StoreUnavailable(StoreError):
    """Postgres cannot be reached, or the connection broke in the middle."""


class StoreBusy(StoreUnavailable):
    """A lock was waited for in vain, or Postgres chose this statement to give way; the connection is good."""


class TermLost(StoreError):
    """The term of this leader is no longer in force; nothing was written."""


class SchemaError(StoreError):
    """The database's schema is older, newer or other than this program needs."""


class SchemaTooOld(SchemaError):
    """The database has no schema, or an older one than this program needs."""


class KubeError(ScheduledJobsError):
    """The API server refused a request; `status` is the HTTP status, or 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class KubeUnavailable(KubeError):
    """The API server gave no answer, or one that asks to try again later."""


class NotFound(KubeError):
    """There is no such object."""


class Conflict(KubeError):
    """Somebody else changed the object first."""


class Forbidden(KubeError):
    """The operator's credentials do not allow the request."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One field of an object that the API server refuses, and why."""

    field: str
    message: str


class Invalid(KubeError):
    """The object is not as it must be; `causes` says which fields, as far as the API server does."""

    def __init__(self, message: str, causes: tuple[Cause, ...] = ()) -> None:
        super().__init__(message, 422)
        self.causes = causes


class NotAuthenticated(KubeError):
    """The caller shows no token, or one that the API server does not know (any more)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 401)


class WebhookError(ScheduledJobsError):
    """A message did not arrive; `retry_after` is what the webhook asks for, `is_final`: it will never take this one."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None, is_final: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_final = is_final


class HandlerError(ScheduledJobsError):
    """Raised by job code to steer its own execution."""


class Permanent(HandlerError):
    """Ends the execution as FAILED, whatever retries remain."""


class CredentialError(HandlerError):
    """A credential cannot be read; the message names it and the key, never the value."""


class Failed(HandlerError):
    """Fails the attempt for what happened outside of this process: its row has the message and the result."""

    def __init__(self, message: str, result: Any = None, *, is_permanent: bool = False) -> None:
        """`is_permanent` ends the execution, whatever retries remain."""
        super().__init__(message)
        self.result = result
        self.is_permanent = is_permanent


LONGEST_DELAY = timedelta(days=30)


class Retry(HandlerError):
    """Fails the attempt; the next one, if the spec's retry.limit allows one, starts after `delay`."""

    def __init__(self, delay: timedelta, message: str = "") -> None:
        """`ValueError` for a delay that is negative or longer than 30 days."""
        super().__init__(message or f"to be tried again after {delay}")
        if not timedelta(0) <= delay <= LONGEST_DELAY:
            raise ValueError("the delay of Retry must be between 0 and 30 days")
        self.delay = delay


def named(error: BaseException) -> str:
    """Return an error's type and what it says; not its repr, since those of aiohttp have the headers of the request."""
    return f"{type(error).__name__}: {error}".rstrip(": ")
