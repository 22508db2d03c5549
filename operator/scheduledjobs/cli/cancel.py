"""`scheduledjobs cancel`: end an execution that waits, or stop one that runs."""

from __future__ import annotations

import asyncio
import time

import click

from scheduledjobs.cli.asking import local_user
from scheduledjobs.settings import load
from scheduledjobs.store.executions import CHANGED, STOP, cancel_execution, find_execution, notify
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import connect

POLL_SECONDS = 0.2
ENDED = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELLED", "LOST", "SKIPPED", "MISSED"})


@click.command()
@click.argument("execution", type=int, metavar="ID")
@click.option("--by", default=local_user, help="Who cancels, for the history.  [default: the user]")
@click.option("--wait", default=10.0, show_default=True, help="Seconds to wait for a running one to stop.")
def command(execution: int, by: str, wait: float) -> None:
    """Cancel the execution of this ID (column id of job_execution_log): it is not retried.

    One that waits ends at once; a running async handler is cancelled by its replica; a sync one is told by its
    `stopping` event, and its row ends at once. Writes to SCHEDULEDJOBS_DATABASE_URL.
    """
    row = asyncio.run(_cancel(load().database_url.get_secret_value(), execution, by, wait))
    click.echo(f"execution {execution} of {row['namespace']}/{row['job_name']}: {row['state']} ({row['reason']})")


async def _cancel(url: str, execution: int, by: str, wait: float) -> Row:
    async with connect(url, "scheduledjobs cancel") as conn:
        asked = await cancel_execution(conn, execution, by)
        found = await find_execution(conn, execution)
        if found is None:
            raise click.ClickException(f"execution {execution}: there is none")
        if asked is None:
            raise click.ClickException(f"execution {execution} has ended already: {found['state']} ({found['reason']})")
        await notify(conn, STOP)
        await notify(conn, CHANGED)
        deadline = time.monotonic() + wait
        while found["state"] not in ENDED and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
            found = await find_execution(conn, execution) or found
        if found["state"] not in ENDED:
            raise click.ClickException(f"execution {execution} was asked to stop and still runs after {wait:g} s")
        return found
