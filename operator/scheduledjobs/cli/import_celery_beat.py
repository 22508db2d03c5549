"""`scheduledjobs import celery-beat`: manifests from the schedule of Celery beat."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import yaml

from scheduledjobs.cli import import_output
from scheduledjobs.cli.import_database import URL_HELP, refuse_table, url_value
from scheduledjobs.core.schedule import Cron
from scheduledjobs.core.zone import load_zone
from scheduledjobs.importing.celery_beat import read_beat
from scheduledjobs.importing.celery_runs import celery_moments
from scheduledjobs.importing.django_beat import read_row
from scheduledjobs.importing.imported import CannotImport, Imported, refused
from scheduledjobs.importing.shadow import Compared, compare, our_moments
from scheduledjobs.store.foreign import list_beat_tasks, reading

OWN = "celery.backend_cleanup"
Entries = Mapping[str, Mapping[str, Any] | CannotImport]
"""The entries by name; one that cannot be read says why."""


def _handlers(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    found = []
    for value in values:
        pattern, equals, handler = value.rpartition("=")
        if not equals or not pattern or not handler:
            raise click.BadParameter("must be TASK=HANDLER, such as 'reports.*=celery', or '*=celery' for all")
        found.append((pattern, handler))
    return found


@click.command(name="celery-beat")
@click.option("--app", metavar="MODULE:NAME", help="A Celery app, or a beat_schedule, imported from this folder.")
@click.option("-f", "--file", metavar="FILE", help="YAML or JSON with beat_schedule and timezone.")
@click.option(
    "--url",
    envvar="SCHEDULEDJOBS_IMPORT_DATABASE_URL",
    show_envvar=True,
    callback=url_value,
    help=f"{URL_HELP} Its tables are django-celery-beat's.",
)
@click.option("--time-zone", callback=import_output.zone, metavar="ZONE", help="Celery's timezone, if no app tells.")
@click.option(
    "--handler",
    "handlers",
    multiple=True,
    callback=_handlers,
    metavar="TASK=HANDLER",
    help="Handler for tasks that match, repeatable, the first wins.  [default: one named as the task]",
)
@click.option("-n", "--namespace", callback=import_output.namespace, help="Namespace to write into the manifests.")
@import_output.options
def command(
    *,
    app: str | None,
    file: str | None,
    url: str | None,
    time_zone: str | None,
    handlers: list[tuple[str, str]],
    namespace: str | None,
    output: Path | None,
    force: bool,
    shadow: timedelta | None,
) -> None:
    """Write ScheduledJobs for the entries of Celery beat; the payload is {task, args, kwargs}, and queue if it has one.

    A handler takes a task's place: one that sends the task to your workers is in docs/howto/migrate-from-celery-beat.md
    and works for all with --handler '*=celery'. --shadow asks the schedules themselves (with --app, and Celery
    installed) and so does not wait.
    """
    chosen = {"--app": app, "--file": file} if app or file else {"--url": url}
    if sum(value is not None for value in chosen.values()) != 1:
        raise click.UsageError("give one of --app, --file and --url")
    if shadow is not None and app is None:
        raise click.UsageError("--shadow asks the schedules of a Celery app: only with --app")
    entries, zone = _read(app, file, url)
    now = datetime.now(UTC)
    jobs = [
        _read_entry(str(name), entry, time_zone or zone, handlers, namespace, now) for name, entry in entries.items()
    ]
    jobs = import_output.write(jobs, output, force=force, is_shadow=shadow is not None)
    compared = compare_ahead(jobs, list(entries.values()), now, now + shadow) if shadow is not None else None
    import_output.leave(jobs, compared)


def _read_entry(
    name: str,
    entry: Any,
    zone: str | None,
    handlers: Sequence[tuple[str, str]],
    namespace: str | None,
    now: datetime,
) -> Imported:
    if isinstance(entry, CannotImport):
        return refused(f"Celery beat entry {name}", name, namespace, str(entry))
    if not isinstance(entry, Mapping):
        sentence = f"an entry of type {type(entry).__name__} cannot be read: a mapping can"
        return refused(f"Celery beat entry {name}", name, namespace, sentence)
    return read_beat(name, entry, entry.get("timezone") or zone, handlers, namespace, now)


def compare_ahead(jobs: Sequence[Imported], entries: Sequence[Any], after: datetime, until: datetime) -> list[Compared]:
    """Hold the fire times of `jobs` in (after, until] against those that Celery's schedules themselves name."""
    found = []
    for job, entry in zip(jobs, entries, strict=True):
        schedule = job.schedule
        if schedule is None or not hasattr(entry["schedule"], "remaining_estimate"):
            continue
        zone = load_zone(schedule.zone) if isinstance(schedule, Cron) else None
        theirs = celery_moments(entry["schedule"], after, until, zone)
        ours = our_moments(schedule, after, until, theirs, is_suspended=False)
        found.append(compare(job.origin, ours, theirs, timedelta(seconds=1)))
    return found


def _read(app: str | None, file: str | None, url: str | None) -> tuple[Entries, str | None]:
    if app is not None:
        found, zone = _read_app(app)
    elif file is not None:
        found, zone = _read_file(file)
    else:
        found, zone = asyncio.run(_read_tables(str(url))), None  # each crontab of the tables has its own
    left = {name for name, entry in found.items() if isinstance(entry, Mapping) and entry.get("task") == OWN}
    if left:
        click.echo(f"{OWN} is left out: it is Celery's own", err=True)
    return {name: entry for name, entry in found.items() if name not in left}, zone


def _read_app(text: str) -> tuple[Entries, str | None]:
    module, _, name = text.partition(":")
    sys.path.insert(0, "")
    try:
        found = getattr(import_module(module), name or "app")
    except Exception as error:  # noqa: BLE001 somebody else's module
        message = f"{text} cannot be imported: {type(error).__name__}: {error}"
        raise click.BadParameter(message, param_hint="--app") from None
    conf = getattr(found, "conf", found)
    schedule = conf if isinstance(conf, Mapping) and "beat_schedule" not in conf else _get(conf, "beat_schedule")
    if not isinstance(schedule, Mapping):
        raise click.BadParameter(f"{text} is neither a Celery app nor a beat_schedule", param_hint="--app")
    zone = _get(conf, "timezone") or ("UTC" if _get(conf, "enable_utc") else None)  # else it is the machine's
    return schedule, str(zone) if zone else None


def _get(conf: Any, name: str) -> Any:
    return conf.get(name) if isinstance(conf, dict) else getattr(conf, name, None)


def _read_file(file: str) -> tuple[Entries, str | None]:
    try:
        found = yaml.safe_load(Path(file).read_text())
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be read: {error.strerror}", param_hint="--file") from None
    except (yaml.YAMLError, ValueError) as error:  # a date that is none is a ValueError
        raise click.BadParameter(f"{file} is no YAML: {' '.join(str(error).split())}", param_hint="--file") from None
    schedule = found.get("beat_schedule") if isinstance(found, Mapping) else None
    if not isinstance(schedule, Mapping) or not all(isinstance(entry, Mapping) for entry in schedule.values()):
        message = f"{file} has no beat_schedule, a mapping of names to {{task, schedule, args, kwargs, options}}"
        raise click.BadParameter(message, param_hint="--file")
    return schedule, str(found["timezone"]) if found.get("timezone") else None


async def _read_tables(url: str) -> Entries:
    found: dict[str, Mapping[str, Any] | CannotImport] = {}
    async with refuse_table("are they django-celery-beat's tables?"), reading(url) as conn:
        for row in await list_beat_tasks(conn):
            try:
                entry, zone = read_row(row)
                found[row["task"]["name"]] = {**entry, "timezone": zone}
            except CannotImport as error:
                found[row["task"]["name"]] = error
    return found
