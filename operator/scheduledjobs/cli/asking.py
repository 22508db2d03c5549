"""What the commands share that ask something of a ScheduledJob: which one, who asks, and what is said of a refusal."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping

import click

from scheduledjobs.core.reasons import Refusal
from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import NotFound, RequestError
from scheduledjobs.kube.annotate import change, context
from scheduledjobs.kube.client import KubeClient, open_client
from scheduledjobs.kube.listing import get_resource


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
    return context()[1] or local_user()


def local_user() -> str:
    """Return the user of this machine: by name, or by number where it has none, as in a pod."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        return f"uid {os.getuid()}"


async def read(kube: KubeClient, namespace: str, name: str) -> Resource:
    """Return the job; a sentence and exit 1 where there is none."""
    found = await get_resource(kube, namespace, name)
    if found is None:
        raise _no_such_job(namespace, name)
    return found


async def ask(namespace: str, name: str, changes: Callable[[Resource], Mapping[str, str | None]]) -> Resource:
    """Annotate the job with what `changes` says of it; return it as it was. A sentence and exit 1 where it refuses."""
    async with open_client() as kube:
        try:
            before, _ = await change(kube, namespace, name, changes, field_manager="scheduledjobs-cli")
        except NotFound:
            raise _no_such_job(namespace, name) from None
        except RequestError as error:
            prefix = f"{error.reason}: " if error.reason is Refusal.RUN_REQUEST_PENDING else ""  # a word to grep for
            raise click.ClickException(f"{prefix}{error.message}") from None
    return before


def _no_such_job(namespace: str, name: str) -> click.ClickException:
    return click.ClickException(f"{namespace}/{name}: not found")
