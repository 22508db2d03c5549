"""`scheduledjobs pause`: suspend a job for a while, without touching its manifest."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from scheduledjobs.cli import arguments
from scheduledjobs.cli.asking import ask, name_of, person
from scheduledjobs.core import requests
from scheduledjobs.core.duration import parse_duration
from scheduledjobs.core.resource import PAUSED_UNTIL
from scheduledjobs.errors import RequestError


@click.command()
@click.argument("job", metavar="JOB")
@click.option("-n", "--namespace", help="Namespace of JOB.  [default: the kubeconfig's]")
@click.option("--until", metavar="TIME", help="RFC 3339.  [default: forever]")
@click.option("--for", "duration", metavar="DURATION", help="Such as 30m, instead of --until.")
@click.option("--reason", default="", help="Why, for the history.")
@click.option("--by", help="Who.  [default: the user of the kubeconfig's context]")
def command(
    job: str, namespace: str | None, until: str | None, duration: str | None, reason: str, by: str | None
) -> None:
    """Pause JOB (NAMESPACE/NAME, or NAME) until a moment, or forever; its moments are recorded as skipped.

    A runAt is not skipped: it is due when the pause ends.

    The pause is an annotation: GitOps does not undo it, and it ends by itself. spec.suspend stays as it is.
    """
    now = datetime.now(UTC)
    end = _end(until, duration, now)
    found = name_of(job, namespace)
    try:
        changes = requests.pause(end, by or person(), reason, now)
    except RequestError as error:
        raise click.BadParameter(error.message, param_hint="--until" if duration is None else "--for") from None
    asyncio.run(ask(*found, lambda _: changes))
    until = changes[PAUSED_UNTIL]
    click.echo(f"{found[0]}/{found[1]} is paused {'forever' if until == 'forever' else f'until {until}'}")


def _end(until: str | None, duration: str | None, now: datetime) -> str:
    if until is not None and duration is not None:
        raise click.UsageError("give --until or --for, not both")
    if until is None and duration is None:
        return "forever"
    try:
        end = arguments.moment(until) if until is not None else now + parse_duration(str(duration))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from None
    return end.isoformat()
