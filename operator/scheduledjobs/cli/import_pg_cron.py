"""`scheduledjobs import pg_cron`: manifests from pg_cron's jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from scheduledjobs.cli import import_output
from scheduledjobs.cli.import_database import URL_OPTION, refuse_table
from scheduledjobs.cli.import_shadow import Time, shadow
from scheduledjobs.importing.imported import Imported
from scheduledjobs.importing.pg_cron import read_pg_cron
from scheduledjobs.importing.shadow import Compared
from scheduledjobs.store.foreign import list_cron_jobs, list_cron_runs, read_cron_zone, reading

HINT = "is it the one that cron.database_name names, and may this user read the schema cron?"


@click.command()
@URL_OPTION
@click.option("--connection", required=True, metavar="NAME", help="Of SCHEDULEDJOBS_SQL_CONNECTIONS, for the handler.")
@click.option("-n", "--namespace", callback=import_output.namespace, help="Namespace to write into the manifests.")
@import_output.options
def command(
    *,
    url: str,
    connection: str,
    namespace: str | None,
    output: Path | None,
    force: bool,
    shadow: timedelta | None,
) -> None:
    """Write ScheduledJobs with the handler sql for the jobs in pg_cron's table cron.job.

    The session can only read. A user who is no superuser sees only jobs of their own, as pg_cron has it. --shadow reads
    cron.job_run_details, which cron.log_run must fill.
    """
    rows, zone = asyncio.run(_read(url))
    jobs = [read_pg_cron(row, connection, zone, namespace, datetime.now(UTC)) for row in rows]
    jobs = import_output.write(jobs, output, force=force, is_shadow=shadow is not None)
    compared = asyncio.run(compare(url, jobs, rows, shadow, Time())) if shadow is not None else None
    import_output.leave(jobs, compared)


async def _read(url: str) -> tuple[list[dict[str, Any]], str]:
    async with refuse_table(HINT), reading(url) as conn:
        return await list_cron_jobs(conn), str((await read_cron_zone(conn))["zone"])


async def compare(
    url: str, jobs: Sequence[Imported], rows: Sequence[Mapping[str, Any]], duration: timedelta, clock: Time
) -> list[Compared]:
    """Hold the fire times of `jobs`, which were read from `rows`, against what pg_cron starts."""
    origins = {row["jobid"]: job.origin for row, job in zip(rows, jobs, strict=True)}

    async def look(since: datetime) -> dict[str, set[datetime]]:
        found: dict[str, set[datetime]] = {}
        async with refuse_table(HINT), reading(url) as conn:
            for run in await list_cron_runs(conn, since):
                if run["jobid"] in origins and run["start_time"]:
                    found.setdefault(origins[run["jobid"]], set()).add(run["start_time"])
        return found

    return await shadow(jobs, duration, look, is_nominal=False, clock=clock)
