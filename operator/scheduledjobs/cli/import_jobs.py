"""`scheduledjobs import`: manifests from what another scheduler has. Each source is a file of its own."""

from __future__ import annotations

from importlib import import_module

import click

SOURCES = {
    "cronjobs": "CronJobs of a cluster or a file.",
    "pg_cron": "The table cron.job of a PostgreSQL with pg_cron.",
    "celery-beat": "Celery's beat_schedule, or django-celery-beat's tables.",
}


class Sources(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of the sources, as help shows them."""
        return list(SOURCES)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Import and return a source's command, or None."""
        if name not in SOURCES:
            return None
        command: click.Command = import_module(f"scheduledjobs.cli.import_{name.replace('-', '_')}").command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of sources without importing them."""
        with formatter.section("Sources"):
            formatter.write_dl(list(SOURCES.items()))


EPILOG = (
    "Exit codes: 0 all jobs are imported, and --shadow found no difference; 1 some are not, or it found one; 2 a wrong "
    "option or file; 3 no answer (the database or the API server cannot be reached)."
)


@click.command(cls=Sources, epilog=EPILOG, subcommand_metavar="SOURCE [OPTIONS]")
def command() -> None:
    """Write ScheduledJob manifests for the jobs of another scheduler, and change nothing there.

    What differs stands as comments at the head of each manifest, a word each to grep for, and is counted on stderr. A
    job that has no equivalent is not guessed: its comment says why. Read the manifests before you apply them, and
    suspend the jobs there when you do: otherwise both run.

    With --shadow DURATION both schedulers' fire times are compared for so long; nothing is applied for it.
    """
