"""The connection to the API server: one set of credentials, one client, every error turned into ours once.

Source of credentials: the file that KUBECONFIG names (or ~/.kube/config), else the pod's service account.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.request import getproxies

import aiohttp
import orjson
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from scheduledjobs.core.nesting import read_json
from scheduledjobs.errors import Conflict, Forbidden, KubeError, KubeUnavailable, NotFound, SettingsError, named
from scheduledjobs.kube.renewal import Renewal, Trust

REQUEST_SECONDS = 10.0
HTTP_ERROR = 400
CONFLICT = 409
FORBIDDEN = 403
NOT_FOUND = 404
NOT_ALLOWED = frozenset({401, FORBIDDEN})
PROXIES = frozenset({"http", "https", "all"})
TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


@asynccontextmanager
async def our_errors(what: str) -> AsyncIterator[None]:
    """Turn the client's errors into ours; `what` names the request in the message."""
    try:
        yield
    except ApiException as error:
        raise _translated(what, int(error.status or 0), str(error.reason)) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise KubeUnavailable(f"{what}: {named(error)}") from error


def _translated(what: str, status: int, reason: str) -> KubeError:
    message = f"{what}: {status} {reason}"
    if status in TRY_AGAIN:
        return KubeUnavailable(message, status)
    if status in NOT_ALLOWED:
        return Forbidden(f"{message}: the operator's service account is not allowed to do this", status)
    if status == NOT_FOUND:
        return NotFound(message, status)
    if status == CONFLICT:
        return Conflict(message, status)
    return KubeError(message, status)


def message_of(data: bytes) -> str:
    """Return the sentence of a Status object, or nothing."""
    try:
        return str(orjson.loads(data).get("message", ""))
    except (orjson.JSONDecodeError, AttributeError):
        return ""


class Requests(Protocol):
    """Whoever makes requests to the API server: the operator with its own rights, or a caller with theirs."""

    async def request(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> dict[str, Any]:
        """Make one request and return the object that it answers, as plain JSON values; errors are ours."""


class KubeClient:
    """A client of one API server; use `open_client`."""

    def __init__(self, configuration: client.Configuration, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.configuration = configuration
        self.api = client.ApiClient(configuration)
        self.trust = Trust(self.api.rest_client.ssl_context, configuration, monotonic)

    async def request(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        seconds: float = REQUEST_SECONDS,
    ) -> dict[str, Any]:
        """Make one request and return the object that it answers, as plain JSON values."""
        sent = {"Accept": "application/json", **(headers or {})}
        what = f"{verb} {path}"
        self.trust.renew()
        async with our_errors(what), asyncio.timeout(seconds):
            prepared = await self.api.param_serialize(
                verb,
                path,
                query_params=list((query or {}).items()),
                header_params=sent,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self.api.call_api(*prepared, _request_timeout=aiohttp.ClientTimeout(total=seconds))
            data = await response.read()
        if response.status >= HTTP_ERROR:
            raise _translated(what, response.status, message_of(data) or str(response.reason))
        answer: dict[str, Any] = read_json(data)
        return answer

    async def cluster_uid(self) -> str:
        """Return the uid of the namespace kube-system, which names a cluster for life."""
        namespace = await self.request("GET", "/api/v1/namespaces/kube-system")
        return str(namespace["metadata"]["uid"])


@asynccontextmanager
async def open_client() -> AsyncIterator[KubeClient]:
    """Load the credentials and lend a client; `SettingsError` where there are none that work."""
    kube = KubeClient(await load_configuration())
    try:
        yield kube
    finally:
        await kube.api.close()


def kubeconfig() -> str:
    """Return the path of the file with a person's credentials, whether or not it is there."""
    return os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")  # noqa: PTH111 no home is no error


async def load_configuration(monotonic: Callable[[], float] = time.monotonic) -> client.Configuration:
    """Return the configuration of KUBECONFIG, of ~/.kube/config, or of the pod; it renews its credentials."""
    configuration = client.Configuration()
    path = kubeconfig()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            loader = await config.load_kube_config(path, client_configuration=configuration, persist_config=False)
            configuration.refresh_api_key_hook = Renewal(loader, monotonic)  # type: ignore[assignment]
    except (config.ConfigException, OSError, ValueError) as error:
        raise SettingsError(f"KUBECONFIG: {path} gives no access to a cluster: {error}") from error
    configuration.retries = None
    # For a proxy alone: else each request looks for a ~/.netrc, in a thread, and is refused where that knows the host.
    configuration.client_session_kwargs = {"trust_env": not PROXIES.isdisjoint(getproxies())}
    return configuration
