"""The command `scheduledjobs`: its commands are loaded when they are called, so `--help` is quick.

A command that has its answer exits with 0, or with 1 if that is no: verify has found something, a job is not there, a
request is refused. A wrong argument or setting is 2. What kept it from an answer, such as a database or an API server
that cannot be reached, is 3: an error of ours is one line on stderr. So a script can tell "no" from "not known".
"""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from pathlib import Path

import click

from scheduledjobs import __version__
from scheduledjobs.errors import ScheduledJobsError, SettingsError, SpecError

COMMANDS = {
    "run": "Run one replica of the operator.",
    "migrate": "Bring the database's schema up to date.",
    "database": "Print SQL that makes database roles.",
    "handlers": "List the handlers and what payload they take.",
    "run-now": "Run a job once, now.",
    "pause": "Suspend a job for a while.",
    "resume": "End a pause.",
    "verify": "Hold the log against the moments that were due.",
    "why": "Explain what became of one moment.",
    "history": "Show the versions of a job and what changed.",
    "cancel": "Cancel an execution that waits or runs.",
    "notices": "Try a webhook that notices go to.",
    "restored": "After a restore of the database: let nothing run a second time.",
    "smoke": "Make a job, see it run, read its row, delete it.",
    "next": "Show when a cron expression fires next.",
    "import": "Write manifests from CronJobs, pg_cron or Celery beat.",
}
MODULES = {"next": "next_fires", "run-now": "run_now", "import": "import_jobs"}


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


EPILOG = (
    "Exit codes: 0 done; 1 the answer is no (verify found something, there is no such job, a request is refused); "
    "2 a wrong argument or setting; 3 no answer (the database or the API server cannot be reached, or an error)."
)
UNKNOWN = 3
INTERRUPTED = 130


@click.command(cls=Commands, epilog=EPILOG)
@click.version_option(__version__, prog_name="scheduledjobs")
def group() -> None:
    """ScheduledJobs: recurring jobs on Kubernetes, exactly one execution for every due moment."""


def main() -> None:
    """Run the command line; as a kubectl plugin it is called kubectl-scheduledjobs."""
    is_plugin = Path(sys.argv[0]).name == "kubectl-scheduledjobs"
    sys.exit(exit_code("kubectl scheduledjobs" if is_plugin else "scheduledjobs"))


def exit_code(prog_name: str) -> int:
    """Run the command that sys.argv names, say on stderr what is wrong, and return the exit code."""
    try:
        found = group.main(prog_name=prog_name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        print("Aborted!", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has enough; Python would complain once more at its own end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNKNOWN
    except ScheduledJobsError as error:
        print(f"scheduledjobs: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError | SpecError) else UNKNOWN
    except Exception:  # noqa: BLE001 Python's own exit code would be 1, and that is an answer
        traceback.print_exc()
        return UNKNOWN
    return found if isinstance(found, int) else 0
