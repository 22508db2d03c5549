"""A Lease of coordination.k8s.io/v1 as it was read: who holds it, and whether anything about it has moved.

Its times are of another machine's clock and are never compared with ours: what counts is for how long we have seen
the Lease not change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

RENEW_SECONDS = 1.0
"""How long after an answer the next renewal is sent."""

MARGIN_SECONDS = 1.0
"""How long before the end of the lease its holder stops to trust it."""

LEAST_PATIENCE_SECONDS = 1.0
"""How long each request about the Lease may take, however short the lease."""

LEAST_LEASE_SECONDS = RENEW_SECONDS + 2 * LEAST_PATIENCE_SECONDS + MARGIN_SECONDS
"""Trust counts from when a renewal was sent, and has to last until the next one is answered: two answers and the pause
between them. Whatever a leader does only while it trusts itself would else stop at each renewal."""


@dataclass(frozen=True, slots=True)
class LeaseView:
    """One reading of the Lease; `renewed_at` is the text of spec.renewTime, compared but never parsed."""

    holder: str
    resource_version: str
    renewed_at: str
    transitions: int

    @property
    def is_free(self) -> bool:
        """True if nobody holds it: it was released, or never taken."""
        return not self.holder


@dataclass(frozen=True, slots=True)
class Observation:
    """A Lease, since when, on our monotonic clock, we have seen it unchanged, and when we looked last."""

    view: LeaseView
    since: float
    looked_at: float


def observe(previous: Observation | None, view: LeaseView, now: float, lease_seconds: float) -> Observation:
    """Return what is known after reading `view` at monotonic second `now`.

    Who has not looked for the length of a lease saw nothing of that time: its holder could not renew in an outage of
    the API server either, and is not to be replaced at its end for that.
    """
    if previous is None or previous.view != view or now - previous.looked_at > lease_seconds:
        return Observation(view, now, now)
    return replace(previous, looked_at=now)


def went_back(previous: LeaseView, view: LeaseView) -> bool:
    """Return whether the Lease is older than it was, or made anew: etcd may have been restored from a snapshot.

    Somebody writes the Lease each second: who reads it after a restore and before the next write surely sees it. The
    leader's next renewal is refused, so it reads, too.
    """
    try:
        is_older = int(view.resource_version) < int(previous.resource_version)
    except ValueError:  # not a number: before Kubernetes 1.35 it need not be one
        is_older = False
    return is_older or view.transitions < previous.transitions


def has_expired(observation: Observation, lease_seconds: float, now: float) -> bool:
    """Return whether the holder has not renewed for the length of the lease, as far as we saw."""
    return now - observation.since >= lease_seconds


EARLY_SECONDS = 1.5


def may_take_early(observation: Observation, free_probes: int, now: float) -> bool:
    """Return whether the holder's process is surely gone: its database session at two probes, and no renewal."""
    return free_probes >= 2 and now - observation.since >= EARLY_SECONDS
