"""`scheduledjobs verify`: hold the log against the moments that were due."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import click

from scheduledjobs.cli import arguments
from scheduledjobs.core.terminal import printable
from scheduledjobs.ledger.moment import show
from scheduledjobs.ledger.verify import lines, verify
from scheduledjobs.settings import load

QUIET_SECONDS = 2.0


def _since(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    arguments.since(value, datetime.now(UTC))  # said at once, not after connecting
    return value


@click.command()
@click.option("--since", callback=_since, required=True, metavar="T", help="RFC 3339, or a duration such as 10m.")
@click.option("--job", callback=arguments.job_argument, metavar="NS/NAME", help="Only this job.  [default: all]")
def command(since: str, job: tuple[str, str] | None) -> None:
    """Recompute which moments were due since T from the stored versions, and hold them against the log.

    Prints the moments that are lost, doubled or were never due, then "0 lost, 0 doubled, N moments". Where T is older
    than the history that is kept, a line says from when on it was verified.

    Exit code: 0 if all is right, 1 if any moment is not or there was no such job since T, 2 for a wrong option or
    setting, 3 if it could not be found out, such as when the database does not answer. Reads
    SCHEDULEDJOBS_DATABASE_URL and changes nothing.
    """
    url = load().database_url.get_secret_value()
    namespace, name = job or (None, None)
    verdict = asyncio.run(verify(url, lambda now: _begin(since, now), namespace, name, _Progress()))
    if job is not None and not verdict.jobs:
        raise click.ClickException(f"{namespace}/{name}: no such job since {show(verdict.since)}")
    for line in lines(verdict):
        click.echo(printable(line))
    click.get_current_context().exit(1 if verdict.findings else 0)


def _begin(since: str, now: datetime) -> datetime:
    """Return when the range begins; `now` is the database's time, which decides what is the future."""
    begin = arguments.since(since, now)
    if begin > now:
        raise click.BadParameter(f"must not lie in the future: it is {now:%Y-%m-%dT%H:%M:%SZ}", param_hint="--since")
    return begin


class _Progress:
    """A line on stderr now and then, once it takes more than two seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + QUIET_SECONDS

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + QUIET_SECONDS
            click.echo(f"verified {done} of {total} jobs", err=True)
