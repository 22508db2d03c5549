"""`scheduledjobs migrate`: bring the database's schema up to date, waiting for a database that is not there yet."""

from __future__ import annotations

import asyncio
import time

import click

from scheduledjobs.errors import SettingsError, StoreUnavailable
from scheduledjobs.settings import load
from scheduledjobs.store.migrate import migrate
from scheduledjobs.store.roles import user_of

RETRY_SECONDS = 1.0


@click.command()
@click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for a database that does not answer.")
def command(wait: float) -> None:
    """Bring the schema of SCHEDULEDJOBS_DATABASE_URL up to date. Safe to run at any time, by many at once.

    Where SCHEDULEDJOBS_MIGRATE_URL is set, it is used for that, and the user of SCHEDULEDJOBS_DATABASE_URL is granted
    what replicas need; see `scheduledjobs database roles`.
    """
    settings = load()
    url, runtime = settings.database_url.get_secret_value(), None
    if settings.migrate_url is not None:
        runtime = user_of(url)
        url = settings.migrate_url.get_secret_value()
        if runtime is None:
            raise SettingsError("SCHEDULEDJOBS_DATABASE_URL: names no user that rights could be granted to")
        if runtime == user_of(url):
            raise SettingsError("SCHEDULEDJOBS_MIGRATE_URL: names the user of SCHEDULEDJOBS_DATABASE_URL; leave it out")
    applied = asyncio.run(_migrate(url, wait, runtime))
    click.echo(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


async def _migrate(url: str, wait: float, runtime: str | None) -> list[str]:
    give_up_at = time.monotonic() + wait
    is_told = False
    while True:
        try:
            return await migrate(url, click.echo, runtime)
        except StoreUnavailable as error:
            if time.monotonic() >= give_up_at:
                raise
            if not is_told:
                name = "DATABASE" if runtime is None else "MIGRATE"
                click.echo(f"SCHEDULEDJOBS_{name}_URL: {error}; waiting up to {wait:g} s", err=True)
                is_told = True
            await asyncio.sleep(RETRY_SECONDS)
