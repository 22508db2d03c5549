"""Outages of single namespaces, as of an admission webhook that fails closed: no other namespace waits for them long.

One whose request met an outage comes behind the others, where these may do better. One whose requests fail while
others' are answered is left alone for a while, longer each time: one that hangs holds up all that come after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import structlog

from scheduledjobs.errors import KubeUnavailable

log = structlog.get_logger(__name__)

LEAST_SECONDS = 1.0
MOST_SECONDS = 8.0
"""How long a namespace is left alone, or comes behind, at most: it is not to wait for much longer than its outage."""


class Turn(IntEnum):
    """When a namespace is asked for: with all others, behind them, or not now."""

    WITH_OTHERS = 0
    BEHIND = 1
    NOT_NOW = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that met an outage, and how many seconds it took to."""

    error: KubeUnavailable
    seconds: float


class Outages:
    """The namespaces whose last request met an outage."""

    def __init__(self) -> None:
        self._waits: dict[str, tuple[float, float]] = {}
        """How long each is left alone, 0 where no other is known to do better, and until when that or BEHIND holds."""

    def turn(self, namespace: str, now: float) -> Turn:
        """Return when a request may be made for this namespace, at monotonic second `now`."""
        wait, until = self._waits.get(namespace, (0.0, now))
        if now >= until:
            return Turn.WITH_OTHERS
        return Turn.NOT_NOW if wait else Turn.BEHIND

    def turns(self, now: float) -> tuple[list[str], list[str]]:
        """Return the namespaces that come behind the others, and those that are left alone."""
        turns = {namespace: self.turn(namespace, now) for namespace in self._waits}
        return [one for one in turns if turns[one] is Turn.BEHIND], [one for one in turns if turns[one] is Turn.NOT_NOW]

    def met(self, failures: Mapping[str, Failure], now: float, *, is_other_well: bool) -> None:
        """These namespaces' requests failed in a pass; `is_other_well`: another one's was answered in it."""
        for namespace, failure in failures.items():
            wait, _ = self._waits.get(namespace, (0.0, now))
            if wait or is_other_well:
                wait = min(MOST_SECONDS, max(LEAST_SECONDS, 2 * wait, failure.seconds))
                log.warning("a namespace is put off", namespace=namespace, error=str(failure.error), retry_seconds=wait)
            self._waits[namespace] = wait, now + (wait or MOST_SECONDS)

    def over(self, namespace: str) -> None:
        """A request for this namespace was answered."""
        self._waits.pop(namespace, None)
