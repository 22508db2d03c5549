"""Outages of single namespaces, as of an admission webhook that fails closed: no other namespace waits for them long.

So is a namespace in which the operator has no right (any more): what is refused there says nothing of the others.

Requests are made one after the other, so one that hangs holds up all that come after it. A namespace whose request
failed comes behind the others until one is answered, and the first of these that fails again ends their turn in a pass.
One that fails while another does well is left alone for a while, longer each time, and then has less time to answer.
Where none does better it may be an outage of the API server: then none is left alone, and each has its full time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from scheduledjobs.errors import Forbidden, KubeError, KubeUnavailable
from scheduledjobs.kube.client import FORBIDDEN, REQUEST_SECONDS
from scheduledjobs.logs import Seldom

log = structlog.get_logger(__name__)

LEAST_SECONDS = 1.0
MOST_SECONDS = 8.0
"""How long a namespace is left alone at most: it is not to wait for much longer than its outage."""

PROBE_SECONDS = 2.0
"""How long a request may take where the namespace may be in an outage that others are not in."""

USUAL_TIMES = 4
"""Or so many times as long as the last one took that was answered: the API server itself may be slow."""

FULL_TRIES = 4
"""Each fourth try of a namespace has its full time: what it asks may take seconds."""

PAUSE_TIMES = 2
"""After one that failed, no namespace that came behind has its turn for so many times as long: others are to have most
of the time."""

MOST_FAILED = 3
"""In so many namespaces' outages a pass ends: it may be one of the API server."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A namespace's last request failed: the `failures`th one since one was answered."""

    failures: int
    wait: float
    """How long it is left alone, in seconds; 0 where no other namespace is known to do better."""

    until: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed, and how many seconds it took to."""

    error: KubeUnavailable | Forbidden
    seconds: float

    @property
    def is_refusal(self) -> bool:
        """Whether it is the namespace's own, and at once; credentials that are refused (401) are refused everywhere."""
        return self.error.status == FORBIDDEN


class Outages:
    """The namespaces whose last request failed."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._out: dict[str, Outage] = {}
        self._well: set[str] = set()
        """Those of which a request was answered since the first of these failed."""

        self._pause_until = float("-inf")
        self._usual_seconds = 0.0
        self._seldom = Seldom(monotonic)

    def __contains__(self, namespace: object) -> bool:
        return namespace in self._out

    def behind(self, now: float) -> list[str]:
        """Return those that may be asked for again at monotonic second `now`, behind all others, in their order."""
        is_pause = now < self._pause_until
        found = [
            one for one, out in self._out.items() if now >= out.until and not (is_pause and (out.wait or self._well))
        ]
        return sorted(found, key=self.order)

    def order(self, namespace: str) -> tuple[int, float]:
        """Return by what to sort namespaces: those that do well, those that may be about to fail, those that did."""
        if (out := self._out.get(namespace)) is not None:
            return 2, out.until
        return int(bool(self._out) and namespace not in self._well), 0.0

    def patience(self, namespace: str) -> float:
        """Return how many seconds a request of this namespace may take."""
        if not self._out or namespace in self._well:
            return REQUEST_SECONDS
        out = self._out.get(namespace)
        if out is not None and (not self._well or out.failures % FULL_TRIES == 0):
            return REQUEST_SECONDS
        return min(REQUEST_SECONDS, max(PROBE_SECONDS, USUAL_TIMES * self._usual_seconds))

    def answered(self, namespace: str, seconds: float) -> None:
        """A request of this namespace was answered, after so many seconds."""
        self._usual_seconds = seconds
        self.over(namespace)
        if self._out:
            self._well.add(namespace)

    def over(self, namespace: str) -> None:
        """Nothing is known to be wrong with this namespace any more."""
        self._out.pop(namespace, None)
        if not self._out:
            self._well.clear()

    def failed(self, namespace: str, failure: Failure, now: float, *, is_other_well: bool) -> bool:
        """A request of this namespace failed in a pass in which another one's was answered, or none; it ended at `now`.

        Return whether the namespace is left alone: it is known to fail where others do well.
        """
        before = self._out.get(namespace, Outage(0, 0.0, now))
        wait = 0.0
        if before.wait or is_other_well or failure.is_refusal:
            wait = min(MOST_SECONDS, max(LEAST_SECONDS, 2 * before.wait, failure.seconds))
            self._pause_until = max(self._pause_until, now + min(MOST_SECONDS, PAUSE_TIMES * failure.seconds))
            self._say(namespace, failure.error, wait)
        self._well.discard(namespace)
        self._out[namespace] = Outage(before.failures + 1, wait, now + wait)
        return wait > 0

    def _say(self, namespace: str, error: KubeError, wait: float) -> None:
        if (unsaid := self._seldom.ask(namespace)) is not None:
            log.warning(
                "a namespace is put off",
                namespace=namespace,
                error=str(error),
                retry_seconds=wait,
                suppressed=unsaid,
            )


class Tries:
    """The requests of one pass, made one after the other."""

    def __init__(self, outages: Outages) -> None:
        self._outages = outages
        self._failed: dict[str, Failure] = {}
        self._answered: set[str] = set()
        self._has_probed = False
        self.made = 0
        """How many were made, whatever came of them."""

    def may(self, namespace: str, *, is_late: bool) -> bool:
        """Return whether to make a request of this namespace; `is_late`: the pass has made enough, or taken its time.

        Of those that failed before, the first that fails again ends the turn of all, and one has its turn however late.
        """
        outages = sum(not failure.is_refusal for failure in self._failed.values())
        if namespace in self._failed or outages >= MOST_FAILED:
            return False
        if namespace not in self._outages:
            return not is_late
        return not self._failed and not (is_late and self._has_probed)

    def answered(self, namespace: str, seconds: float) -> None:
        """A request was answered, after so many seconds."""
        self.made += 1
        self._has_probed = self._has_probed or namespace in self._outages
        self._answered.add(namespace)
        self._outages.answered(namespace, seconds)

    def failed(self, namespace: str, error: KubeUnavailable | Forbidden, seconds: float) -> None:
        """A request failed, after so many seconds."""
        self.made += 1
        self._failed[namespace] = Failure(error, seconds)

    def end(self, now: float) -> None:
        """Take note of what failed; raise it if it may be an outage of the API server, as none did better."""
        doubtful: list[KubeError] = []
        for namespace, failure in self._failed.items():
            is_other_well = bool(self._answered - {namespace})
            if not self._outages.failed(namespace, failure, now, is_other_well=is_other_well):
                doubtful.append(failure.error)
        if doubtful and not self._answered:
            raise doubtful[0]
