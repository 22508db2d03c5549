"""`scheduledjobs resume`: end a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import click

from scheduledjobs.cli.asking import ask, name_of
from scheduledjobs.core.resource import PAUSE_REASON, PAUSED_BY, PAUSED_UNTIL, Resource

KEYS = (PAUSED_UNTIL, PAUSED_BY, PAUSE_REASON)


@click.command()
@click.argument("job", metavar="JOB")
@click.option("-n", "--namespace", help="Namespace of JOB.  [default: the kubeconfig's]")
def command(job: str, namespace: str | None) -> None:
    """End the pause of JOB (NAMESPACE/NAME, or NAME); its moments are fired from now on."""
    found = name_of(job, namespace)
    before = asyncio.run(ask(*found, without_pause))
    said = "is resumed" if PAUSED_UNTIL in before.meta.annotations else "was not paused"
    click.echo(f"{found[0]}/{found[1]} {said}")


def without_pause(resource: Resource) -> Mapping[str, str | None]:
    """Return the annotations to remove; a job that its manifest suspends cannot be resumed here."""
    if resource.spec.get("suspend"):
        raise click.ClickException("spec.suspend is true in the manifest: set it to false there")
    return {key: None for key in KEYS if key in resource.meta.annotations}
