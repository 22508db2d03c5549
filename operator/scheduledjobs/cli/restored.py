"""`scheduledjobs restored`: the database comes from a backup, so close what it believes to be undecided."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import click

from scheduledjobs.cli import arguments
from scheduledjobs.settings import Settings, load
from scheduledjobs.steps.restored import Closed, Restored, find_beating
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.leadership import read_leadership, take_over
from scheduledjobs.store.migrate import check_schema
from scheduledjobs.store.sessions import connect

LOOK_SECONDS = 3.0
QUIET_SECONDS = 2.0
HOLDER = "scheduledjobs restored"


def _until(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    return None if value is None else arguments.moment(value)


@click.command()
@click.option(
    "--until",
    callback=_until,
    metavar="TIME",
    help="Until when the operator may have run what the backup does not know, RFC 3339.  [default: now]",
)
def command(until: datetime | None) -> None:
    """Say that the database was restored from a backup, before the operator is started on it.

    What was due between the backup and TIME may have run, and the backup does not know: those moments become
    MISSED/Restored, those of suspended one-shots too. What waited or ran in the backup becomes LOST/Restored. None of
    it is run again. What was due after TIME is decided by each job's misfire policy when the operator starts; without
    this command, all of it is.

    Reads SCHEDULEDJOBS_DATABASE_URL, and SCHEDULEDJOBS_RETENTION_DAYS, which must be what the operator has (30 if
    unset): moments that are older are closed without a row. Refuses while a replica runs. Safe to run again.
    """
    closed, end = asyncio.run(_restored(load(), until))
    click.echo(
        f"closed until {end.isoformat(timespec='milliseconds')}: {closed.moments} moments (MISSED/Restored), "
        f"{closed.executions} executions that waited or ran (LOST/Restored)"
    )
    if closed.suspended:
        click.echo(
            f"closed too, suspended in the backup but perhaps resumed, and run, since: {_some(closed.suspended)}"
        )
    if closed.unreadable:
        click.echo(f"not closed, since this version cannot read the spec: {_some(closed.unreadable)}")
    if closed.resuming:
        click.echo(
            f"a pause has ended since the backup, the misfire policy decides from then on: {_some(closed.resuming)}"
        )


def _some(names: list[str]) -> str:
    rest = len(names) - 20
    return ", ".join(names[:20]) + (f" and {rest} more" if rest > 0 else "")


async def _restored(settings: Settings, until: datetime | None) -> tuple[Closed, datetime]:
    url = settings.database_url.get_secret_value()
    async with connect(url, HOLDER) as conn:
        await check_schema(conn)
        now = await database_now(conn)
        if until is not None and until > now:
            raise click.BadParameter(
                f"must not lie in the future: it is {now:%Y-%m-%dT%H:%M:%SZ}", param_hint="--until"
            )
        click.echo(f"looking for {LOOK_SECONDS:g} s whether a replica runs on this database", err=True)
        if beating := await find_beating(conn, lambda: asyncio.sleep(LOOK_SECONDS)):
            raise click.ClickException(f"the operator runs on this database ({_some(beating)}): stop it first")
        term = (await read_leadership(conn))["term"]
    end = (until or now).astimezone(UTC)
    async with take_over(url, HOLDER, term) as leader:
        if leader is None:
            raise click.ClickException("the operator has just started on this database: stop it first")
        retention = timedelta(days=settings.retention_days)
        return await Restored(leader, end, retention, _Progress()).run(), end


class _Progress:
    """A line on stderr now and then, once it takes more than two seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + QUIET_SECONDS

    def __call__(self, closed: Closed) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + QUIET_SECONDS
            click.echo(f"closed {closed.executions} executions and {closed.moments} moments so far", err=True)
