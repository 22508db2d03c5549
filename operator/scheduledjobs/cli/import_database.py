"""What the sources of `import` share that are databases: their address, and what is said where a table is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from scheduledjobs.errors import StoreError, StoreUnavailable
from scheduledjobs.store.sessions import is_url


def url_value(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Check an address, without repeating it: it may hold a password."""
    if value is not None and not is_url(value):
        raise click.BadParameter("must look like postgresql://user:password@host:5432/name, its parts percent-encoded")
    return value


URL_HELP = "Address of the database, postgresql://...; better in the environment, as it may hold a password."
URL_OPTION = click.option(
    "--url",
    envvar="SCHEDULEDJOBS_IMPORT_DATABASE_URL",
    show_envvar=True,
    required=True,
    callback=url_value,
    help=URL_HELP,
)


@asynccontextmanager
async def refuse_table(hint: str) -> AsyncIterator[None]:
    """Say of a statement that the database refuses what may be wrong with the address."""
    try:
        yield
    except StoreUnavailable:
        raise
    except StoreError as error:
        raise click.BadParameter(f"the database says: {error}; {hint}", param_hint="--url") from None
