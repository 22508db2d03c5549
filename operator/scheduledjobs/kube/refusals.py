"""The watched namespaces that the API server refuses: a namespace that is deleted takes the operator's Role with it.

A refusal says nothing of what is in the namespace, so nothing of it is judged; and the others are not to wait for it.
"""

from __future__ import annotations

import structlog

from scheduledjobs import metrics

log = structlog.get_logger(__name__)


class Refusals:
    """Tells once of each namespace that is refused, whoever comes upon it, and once of its end; and counts them."""

    def __init__(self) -> None:
        self._by: dict[str, set[str]] = {}

    def refuse(self, namespace: str, by: str, error: str) -> None:
        """Take note that a namespace is refused to the watch, or to the compare."""
        if namespace not in self._by:
            log.warning(
                "a namespace is refused: its jobs fire on as they were last seen", namespace=namespace, error=error
            )
        self._by.setdefault(namespace, set()).add(by)
        metrics.NAMESPACES_REFUSED.set(len(self._by))

    def admit(self, namespace: str, by: str) -> None:
        """Take note that a namespace is not refused to the watch, or to the compare."""
        if namespace in self._by:
            self._by[namespace].discard(by)
            if not self._by[namespace]:
                del self._by[namespace]
                log.info("a namespace is refused no more", namespace=namespace)
                metrics.NAMESPACES_REFUSED.set(len(self._by))
