"""`scheduledjobs verify`: hold the log against the moments that were due."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta

import click

from scheduledjobs.cli import arguments
from scheduledjobs.ledger.verify import Verdict, lines, verify
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

    Prints the moments that are lost, doubled or were never due, then "0 lost, 0 doubled, N moments"; exit 1 if any are.
    Reads SCHEDULEDJOBS_DATABASE_URL and changes nothing.
    """
    settings = load()
    namespace, name = job or (None, None)
    kept = timedelta(days=settings.retention_days)
    verdict = asyncio.run(
        verify(
            settings.database_url.get_secret_value(),
            lambda now: max(arguments.since(since, now), now - kept),
            namespace,
            name,
            _Progress(),
        )
    )
    for line in lines(verdict):
        click.echo(line)
    if job is not None and not verdict.jobs:
        raise click.ClickException(f"{namespace}/{name}: no such job in the database")
    sys.exit(1 if _is_bad(verdict) else 0)


def _is_bad(verdict: Verdict) -> bool:
    return bool(verdict.findings)


class _Progress:
    """A line on stderr now and then, once it takes more than two seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + QUIET_SECONDS

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + QUIET_SECONDS
            click.echo(f"verified {done} of {total} jobs", err=True)
