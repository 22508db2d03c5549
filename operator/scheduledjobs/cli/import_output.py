"""What every source of `import` shares: its options, where manifests go, the summary, progress and exit codes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from scheduledjobs.core.duration import parse_duration
from scheduledjobs.core.zone import zone_names
from scheduledjobs.importing.imported import Imported, distinct, is_namespace
from scheduledjobs.importing.manifest import file_name, manifest, summary
from scheduledjobs.importing.shadow import Compared, table

QUIET_SECONDS = 2.0
LONGEST_SHADOW = timedelta(hours=24)


def duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> timedelta | None:
    """Read the length of a comparison."""
    if value is None:
        return None
    try:
        found = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not timedelta(seconds=1) <= found <= LONGEST_SHADOW:
        raise click.BadParameter("must be between 1s and 24h")
    return found


def zone(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Read a time zone."""
    if value is not None and value not in zone_names():
        raise click.BadParameter(f"{value} is not in the IANA time zone database, such as Europe/Berlin")
    return value


def namespace(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Read the namespace that is written into manifests and the names of their files."""
    if value is not None and not is_namespace(value):
        raise click.BadParameter(f"{value!r} is no name that a namespace can have")
    return value


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every source takes."""
    for option in (
        click.option(
            "--shadow", callback=duration, metavar="DURATION", help="Compare fire times for so long, such as 10m."
        ),
        click.option("--force", is_flag=True, help="Overwrite files that are there."),
        click.option(
            "-o",
            "--output",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="Write a file a job into FOLDER.  [default: all to stdout]",
        ),
    ):
        command = option(command)
    return command


def write(found: Sequence[Imported], output: Path | None, *, force: bool, is_shadow: bool) -> list[Imported]:
    """Write the manifests and the summary; return the jobs as they are named. With a shadow only into a folder."""
    jobs = distinct(found)
    if output is not None:
        _write_files(jobs, output, force=force)
    elif not is_shadow:
        click.echo("---\n".join(map(manifest, jobs)), nl=False)
    for line in summary(jobs):
        click.echo(line, err=True)
    return jobs


def _write_files(jobs: Sequence[Imported], output: Path, *, force: bool) -> None:
    paths = {output / file_name(job): manifest(job) for job in jobs if job.spec is not None}
    there = sorted(path.name for path in paths if path.exists())
    if there and not force:
        raise click.UsageError(f"{output} has {there[0]} already ({len(there)} in all): --force overwrites")
    try:
        output.mkdir(parents=True, exist_ok=True)
        for path, text in paths.items():
            path.write_text(text)
    except OSError as error:
        raise click.UsageError(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"{len(paths)} manifests are in {output}", err=True)


def leave(jobs: Sequence[Imported], compared: Sequence[Compared] | None) -> None:
    """Print the comparison, if there was one, and exit: 1 where a job is not imported or a moment differs."""
    if compared is not None:
        for line in table(compared):
            click.echo(line)
    is_less = any(job.spec is None for job in jobs) or any(job.differs for job in compared or ())
    click.get_current_context().exit(1 if is_less else 0)


class Progress:
    """A line on stderr now and then, once it takes more than two seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + QUIET_SECONDS

    def __call__(self, text: str) -> None:
        """Say how far it is."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + QUIET_SECONDS
            click.echo(text, err=True)
