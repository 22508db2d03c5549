"""The command `scheduledjobs`: its commands are loaded when they are called, so `--help` is quick.

An error of ours is one line on stderr: exit 2 for a wrong setting or argument, 1 for what may work another time.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import click

from scheduledjobs import __version__
from scheduledjobs.errors import ScheduledJobsError, SettingsError, SpecError

COMMANDS = {
    "run": "Run one replica of the operator.",
    "migrate": "Bring the database's schema up to date.",
    "handlers": "List the handlers and what payload they take.",
    "run-now": "Run a job once, now.",
    "pause": "Suspend a job for a while.",
    "resume": "End a pause.",
    "verify": "Hold the log against the moments that were due.",
    "why": "Explain what became of one moment.",
    "history": "Show the versions of a job and what changed.",
    "cancel": "Cancel an execution that waits or runs.",
    "next": "Show when a cron expression fires next.",
}
MODULES = {"next": "next_fires", "run-now": "run_now"}


class Commands(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of the commands, as help shows them."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Import and return a command, or None."""
        if name not in COMMANDS:
            return None
        module = import_module(f"scheduledjobs.cli.{MODULES.get(name, name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands)
@click.version_option(__version__, prog_name="scheduledjobs")
def group() -> None:
    """ScheduledJobs: recurring jobs on Kubernetes, exactly one execution for every due moment."""


def main() -> None:
    """Run the command line; as a kubectl plugin it is called kubectl-scheduledjobs."""
    is_plugin = Path(sys.argv[0]).name == "kubectl-scheduledjobs"
    try:
        group(prog_name="kubectl scheduledjobs" if is_plugin else "scheduledjobs")
    except ScheduledJobsError as error:
        print(f"scheduledjobs: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, SettingsError | SpecError) else 1)
