"""`scheduledjobs history`: the versions of a job, who wrote them, and what changed between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import click
import orjson

from scheduledjobs.cli import arguments
from scheduledjobs.core.terminal import printable
from scheduledjobs.ledger.versions import author, changes
from scheduledjobs.settings import load
from scheduledjobs.store.ledger import find_jobs, snapshot, verify_versions
from scheduledjobs.store.queries import Row

LONGEST = 60


@click.command()
@click.argument("job", callback=arguments.job_argument, metavar="NS/NAME")
def command(job: tuple[str, str]) -> None:
    """Show the versions of a job, oldest first: when each was recorded, by whom, and what it changed.

    Earlier jobs that had its name are named first. Reads SCHEDULEDJOBS_DATABASE_URL and changes nothing.
    """
    found = asyncio.run(read(load().database_url.get_secret_value(), *job))
    if not found:
        raise click.ClickException(f"{job[0]}/{job[1]}: no such job in the database")
    for line in found:
        click.echo(printable(line))


async def read(url: str, namespace: str, name: str) -> list[str]:
    """Return the lines for the living job of a name, else for the one that had it last; none if nobody had it."""
    async with snapshot(url) as conn:
        jobs = await find_jobs(conn, namespace, name)
        versions = await verify_versions(conn, jobs[0]["id"]) if jobs else []
    return [*map(_earlier, reversed(jobs[1:])), *lines(versions)]


def _earlier(job: Row) -> str:
    span = f"{job['first_from']:%Y-%m-%d %H:%M:%S} to {job['deleted_at']:%Y-%m-%d %H:%M:%S} UTC"
    return f"earlier job of this name: {job['id']}, {span}"


def lines(versions: Sequence[Row]) -> Iterator[str]:
    """Yield a line a version row, and one for each field that it changed."""
    before: Row | None = None
    for version in versions:
        state = f"{version['state']}: {version['message']}" if version["message"] else version["state"]
        when = f"{version['recorded_at']:%Y-%m-%d %H:%M:%S} UTC"
        yield f"version {version['version']}  {when}  {_who(before, version)}  {state}"
        if before is not None:
            for name, old, new in changes(before["spec"], version["spec"]):
                yield f"    {name}: {_short(old)} -> {_short(new)}"
        before = version


def _who(before: Row | None, version: Row) -> str:
    who = author(before, version)
    return who if who in ("deleted", "pause ended") else f"by {who}"


def _short(value: object) -> str:
    text = "(none)" if value is None else orjson.dumps(value).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
