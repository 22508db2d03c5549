"""`scheduledjobs history`: the versions of a job, who wrote them, and what changed between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import click
import orjson

from scheduledjobs.cli import arguments
from scheduledjobs.core.reasons import JobState
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
        click.echo(line)


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
            yield from changes(before["spec"], version["spec"])
        before = version


def _who(before: Row | None, version: Row) -> str:
    """Say who wrote a version; of a change that came with none, what it was."""
    if version["state"] == JobState.DELETED:
        return "deleted"
    if before is not None and before["version"] == version["version"] and before["state"] == JobState.SUSPENDED:
        until = before["paused_until"]
        if until is not None and until <= version["recorded_at"] and version["state"] != JobState.SUSPENDED:
            return "pause ended"
    return f"by {version['field_manager'] or 'unknown'}"


def changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what changed between two specs, a line a field."""
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"    {name}: {_short(before.get(name))} -> {_short(after.get(name))}"


def _short(value: object) -> str:
    text = "(none)" if value is None else orjson.dumps(value).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
