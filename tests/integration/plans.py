"""How the database runs a statement: with the plan that is kept for all parameters, and the one made for these."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from psycopg import sql as composed
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer
from psycopg.rows import tuple_row

from scheduledjobs.store.queries import sql
from scheduledjobs.store.sessions import Connection

MANY = 10_000
"""Rows that no point read looks at: a whole index walked is a table read whole too, where sequential scans are off."""


async def tables_read_whole(
    conn: Connection, name: str, after_planning: Callable[[], None] | None = None, **params: Any
) -> set[str]:
    """Run a statement and take it back, once a plan; return the tables whose rows it read one after the other.

    With `after_planning` only the kept plan is tried: made before that call, run after it.
    """
    modes = ("force_generic_plan", "force_custom_plan") if after_planning is None else ("force_generic_plan",)
    found = [await _nodes_run(conn, name, mode, params, after_planning) for mode in modes]
    return {node["Relation Name"] for nodes in found for node in nodes if _reads_whole(node)}


async def rows_read(conn: Connection, name: str, **params: Any) -> dict[str, int]:
    """Run a statement once a plan; return how many rows of each table the worse one read, all days of one together."""
    worst: dict[str, int] = {}
    for mode in ("force_generic_plan", "force_custom_plan"):
        read: dict[str, int] = {}
        for node in await _nodes_run(conn, name, mode, params):
            if "Relation Name" in node:
                table = re.sub(r"_\d{8}$", "", node["Relation Name"])
                read[table] = read.get(table, 0) + round(_rows(node) * node["Actual Loops"])
        worst = {table: max(worst.get(table, 0), read.get(table, 0)) for table in worst | read}
    return worst


async def _nodes_run(
    conn: Connection, name: str, mode: str, params: dict[str, Any], after_planning: Callable[[], None] | None = None
) -> list[dict[str, Any]]:
    """Return the nodes of a plan that was made in this mode, run, and taken back."""
    query = PostgresQuery(Transformer(conn))
    query.convert(sql(name), params)
    async with conn.transaction(force_rollback=True):
        await conn.execute(f"SET LOCAL plan_cache_mode = {mode}".encode())
        await conn.execute(f"PREPARE {mode} AS ".encode() + query.query)
        values = composed.SQL(", ").join([composed.Literal(params[key]) for key in query._order or ()])
        called = composed.SQL("EXECUTE {} ({})" if values.as_string() else "EXECUTE {}")
        execute = called.format(composed.Identifier(mode), *([values] if values.as_string() else []))
        cursor = conn.cursor(row_factory=tuple_row)
        if after_planning is not None:
            await cursor.execute(composed.SQL("EXPLAIN {}").format(execute))
            after_planning()
        await cursor.execute(composed.SQL("EXPLAIN (ANALYZE, FORMAT JSON) {}").format(execute))
        ((plans,),) = await cursor.fetchall()
        await conn.execute(f"DEALLOCATE {mode}".encode())
    return [node for plan in plans for node in _nodes(plan["Plan"])]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _rows(node: dict[str, Any]) -> float:
    """Return how many rows a node read each time it ran, those that it threw away too."""
    thrown_away = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck"))
    return float(node["Actual Rows"] + thrown_away)


def _reads_whole(node: dict[str, Any]) -> bool:
    rows = _rows(node)
    if node["Node Type"] == "Seq Scan":
        return bool(rows)
    is_scan = "Relation Name" in node and node["Node Type"] != "ModifyTable"
    return is_scan and bool(rows * node["Actual Loops"] > MANY)
