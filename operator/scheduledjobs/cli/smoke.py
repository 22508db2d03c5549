"""`scheduledjobs smoke`: one job from its manifest to its row, to see that an installation works."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any
from uuid import UUID

import click

from scheduledjobs.core.resource import GROUP, KIND, VERSION
from scheduledjobs.errors import NotFound
from scheduledjobs.kube.client import KubeClient, open_client
from scheduledjobs.kube.listing import COLLECTION, collection_path
from scheduledjobs.settings import load
from scheduledjobs.store.ledger import find_row_at
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import connect

POLL_SECONDS = 0.25
AHEAD = timedelta(seconds=2)


@click.command()
@click.option("-n", "--namespace", default="default", show_default=True, help="Where the job is made.")
@click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for the job's success.")
def command(namespace: str, wait: float) -> None:
    """Make a one-shot job that is due in two seconds, wait until it has succeeded, read its row, delete it.

    Needs create, get and delete on scheduledjobs in the namespace, and SCHEDULEDJOBS_DATABASE_URL.
    """
    url = load().database_url.get_secret_value()
    asyncio.run(_smoke(url, namespace, f"smoke-{token_hex(4)}", wait))


async def _smoke(url: str, namespace: str, name: str, wait: float) -> None:
    async with open_client() as kube:
        made = await _make(kube, namespace, name)
        click.echo(f"made {namespace}/{name}, due at {made['spec']['runAt']}")
        try:
            status = await _wait(kube, namespace, name, wait)
            click.echo(f"its status says {status['outcome']}, run by {status.get('replica', 'a replica')}")
            click.echo(_line(await _row(url, made)))
        finally:
            await kube.request("DELETE", f"{collection_path(namespace)}/{name}")
            click.echo(f"deleted {namespace}/{name}")


async def _make(kube: KubeClient, namespace: str, name: str) -> dict[str, Any]:
    due = (datetime.now(UTC) + AHEAD).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {"runAt": due, "handler": "log", "payload": {"message": "smoke"}},
    }
    try:
        return await kube.request(
            "POST", collection_path(namespace), body=body, headers={"Content-Type": "application/json"}
        )
    except NotFound as error:
        raise click.ClickException(await _not_found(kube, error)) from error


async def _not_found(kube: KubeClient, error: NotFound) -> str:
    """Say what is not there: the kind, or what the server names, such as the namespace."""
    try:
        await kube.request("GET", COLLECTION)  # discovery, which everybody may read; to list is a right
    except NotFound:
        return "the cluster does not serve ScheduledJobs: install the CRD (chart: crds.install=true)"
    return str(error)


async def _wait(kube: KubeClient, namespace: str, name: str, seconds: float) -> dict[str, Any]:
    give_up_at = time.monotonic() + seconds
    while True:
        found = await kube.request("GET", f"{collection_path(namespace)}/{name}")
        status: dict[str, Any] = found.get("status", {})
        if last := status.get("lastExecution"):
            if last["outcome"] != "Succeeded":
                raise click.ClickException(f"{name} ended {_ending(last)}")
            return dict(last)
        if time.monotonic() > give_up_at:
            raise click.ClickException(f"{name} did not run within {seconds:g} s: {_state(status)}")
        await asyncio.sleep(POLL_SECONDS)


def _ending(last: dict[str, Any]) -> str:
    reason = f" ({last['reason']})" if last.get("reason") else ""
    message = f": {last['message']}" if last.get("message") else ""
    return f"{last['outcome']}{reason}{message}"


def _state(status: dict[str, Any]) -> str:
    ready = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), None)
    if ready is None:
        return "no operator has seen it; is a pod of it Ready, and does it watch this namespace?"
    return f"Ready={ready['status']} ({ready['reason']}) {ready['message']}"


async def _row(url: str, made: dict[str, Any]) -> Row:
    moment = datetime.fromisoformat(made["spec"]["runAt"].replace("Z", "+00:00"))
    async with connect(url, "scheduledjobs smoke") as conn:
        rows = await find_row_at(conn, UUID(made["metadata"]["uid"]), moment)
    if len(rows) != 1:
        raise click.ClickException(f"job_execution_log has {len(rows)} rows for the moment; there must be one")
    return rows[0]


def _line(row: Row) -> str:
    took = f"{row['lateness_ms']} ms late, took {row['duration_ms']} ms"
    return f"its row in job_execution_log, id {row['id']}: {row['state']}, {took}"
