"""A term of leadership, and a replica's trust in itself: two deadlines on the monotonic clock, as pure values.

Both are counted from the moment at which a request was *sent*: an answer says that it was good then, and nothing of
the time since.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

TRUST_SECONDS = 8.0
"""A replica trusts itself for so long after it sent the last acknowledged heartbeat; the leader waits for ten."""

GAP_SECONDS = 2.5
"""Two looks at the Lease farther apart than this are not an unbroken sight of it."""


@dataclass(frozen=True, slots=True)
class Term:
    """One spell of leadership: its number, its holder, and until when it may be trusted without asking."""

    number: int
    holder: str
    trusted_until: float

    def renewed(self, attempted_at: float, lease_seconds: float, margin_seconds: float) -> Term:
        """Return the term after a renewal that was sent at `attempted_at` has been acknowledged."""
        return replace(self, trusted_until=attempted_at + lease_seconds - margin_seconds)

    def is_trusted(self, now: float) -> bool:
        """Return whether nobody else can have taken the Lease by monotonic second `now`."""
        return now < self.trusted_until


@dataclass(frozen=True, slots=True)
class Trust:
    """What a replica knows of its own standing.

    `beat_sent_at` is when the last acknowledged heartbeat was sent; `unheld_since` and `looked_at` span an unbroken
    sight of a Lease that nobody holds, so that nobody can declare this replica dead. `taken_after` is the last look of
    such a sight that ended because another took the Lease: who declares this replica dead began to watch it after that.
    """

    beat_sent_at: float
    unheld_since: float | None = None
    looked_at: float = float("-inf")
    asked_at: float = float("-inf")
    holder: str = ""
    taken_after: float = float("-inf")

    def beaten(self, sent_at: float) -> Trust:
        """Return the trust after a heartbeat sent at `sent_at` was acknowledged."""
        return replace(self, beat_sent_at=sent_at)

    def saw_lease(self, *, is_held: bool, now: float, holder: str = "", asked_at: float | None = None) -> Trust:
        """Return the trust after a look at the Lease that was answered at `now`, and asked for at `asked_at`.

        One that was left behind by its holder and is held again is not taken over: its old holder has watched all the
        time.
        """
        unbroken = self.unheld_since is not None and now - self.looked_at <= GAP_SECONDS
        seen = replace(self, looked_at=now, asked_at=now if asked_at is None else asked_at, holder=holder)
        if not is_held:
            return replace(seen, unheld_since=self.unheld_since if unbroken else now)
        is_taken_over = unbroken and holder != self.holder and self.may_go_on(self.looked_at)
        return replace(seen, unheld_since=None, taken_after=self.asked_at if is_taken_over else self.taken_after)

    def may_start(self, now: float) -> bool:
        """Return whether a claim or an attempt may begin."""
        return now - self.beat_sent_at < TRUST_SECONDS

    def may_go_on(self, now: float) -> bool:
        """Return whether running attempts may go on: trusted, or nobody was there to rescue since trust ended.

        Whoever takes the Lease then is a leader that has not seen this replica's silence, and waits as long for a sign
        of life as it would after a heartbeat.
        """
        if self.may_start(now) or now - self.taken_after < TRUST_SECONDS:
            return True
        ended_at = self.beat_sent_at + TRUST_SECONDS
        in_sight = now - self.looked_at <= GAP_SECONDS
        return self.unheld_since is not None and self.unheld_since <= ended_at and in_sight
