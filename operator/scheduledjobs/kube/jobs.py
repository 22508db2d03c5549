"""batch/v1 Jobs, their pods and what is said of them: the requests, and the one watch's stream. Of one event loop.

A refusal is raised with the API server's own sentence, since whoever wrote the job has to mend it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import aiohttp

from scheduledjobs.core.nesting import read_json
from scheduledjobs.core.resource import GROUP
from scheduledjobs.errors import Conflict, KubeError, KubeUnavailable, NotFound
from scheduledjobs.kube.caller import refusal
from scheduledjobs.kube.client import REQUEST_SECONDS, KubeClient, our_errors

MANAGED_BY = "scheduledjobs"
OURS = f"app.kubernetes.io/managed-by={MANAGED_BY},{GROUP}/execution"
MOST_AT_ONCE = 8
"""Requests of one replica under way, besides watches: the API server has others to serve, whatever runs here."""

WATCH_SECONDS = 10
SILENT_SECONDS = 15.0
LONGEST_EVENT = 4 * 1024 * 1024
MOST_LINES = 5000
MOST_READ = 4 * 1024 * 1024
OBJECT = {"Accept": "application/json", "Content-Type": "application/json"}


def jobs_path(namespace: str | None, name: str = "") -> str:
    """Return the path of one Job, of a namespace's, or of all."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/batch/v1{scope}/jobs" + (f"/{name}" if name else "")


class JobDoor:
    """What a replica asks about Jobs."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    async def close(self) -> None:
        """Close the connections."""
        await self._kube.api.close()

    async def create(self, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Job and return it; unknown fields are refused, not dropped."""
        return await self._request("POST", jobs_path(namespace), query={"fieldValidation": "Strict"}, body=body)

    async def get(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Job by a quorum read, or None."""
        try:
            return await self._request("GET", jobs_path(namespace, name))
        except NotFound:
            return None

    async def delete(self, namespace: str, name: str, uid: str) -> None:
        """Delete this very Job, which is there until its pods are gone; one that is gone already is no error."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": uid},
        }
        try:
            await self._request("DELETE", jobs_path(namespace, name), body=body)
        except (NotFound, Conflict):
            return

    async def pods(self, namespace: str, uid: str) -> list[dict[str, Any]]:
        """Return the pods of the Job with this uid, at most 20."""
        query = {"labelSelector": f"batch.kubernetes.io/controller-uid={uid}", "limit": 20}
        found = await self._request("GET", f"/api/v1/namespaces/{namespace}/pods", query=query)
        return list(found.get("items") or [])

    async def warnings(self, namespace: str, uid: str) -> list[dict[str, Any]]:
        """Return Events of type Warning about the object with this uid, at most 50."""
        query = {"fieldSelector": f"involvedObject.uid={uid},type=Warning", "limit": 50}
        found = await self._request("GET", f"/api/v1/namespaces/{namespace}/events", query=query)
        return list(found.get("items") or [])

    async def owner_uid(self, namespace: str, plural: str, version: str, name: str) -> str | None:
        """Return the uid of one of our resources, or None where there is none."""
        try:
            found = await self._request("GET", f"/apis/{GROUP}/{version}/namespaces/{namespace}/{plural}/{name}")
        except NotFound:
            return None
        return str(found["metadata"]["uid"])

    async def log(self, namespace: str, pod: str, container: str, most: int) -> tuple[str, bool]:
        """Return the end of a container's log, at most `most` bytes, and whether something before it was left out."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = {"container": container, "tailLines": MOST_LINES}
        kept, read, is_cut = b"", 0, False
        async with self._turns, our_errors(f"GET {path}"), asyncio.timeout(REQUEST_SECONDS):
            response = await self._send("GET", path, query, None, REQUEST_SECONDS, accept="*/*")
            try:
                if response.status >= 300:
                    raise refusal(response.status, await response.read())
                async for chunk in response.content.iter_chunked(64 * 1024):
                    read += len(chunk)
                    kept = (kept + chunk)[-most:]
                    if read > MOST_READ:  # lines so long that their end is out of reach
                        is_cut = True
                        break
            finally:
                _drop(response)
        return kept.decode(errors="replace"), is_cut or read > most

    async def newest(self, namespace: str | None) -> str:
        """Return the version of the collection from which a watch may go on."""
        found = await self._request("GET", jobs_path(namespace), query={"labelSelector": OURS, "limit": 1})
        return str(found["metadata"]["resourceVersion"])

    async def events(self, namespace: str | None, version: str) -> AsyncGenerator[dict[str, Any]]:
        """Yield what becomes of our Jobs after `version`, until the server ends the watch, within seconds.

        `KubeError` 410 where that is too long ago; `KubeUnavailable` where the stream breaks or says nothing.
        """
        path = jobs_path(namespace)
        query = {
            "watch": "true",
            "labelSelector": OURS,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_SECONDS,
        }
        async with our_errors(f"watch {path}"):
            response = await self._send("GET", path, query, None, WATCH_SECONDS + SILENT_SECONDS)
            try:
                if response.status >= 300:
                    raise refusal(response.status, await response.read())
                async for line in _lines(response.content):
                    event = read_json(line)
                    if event.get("type") == "ERROR":
                        said = event.get("object") or {}
                        raise KubeError(str(said.get("message", "the watch has ended")), int(said.get("code", 0)))
                    yield event
            finally:
                _drop(response)

    async def _request(
        self, verb: str, path: str, *, query: Mapping[str, Any] | None = None, body: object = None
    ) -> dict[str, Any]:
        async with self._turns, our_errors(f"{verb} {path}"), asyncio.timeout(REQUEST_SECONDS):
            response = await self._send(verb, path, query, body, REQUEST_SECONDS)
            answer = await response.read()
        if response.status >= 300:
            raise refusal(response.status, answer)
        found: dict[str, Any] = read_json(answer)
        return found

    async def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: object,
        seconds: float,
        accept: str = "application/json",
    ) -> aiohttp.ClientResponse:
        prepared = await self._kube.api.param_serialize(
            verb,
            path,
            query_params=list((query or {}).items()),
            header_params={**OBJECT, "Accept": accept},
            body=body,
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=seconds)
        found: aiohttp.ClientResponse = (await self._kube.api.call_api(*prepared, _request_timeout=timeout)).response
        return found


def _drop(response: aiohttp.ClientResponse) -> None:
    """Let go of an answer that has not been read to its end, without a farewell that nobody would wait for."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of a stream; one that never ends is not kept."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
        if len(rest) > LONGEST_EVENT:
            raise KubeUnavailable(f"an event of the watch is longer than {LONGEST_EVENT} bytes")


def reduced(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a Job what following it needs: identity and status, without its template."""
    meta = job.get("metadata") or {}
    names = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp", "creationTimestamp")
    kept = {name: meta[name] for name in names if name in meta}
    kept["ownerReferences"] = [{"uid": one.get("uid")} for one in meta.get("ownerReferences") or []]
    status = job.get("status") or {}
    return {"metadata": kept, "status": dict(status)}
