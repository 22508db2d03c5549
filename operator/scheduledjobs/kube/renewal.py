"""The credentials of a kubeconfig, renewed each minute: tokens of files, of plugins and of OIDC expire.

The client's library does so for a pod's token alone. Its loader reads a token's file anew each time; a plugin, or an
issuer of OIDC, it asks when what they said last has five minutes left, so nobody needs to wait for the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

import structlog
from kubernetes.aio import client

log = structlog.get_logger(__name__)

RENEW_SECONDS = 60.0
PATIENCE_SECONDS = 30.0
"""How long a plugin may take; then it is asked again a minute later."""


class Loader(Protocol):
    """What reads a kubeconfig, and remembers what is still good of it."""

    async def load_and_set(self, client_configuration: client.Configuration) -> Any:
        """Set what a client needs."""


class Renewal:
    """A hook of the client's configuration, called before each request."""

    def __init__(self, loader: Loader, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._loader = loader
        self._monotonic = monotonic
        self._renew_at = monotonic() + RENEW_SECONDS
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, configuration: client.Configuration) -> None:
        """Begin to renew, if it is time; who has not asked for long waits for it: what there is may have expired."""
        now = self._monotonic()
        is_late = now >= self._renew_at + RENEW_SECONDS
        if self._task is None and now >= self._renew_at:
            # A context of its own: what it logs is no output of the attempt that happens to ask.
            self._task = asyncio.create_task(self._renew(configuration), context=Context())
        if self._task is not None and is_late:
            await asyncio.wait({self._task})

    async def _renew(self, configuration: client.Configuration) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._loader.load_and_set(configuration)
        except Exception as error:  # noqa: BLE001 whatever a plugin does; what there is may be good for a while
            log.warning("credentials cannot be renewed", error=f"{type(error).__name__}: {error}".rstrip(": "))
        finally:
            self._task, self._renew_at = None, self._monotonic() + RENEW_SECONDS
