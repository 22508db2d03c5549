"""What proves who we are and who the API server is, renewed while it is in use: tokens expire, authorities rotate.

The credentials of a kubeconfig are renewed each minute: tokens of files, of plugins and of OIDC expire. The client's
library does so for a pod's token alone. Its loader reads a token's file anew each time; a plugin, or an issuer of OIDC,
it asks when what they said last has five minutes left, so nobody needs to wait for the answer.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

import structlog
from kubernetes.aio import client

from scheduledjobs.errors import named

log = structlog.get_logger(__name__)

RENEW_SECONDS = 60.0
PATIENCE_SECONDS = 30.0
"""How long a plugin may take; then it is asked again a minute later."""

TRUST_SECONDS = 600.0


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
            _warn(error)
        finally:
            self._task, self._renew_at = None, self._monotonic() + RENEW_SECONDS


class Trust:
    """The authority that vouches for the API server, read anew every ten minutes into a context that is in use.

    What it was before is believed on: in a rotation the API server shows now the one, now the other.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        configuration: client.Configuration,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._configuration = configuration
        self._monotonic = monotonic
        self._renew_at = monotonic() + TRUST_SECONDS

    def renew(self) -> None:
        """Read it anew, if it is time; connections that are made from now on believe it."""
        path = self._configuration.ssl_ca_cert
        if not path or self._monotonic() < self._renew_at:
            return
        self._renew_at = self._monotonic() + TRUST_SECONDS
        try:
            self._context.load_verify_locations(cafile=path)
        except OSError as error:
            _warn(error)


def _warn(error: Exception) -> None:
    log.warning("credentials cannot be renewed", error=named(error))
