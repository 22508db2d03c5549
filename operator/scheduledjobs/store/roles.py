"""Roles: who owns the schema, who may change it, who runs on it and who reads what of it.

The SQL of roles and readers is printed for an administrator, who alone may make roles; it is text with names put in,
which are held against `check_role` first. What a runtime user needs is granted by `scheduledjobs migrate`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from scheduledjobs.core.namespaces import EVERYBODY, is_namespace_or_all
from scheduledjobs.store.sessions import Connection

RIGHTS = Path(__file__).parent / "rights"
ROLE = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
LONGEST_PREFIX = 63 - len("_migrator")


def check_role(name: str) -> None:
    """Raise `ValueError` unless this can be the name of a role, written without quotes."""
    if not ROLE.fullmatch(name):
        raise ValueError("must be lower-case letters, digits and _, at most 63, and not begin with a digit or pg_")


def roles_sql(prefix: str) -> str:
    """Return the SQL that makes PREFIX_owner, PREFIX_migrator and PREFIX_runtime; `ValueError` for a bad prefix."""
    check_role(prefix)
    if len(prefix) > LONGEST_PREFIX:
        raise ValueError(f"must be at most {LONGEST_PREFIX} characters")
    names = {kind: f"{prefix}_{kind}" for kind in ("owner", "migrator", "runtime")}
    return _put_in((RIGHTS / "roles.sql").read_text(), names)


def reader_sql(reader: str, namespaces: Sequence[str]) -> str:
    """Return the SQL that lets a role read these namespaces, `*` being all; `ValueError` for a bad name."""
    check_role(reader)
    for name in namespaces:
        if not is_namespace_or_all(name):
            raise ValueError(f"{name!r} is not the name of a namespace")
    told = "all namespaces" if EVERYBODY in namespaces else "namespace " + ", ".join(namespaces)
    values = {"reader": reader, "told": told, "namespaces": ", ".join(f"'{name}'" for name in namespaces)}
    return _put_in((RIGHTS / "reader.sql").read_text(), values)


def _put_in(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def user_of(url: str) -> str | None:
    """Return the user that an address names, None if it names none."""
    user = conninfo_to_dict(url).get("user")
    return str(user) if user else None


async def grant_runtime(conn: Connection, runtime: str) -> None:
    """Grant what replicas need to the user `runtime`, as the owner of the schema."""
    cursor = await conn.execute("SELECT current_schema()")
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 a SELECT without FROM has one row
    text = (RIGHTS / "runtime.sql").read_text()
    names = {"runtime": sql.Identifier(runtime), "schema": sql.Identifier(row[0])}
    async with conn.transaction():
        await conn.execute(sql.SQL(text).format(**names))
