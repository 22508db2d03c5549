"""Migrations: numbered SQL files, applied once each, in order, by whoever comes first; never edited, never undone.

One advisory lock makes replicas that start together wait for each other. Each file runs in a transaction with the row
that records it, and its checksum is compared at every later start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from psycopg import errors

from scheduledjobs.errors import SchemaError, SchemaTooOld
from scheduledjobs.store.partitions import DAYS_AHEAD, ensure_days
from scheduledjobs.store.queries import fetch_all
from scheduledjobs.store.roles import grant_runtime
from scheduledjobs.store.sessions import Connection, connect

LOCK = 0x534A_4D49
LOCK_LIMIT = "2s"
"""How long a migration waits for a table that somebody reads, a dump even: all who come later wait behind it."""

ROLES = "see docs/howto/database-roles.md for users who may not"
RECORD = """
CREATE TABLE IF NOT EXISTS schema_migration (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz(3) NOT NULL DEFAULT statement_timestamp()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of migrations/: NNNN_name.sql."""

    number: int
    name: str
    text: bytes

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text).hexdigest()


def load_migrations() -> list[Migration]:
    """Return the migrations of this program, in order: from the wheel, or from the checkout that it runs in."""
    packaged = files("scheduledjobs") / "_migrations"
    folder = packaged if packaged.is_dir() else Path(__file__).parents[3] / "migrations"
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_bytes()) for file in found]


async def migrate(url: str, tell: Callable[[str], None] = lambda _: None, runtime: str | None = None) -> list[str]:
    """Bring the database's schema up to this program's; return the names of what was applied.

    `tell` is given a line for each. `runtime` is the user that replicas have, where that is another one: it is granted
    what they need. `SchemaError` where the schema is newer, has been changed, or may not be made; `StoreBusy` where a
    table is in use: to be tried again.
    """
    async with connect(url, "scheduledjobs migrate") as conn:
        await conn.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            applied = await _apply_all(conn, load_migrations(), tell)
            today = datetime.now(UTC).date()
            await ensure_days(conn, today - timedelta(days=1), today + timedelta(days=DAYS_AHEAD))
            if runtime is not None:
                await grant_runtime(conn, runtime)
        except errors.InsufficientPrivilege as error:
            raise SchemaError(
                f"the database user may not make the schema: {error.diag.message_primary}; {ROLES}"
            ) from error
        except errors.UndefinedObject as error:
            raise SchemaError(f"the user of SCHEDULEDJOBS_DATABASE_URL: {error.diag.message_primary}") from error
    return applied


async def _apply_all(conn: Connection, migrations: list[Migration], tell: Callable[[str], None]) -> list[str]:
    try:
        known = await list_migrations(conn)
    except errors.UndefinedTable:
        await conn.execute(RECORD)
        known = {}
    _check(known, migrations)
    pending = [migration for migration in migrations if migration.number not in known]
    for migration in pending:
        tell(f"applying migration {migration.name}")
        async with conn.transaction():
            await conn.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_LIMIT])
            await conn.execute(migration.text)
            record = "INSERT INTO schema_migration (number, name, checksum) VALUES (%s, %s, %s)"
            await conn.execute(record, [migration.number, migration.name, migration.checksum])
    return [migration.name for migration in pending]


async def list_migrations(conn: Connection) -> dict[int, tuple[str, str]]:
    """Return name and checksum of the migrations that the database has had, by number; the driver's `UndefinedTable`
    where it has no schema yet."""
    return {row["number"]: (row["name"], row["checksum"]) for row in await fetch_all(conn, "list_migrations")}


def _check(known: dict[int, tuple[str, str]], migrations: list[Migration]) -> None:
    newest = max((migration.number for migration in migrations), default=0)
    if known and max(known) > newest:
        name = known[max(known)][0]
        raise SchemaError(f"the database's schema ({name}) is newer than this program ({newest:04}): upgrade it first")
    for migration in migrations:
        recorded = known.get(migration.number)
        if recorded is not None and recorded[1] != migration.checksum:
            raise SchemaError(f"migration {migration.name} was changed after it was applied to this database")


async def check_schema(conn: Connection) -> None:
    """Raise `SchemaError` unless the database has exactly the schema that this program needs."""
    try:
        known = await list_migrations(conn)
    except errors.UndefinedTable:
        raise SchemaTooOld("the database has no schema yet: run `scheduledjobs migrate`") from None
    migrations = load_migrations()
    _check(known, migrations)
    if len(known) < len(migrations):
        raise SchemaTooOld("the database's schema is older than this program needs: run `scheduledjobs migrate`")
