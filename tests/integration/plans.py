"""How the database runs a statement: with the plan that is kept for all parameters, and the one made for these."""

from __future__ import annotations

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
    query = PostgresQuery(Transformer(conn))
    query.convert(sql(name), params)
    found: set[str] = set()
    for mode in ("force_generic_plan", "force_custom_plan") if after_planning is None else ("force_generic_plan",):
        async with conn.transaction(force_rollback=True):
            await conn.execute(f"SET LOCAL plan_cache_mode = {mode}".encode())
            await conn.execute(f"PREPARE {mode} AS ".encode() + query.query)
            values = composed.SQL(", ").join([composed.Literal(params[key]) for key in query._order or ()])
            explain = composed.SQL("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {} ({})")
            cursor = conn.cursor(row_factory=tuple_row)
            if after_planning is not None:
                await cursor.execute(composed.SQL("EXPLAIN EXECUTE {} ({})").format(composed.Identifier(mode), values))
                after_planning()
            await cursor.execute(explain.format(composed.Identifier(mode), values))
            ((plans,),) = await cursor.fetchall()
            found |= {node["Relation Name"] for plan in plans for node in _nodes(plan["Plan"]) if _reads_whole(node)}
    return found


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _reads_whole(node: dict[str, Any]) -> bool:
    rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    if node["Node Type"] == "Seq Scan":
        return bool(rows)
    is_scan = "Relation Name" in node and node["Node Type"] != "ModifyTable"
    return is_scan and bool(rows * node["Actual Loops"] > MANY)
