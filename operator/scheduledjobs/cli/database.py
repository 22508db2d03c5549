"""`scheduledjobs database`: SQL for the administrator of the database, printed and not run."""

from __future__ import annotations

import click

from scheduledjobs.core.namespaces import EVERYBODY
from scheduledjobs.store.roles import reader_sql, roles_sql


@click.group(name="database")
def command() -> None:
    """Print SQL that makes roles in the database; connects to nothing.

    Making roles is an administrator's right, which the operator has no use for. So it is read first, then given to
    psql: scheduledjobs database roles | psql ADMINISTRATOR-URL
    """


@command.command(short_help="Owner, migrator and runtime: replicas that change no schema.")
@click.option("--prefix", default="scheduledjobs", show_default=True, help="How the names of the roles begin.")
def roles(prefix: str) -> None:
    """Print the SQL of owner, migrator and runtime: replicas that may not change the schema.

    Roles belong to the whole server: a second ScheduledJobs database on it needs a prefix of its own.
    """
    try:
        text = roles_sql(prefix)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--prefix") from None
    click.echo(text, nl=False)


@command.command(short_help="A role that reads some namespaces.")
@click.argument("role")
@click.option("-n", "--namespace", "namespaces", multiple=True, help="A namespace that ROLE may read; several times.")
@click.option("--all-namespaces", is_flag=True, help="ROLE may read all of them.")
def reader(role: str, namespaces: tuple[str, ...], all_namespaces: bool) -> None:  # noqa: FBT001 click's signature
    """Print the SQL of a ROLE that reads the jobs and executions of some namespaces, and nothing else."""
    if bool(namespaces) == all_namespaces:
        raise click.UsageError("give --namespace, once or more, or --all-namespaces")
    try:
        text = reader_sql(role, (EVERYBODY,) if all_namespaces else namespaces)
    except ValueError as error:
        raise click.BadParameter(
            str(error), param_hint="--namespace" if "namespace" in str(error) else "ROLE"
        ) from None
    click.echo(text, nl=False)
