"""`scheduledjobs migrate`: bring the database's schema up to date, waiting for a database that is not there yet."""

from __future__ import annotations

import asyncio
import time

import click

from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.settings import load
from scheduledjobs.store.migrate import migrate

RETRY_SECONDS = 1.0


@click.command()
@click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for a database that does not answer.")
def command(wait: float) -> None:
    """Bring the schema of SCHEDULEDJOBS_DATABASE_URL up to date. Safe to run at any time, by many at once."""
    applied = asyncio.run(_migrate(load().database_url.get_secret_value(), wait))
    click.echo(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


async def _migrate(url: str, wait: float) -> list[str]:
    give_up_at = time.monotonic() + wait
    is_told = False
    while True:
        try:
            return await migrate(url, tell=click.echo)
        except StoreUnavailable as error:
            if time.monotonic() >= give_up_at:
                raise
            if not is_told:
                click.echo(f"SCHEDULEDJOBS_DATABASE_URL: {error}; waiting up to {wait:g} s", err=True)
                is_told = True
            await asyncio.sleep(RETRY_SECONDS)
