"""`scheduledjobs why`: what became of one moment, and why."""

from __future__ import annotations

import asyncio
from datetime import datetime

import click

from scheduledjobs.cli import arguments
from scheduledjobs.core.terminal import printable
from scheduledjobs.ledger.why import why
from scheduledjobs.settings import load


def _at(_ctx: click.Context, _param: click.Parameter, value: str) -> datetime:
    return arguments.moment(value, needs_offset=False)


@click.command()
@click.argument("job", callback=arguments.job_argument, metavar="NS/NAME")
@click.option("--at", callback=_at, required=True, metavar="TIME", help="RFC 3339; without an offset: the job's zone.")
def command(job: tuple[str, str], at: datetime) -> None:
    """Explain one moment of a job: zone, window, pause, overlap, claim, replica and attempts.

    Reads SCHEDULEDJOBS_DATABASE_URL and changes nothing.
    """
    found = asyncio.run(why(load().database_url.get_secret_value(), *job, at))
    if not found:
        raise click.ClickException(f"{job[0]}/{job[1]}: no such job in the database")
    for line in found:
        click.echo(printable(line))
