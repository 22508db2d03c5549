"""The reference of tables, made from the catalog of a migrated database: `python -m dev.tables_docs` writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import psycopg

from dev.markdown import table
from dev.postgres import new_folder, new_postgres
from scheduledjobs.store.migrate import migrate

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "tables.md"
HEAD = """# Tables

What a person may read in the operator's database; `\\d+ TABLE` in psql says the same. Made from the catalog of a
migrated database by `make docs`. Nobody but the operator writes here: what should run is changed in the custom
resource.

Times are `timestamptz` in milliseconds, decided by `scheduler_now()`. The log, its attempts and its output have a
partition for each UTC day of `fire_time`; a day older than the retention is dropped whole. Every state and reason is in
[states.md](states.md). The views `reader_*` show the same columns to those who may read some namespaces only
([roles in the database](../howto/database-roles.md)).

```sql
SELECT * FROM job_execution_log ORDER BY fire_time DESC LIMIT 20;              -- what ran, and what did not and why
SELECT namespace, name, state, reason, next_fire_at FROM job_definition;       -- what should run
SELECT hostname, is_leader, running, slots FROM scheduler_instance WHERE dead_at IS NULL;    -- who runs it
```
"""
FIRST = ["job_execution_log", "job_definition"]
"""What people look for; the others follow by name."""

TABLES = """
SELECT c.oid, c.relname, c.relkind = 'p', coalesce(obj_description(c.oid), '')
FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname
"""
COLUMNS = """
SELECT
    a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    coalesce(pg_get_expr(d.adbin, d.adrelid), ''), coalesce(col_description(a.attrelid, a.attnum), '')
FROM pg_attribute AS a
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
KEYS = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = %s AND contype IN ('p', 'u', 'f')
ORDER BY contype DESC, 1
"""


def page(url: str) -> str:
    """Return the page, given the URL of a migrated database."""
    with psycopg.connect(url, autocommit=True) as conn:
        tables = conn.execute(TABLES).fetchall()
        tables.sort(key=lambda row: FIRST.index(row[1]) if row[1] in FIRST else len(FIRST))
        lines = [HEAD, *(line for each in tables for line in _table(conn, each))]
    return "\n".join(lines).rstrip() + "\n"


def bare(url: str) -> list[str]:
    """Return the tables and columns that have no comment."""
    with psycopg.connect(url, autocommit=True) as conn:
        tables = conn.execute(TABLES).fetchall()
        columns = [(name, *each) for oid, name, *_ in tables for each in conn.execute(COLUMNS, [oid])]
    return [row[1] for row in tables if not row[3]] + [f"{row[0]}.{row[1]}" for row in columns if not row[5]]


def _table(conn: psycopg.Connection, row: tuple[int, str, bool, str]) -> Iterator[str]:
    oid, name, is_parted, comment = row
    yield f"## {name}"
    yield ""
    yield comment + (" Partitioned by day." if is_parted else "")
    yield ""
    yield from (f"- {definition}" for (definition,) in conn.execute(KEYS, [oid]))
    yield ""
    rows = [
        [f"`{column}`", _type(kind), _must(must=must, default=default), said]
        for column, kind, must, default, said in conn.execute(COLUMNS, [oid])
    ]
    yield from table(["column", "type", "null", "what it is"], rows)


def _type(kind: str) -> str:
    return kind.replace("timestamp(3) with time zone", "timestamptz")


def _must(*, must: bool, default: str) -> str:
    if not must:
        return "yes"
    return f"no, default `{default}`" if default else "no"


def main() -> None:
    """Write the page, with a server of its own."""
    folder = new_folder("scheduledjobs-docs-")
    server = new_postgres(folder / "server")
    try:
        server.start()
        asyncio.run(migrate(server.url))
        PAGE.write_text(page(server.url))
    finally:
        server.stop()
        rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
