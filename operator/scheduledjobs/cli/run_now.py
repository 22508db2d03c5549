"""`scheduledjobs run-now`: one run of a job, now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

import click

from scheduledjobs.cli.asking import ask, name_of, read
from scheduledjobs.core import requests
from scheduledjobs.errors import RequestError
from scheduledjobs.kube.client import open_client

POLL_SECONDS = 0.5
QUIET_SECONDS = 2.0


def _payload(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        text = Path(value[1:]).read_text() if value.startswith("@") else value
        requests.read_payload(text)
    except OSError as error:
        raise click.BadParameter(f"{value[1:]} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"must be a JSON object: {error}") from None
    except RequestError as error:
        raise click.BadParameter(error.message) from None
    return text


def _token(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
    if value is None:
        return f"cli-{token_hex(6)}"
    try:
        requests.check_token(value)
    except RequestError as error:
        raise click.BadParameter(error.message) from None
    return value


@click.command(name="run-now")
@click.argument("job", metavar="JOB")
@click.option("-n", "--namespace", help="Namespace of JOB.  [default: the kubeconfig's]")
@click.option("--payload", callback=_payload, metavar="JSON|@FILE", help="Used for this run instead of spec.payload.")
@click.option("--token", callback=_token, help="Names the request: the same token is one run.  [default: a new one]")
@click.option("--wait", type=float, metavar="SECONDS", help="Wait until the request is recorded.")
def command(job: str, namespace: str | None, payload: str | None, token: str, wait: float | None) -> None:
    """Run JOB (NAMESPACE/NAME, or NAME) once, now.

    It obeys concurrencyPolicy, works while the job is suspended, and does not move its schedule.
    """
    found = name_of(job, namespace)
    asyncio.run(ask(*found, lambda resource: requests.run_now(resource, token, payload)))
    if wait is None:
        click.echo(f"requested run {token} of {found[0]}/{found[1]}")
    else:
        click.echo(asyncio.run(_wait(*found, token, wait)))


async def _wait(namespace: str, name: str, token: str, seconds: float) -> str:
    started = time.monotonic()
    told = False
    async with open_client() as kube:
        while time.monotonic() - started < seconds:
            resource = await read(kube, namespace, name)
            if resource.status.get("lastHandledRunNow") == token:
                return f"run {token} of {namespace}/{name} is recorded; {_last(resource.status)}"
            if not told and time.monotonic() - started > QUIET_SECONDS:
                told = True
                click.echo("waiting for the operator to record the request", err=True)
            await asyncio.sleep(POLL_SECONDS)
    raise click.ClickException(f"run {token} was requested, and not recorded within {seconds:g} s")


def _last(status: Mapping[str, Any]) -> str:
    last = status.get("lastExecution")
    if not last:
        return "no execution has ended yet"
    reason = f" ({last['reason']})" if last.get("reason") else ""
    return f"last execution: {last.get('outcome')}{reason}, trigger {last.get('trigger')}, id {last.get('id')}"
