"""`scheduledjobs resume`: end a pause."""

from __future__ import annotations

import asyncio

import click

from scheduledjobs.cli.asking import ask, name_of
from scheduledjobs.core import requests
from scheduledjobs.core.resource import PAUSED_UNTIL


@click.command()
@click.argument("job", metavar="JOB")
@click.option("-n", "--namespace", help="Namespace of JOB.  [default: the kubeconfig's]")
def command(job: str, namespace: str | None) -> None:
    """End the pause of JOB (NAMESPACE/NAME, or NAME); its moments are fired from now on."""
    found = name_of(job, namespace)
    before = asyncio.run(ask(*found, requests.resume))
    said = "is resumed" if PAUSED_UNTIL in before.meta.annotations else "was not paused"
    click.echo(f"{found[0]}/{found[1]} {said}")
