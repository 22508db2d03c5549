"""How long something keeps a Job from starting: values and seconds in, a verdict out.

Seconds are monotonic ones of this process. Times that Kubernetes writes are only compared with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduledjobs.handlers.job_outcome import Complaint, complaint_of_events, seen_at

FRESH_SECONDS = 180.0
"""The kubelet says again within this what still keeps a pod from starting: it gives a mount up after two minutes."""


class Trouble:
    """What keeps one Job."""

    def __init__(self, grace_seconds: float) -> None:
        """`grace_seconds`: how long it is waited for."""
        self._grace = grace_seconds
        self._complaint: Complaint | None = None
        self._since = 0.0
        self._event: tuple[object, ...] = ()
        self._event_at = 0.0

    def fresh(self, event: Mapping[str, Any] | None, now: float) -> Complaint | None:
        """Return what an Event about a pod says, unless it was not said again for a while: it may be over."""
        seen = () if event is None else (event.get("reason"), seen_at(event), event.get("count"))
        if seen != self._event:
            self._event, self._event_at = seen, now
        return complaint_of_events([event]) if event is not None and now - self._event_at < FRESH_SECONDS else None

    def is_news(self, complaint: Complaint) -> bool:
        """Return whether it is another kind of trouble than the last one."""
        return self._complaint is None or _kind(self._complaint) != _kind(complaint)

    def clear(self) -> None:
        """It runs: whatever there was is over."""
        self._complaint = None

    def is_over(self, complaint: Complaint | None, now: float) -> bool:
        """Take in what there is to complain of now; return whether there has been something for too long."""
        if complaint is not None and self._complaint is None:
            self._since = now
        self._complaint = complaint
        return complaint is not None and (complaint.is_hopeless or now - self._since >= self._grace)


def _kind(complaint: Complaint) -> str:
    return complaint.text.split(":")[0]
