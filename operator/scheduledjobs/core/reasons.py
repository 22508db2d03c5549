"""The closed vocabularies: one enum each, shared by rows, conditions, events, metrics and docs.

SQL holds a state in capitals (TIMED_OUT), the resource in CamelCase (TimedOut): `camel` maps one to the other.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache


class State(StrEnum):
    """State of one execution (column `state` of job_execution_log)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    SKIPPED = "SKIPPED"
    MISSED = "MISSED"


class JobState(StrEnum):
    """State of one job (column `state` of job_definition)."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    INVALID = "INVALID"
    COMPLETED = "COMPLETED"
    DELETED = "DELETED"


class Trigger(StrEnum):
    """What asked for an execution (column `trigger`)."""

    SCHEDULE = "SCHEDULE"
    MANUAL = "MANUAL"
    CATCH_UP = "CATCH_UP"


class ScheduleKind(StrEnum):
    """Which of the four schedule fields a spec sets (column `schedule_kind`)."""

    CRON = "CRON"
    FIXED_RATE = "FIXED_RATE"
    FIXED_DELAY = "FIXED_DELAY"
    ONE_SHOT = "ONE_SHOT"


class Reason(StrEnum):
    """Why a row, a condition or an event says what it says: one CamelCase word."""

    # Ready=True
    SCHEDULED = "Scheduled"
    SUSPENDED = "Suspended"  # also: moments of a suspended job (SKIPPED), moments settled by a suspension (MISSED)
    COMPLETED = "Completed"
    # Ready=False
    INVALID_SCHEDULE = "InvalidSchedule"
    INVALID_SPEC = "InvalidSpec"  # also: an execution whose version its replica cannot read (FAILED)
    UNKNOWN_TIME_ZONE = "UnknownTimeZone"
    HANDLER_NOT_FOUND = "HandlerNotFound"
    INVALID_PAYLOAD = "InvalidPayload"  # also: an execution whose payload its handler refuses (FAILED)
    FIRE_FAILED = "FireFailed"
    QUOTA_EXCEEDED = "QuotaExceeded"
    INVALID_PAUSE = "InvalidPause"  # Ready=True, and suspended: what the pause says cannot be read
    # PENDING
    QUEUED = "Queued"
    REPLACING = "Replacing"
    CATCHING_UP = "CatchingUp"
    RETRYING = "Retrying"
    HANDED_OVER = "HandedOver"  # also of a RUNNING row that was: its work goes on outside, and another replica watches
    # SKIPPED
    OVERLAP = "Overlap"
    QUEUE_FULL = "QueueFull"
    REPLACED = "Replaced"  # also: a run that a newer moment stopped (CANCELLED)
    NOT_READY = "NotReady"
    PRESENT_AT_CREATION = "PresentAtCreation"
    # MISSED
    COALESCED = "Coalesced"
    OVER_LIMIT = "OverLimit"
    TOO_LATE = "TooLate"
    STARTING_DEADLINE_EXCEEDED = "StartingDeadlineExceeded"
    IN_THE_PAST = "InThePast"
    EDITED = "Edited"
    DELETED = "Deleted"
    RESTORED = "Restored"  # also: what waited or ran in a backup (LOST), a token that was run after it (SKIPPED)
    # CANCELLED
    JOB_DELETED = "JobDeleted"
    CANCEL_REQUESTED = "CancelRequested"
    # FAILED, TIMED_OUT, LOST
    ERROR = "Error"
    PERMANENT_ERROR = "PermanentError"
    SUPERSEDED_BY_NEXT_FIRE = "SupersededByNextFire"
    TIMEOUT_EXCEEDED = "TimeoutExceeded"
    REPLICA_DIED = "ReplicaDied"
    DRAINED = "Drained"
    TRUST_LOST = "TrustLost"
    # SUCCEEDED
    SUCCESS = "Success"
    # events
    RUN_REQUESTED = "RunRequested"
    RESUMED = "Resumed"
    INVALID_NOTIFY = "InvalidNotify"


class Refusal(StrEnum):
    """Why a person's request on a job is refused: one CamelCase word for programs."""

    RUN_REQUEST_PENDING = "RunRequestPending"
    RUN_REQUEST_DIFFERS = "RunRequestDiffers"
    SUSPENDED_BY_SPEC = "SuspendedBySpec"
    INVALID_PAUSE = "InvalidPause"
    INVALID_TOKEN = "InvalidToken"  # noqa: S105 a word, not a secret
    INVALID_PAYLOAD = "InvalidPayload"


LIVE_STATES = frozenset({State.PENDING, State.RUNNING})
"""States of an execution that has not ended."""

NEVER_RUN_STATES = frozenset({State.SKIPPED, State.MISSED})
"""States of a moment that no handler was started for."""

MISSED_REASONS = frozenset(
    {
        Reason.COALESCED,
        Reason.OVER_LIMIT,
        Reason.TOO_LATE,
        Reason.STARTING_DEADLINE_EXCEEDED,
        Reason.IN_THE_PAST,
        Reason.EDITED,
        Reason.SUSPENDED,
        Reason.DELETED,
        Reason.RESTORED,
    }
)
"""Why a moment is MISSED."""

FAILURE_STATES = frozenset({State.FAILED, State.TIMED_OUT, State.LOST})
"""Ends that count as a failure of the job."""


@lru_cache(64)
def camel(name: str) -> str:
    """Return the resource's form of a SQL word: `TIMED_OUT` becomes `TimedOut`."""
    return "".join(part.capitalize() for part in name.split("_"))
