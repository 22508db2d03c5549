"""What the commands share that ask something of a ScheduledJob: read it, check, annotate it, again if it changed."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping

import click

from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import Conflict
from scheduledjobs.kube.annotate import annotate, context
from scheduledjobs.kube.client import KubeClient, open_client
from scheduledjobs.kube.listing import get_resource

TRIES = 5


def name_of(job: str, namespace: str | None) -> tuple[str, str]:
    """Return namespace and name of JOB: NAMESPACE/NAME, or NAME in `namespace` or in that of the kubeconfig."""
    before, slash, after = job.partition("/")
    if not slash:
        return namespace or context()[0], job
    if namespace is not None and namespace != before:
        raise click.UsageError(f"JOB names the namespace {before}, --namespace says {namespace}")
    if not before or not after or "/" in after:
        raise click.UsageError("JOB must be NAMESPACE/NAME, such as finance/nightly-report, or NAME")
    return before, after


def person() -> str:
    """Return who asks: the user of the kubeconfig's context, else the one of this machine."""
    return context()[1] or getpass.getuser()


async def read(kube: KubeClient, namespace: str, name: str) -> Resource:
    """Return the job; a sentence and exit 1 where there is none."""
    found = await get_resource(kube, namespace, name)
    if found is None:
        raise click.ClickException(f"{namespace}/{name}: not found")
    return found


async def ask(namespace: str, name: str, changes: Callable[[Resource], Mapping[str, str | None]]) -> Resource:
    """Annotate the job with what `changes` says of it as read; read again if it changed in between."""
    async with open_client() as kube:
        for tried in range(1, TRIES + 1):
            resource = await read(kube, namespace, name)
            wanted = changes(resource)
            if not wanted:
                return resource
            try:
                await annotate(kube, resource, wanted)
            except Conflict:
                if tried == TRIES:
                    raise
            else:
                return resource
    raise AssertionError("the loop returns or raises")
