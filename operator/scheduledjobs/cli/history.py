"""`scheduledjobs history`: the versions of a job, who wrote them, and what changed between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import click
import orjson

from scheduledjobs.cli import arguments
from scheduledjobs.settings import load
from scheduledjobs.store.ledger import find_job, snapshot, verify_versions

LONGEST = 60


@click.command()
@click.argument("job", callback=arguments.job_argument, metavar="NS/NAME")
def command(job: tuple[str, str]) -> None:
    """Show the versions of a job, oldest first: when each was recorded, by whom, and what it changed.

    Reads SCHEDULEDJOBS_DATABASE_URL and changes nothing.
    """
    versions = asyncio.run(_read(load().database_url.get_secret_value(), *job))
    if not versions:
        raise click.ClickException(f"{job[0]}/{job[1]}: no such job in the database")
    for line in lines(versions):
        click.echo(line)


async def _read(url: str, namespace: str, name: str) -> list[dict[str, Any]]:
    async with snapshot(url) as conn:
        found = await find_job(conn, namespace, name)
        return [] if found is None else await verify_versions(conn, found["id"])


def lines(versions: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield a line a version row, and one for each field that it changed."""
    before: dict[str, Any] = {}
    for version in versions:
        who = version["field_manager"] or "unknown"
        state = f"{version['state']}: {version['message']}" if version["message"] else version["state"]
        yield f"version {version['version']}  {version['recorded_at']:%Y-%m-%d %H:%M:%S} UTC  by {who}  {state}"
        if before:
            yield from changes(before, version["spec"])
        before = version["spec"]


def changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what changed between two specs, a line a field."""
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"    {name}: {_short(before.get(name))} -> {_short(after.get(name))}"


def _short(value: object) -> str:
    text = "(none)" if value is None else orjson.dumps(value).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
