"""The door of the sql handler: one statement with bind values, alone or together with the completion of its attempt.

On the operator's own database the effect and the completion commit together. The guard is the last statement: it
changes the row only while the attempt is still the live one, so a stale attempt rolls back its effect, and whoever
reads SUCCEEDED finds the effect done, exactly once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import sql as compose
from psycopg.types.json import Jsonb

from scheduledjobs.core.result import encode_result
from scheduledjobs.errors import Permanent, StoreError
from scheduledjobs.store import returned
from scheduledjobs.store.queries import execute
from scheduledjobs.store.sessions import Connection, connect, connect_elsewhere, first_line

FINAL_CLASSES = frozenset({"22", "23", "42"})
"""SQLSTATE classes that another attempt cannot mend: bad data, a broken constraint, a wrong statement."""

NAME = "scheduledjobs sql handler"
FIRST_WORD = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*([a-z]+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Claim:
    """The attempt whose completion commits with its effect."""

    id: int
    fire_time: datetime
    claim_no: int
    replica: UUID


class StaleAttempt(StoreError):
    """The attempt is not the live one any more: its effect was rolled back."""


class StatementRefused(Permanent):
    """The database refuses the statement, and would again."""


async def run_statement(
    url: str, statement: str, parameters: Mapping[str, Any], *, role: str | None, claim: Claim | None
) -> dict[str, Any]:
    """Run one statement in a transaction and commit; with `claim`, complete that attempt in the same transaction.

    Returns {"rows": how many, "returned": the first 100 rows, where it returns any; fewer where these are larger than a
    result may be}. Raises `StatementRefused` or `RowTooLarge` where trying again is no use, `StaleAttempt` where the
    attempt was taken away or asked to stop, `StoreError` for anything else.
    """
    opened = connect_elsewhere(url, NAME) if claim is None else connect(url, NAME)
    async with opened as conn, conn.transaction():
        if role is not None:
            await conn.execute(compose.SQL("SET LOCAL ROLE {}").format(compose.Identifier(role)))
        try:
            result = await _run(conn, statement, parameters)
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] in FINAL_CLASSES or isinstance(error, psycopg.ProgrammingError):
                raise StatementRefused(first_line(error)) from error
            raise
        if claim is not None:
            await conn.execute("RESET ROLE")
            if await complete_effect(conn, claim, result) == 0:
                raise StaleAttempt("the attempt is not the live one any more: its effect was rolled back")
    return result


async def complete_effect(conn: Connection, claim: Claim, result: Mapping[str, Any]) -> int:
    """End the attempt as SUCCEEDED if it is still the live one; return how many rows changed."""
    return await execute(
        conn,
        "complete_effect",
        id=claim.id,
        fire_time=claim.fire_time,
        claim_no=claim.claim_no,
        replica=claim.replica,
        result=(encode_result(result) or b"null").decode(),
    )


async def _run(conn: Connection, statement: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    bound = {name: Jsonb(value) if isinstance(value, dict | list) else value for name, value in parameters.items()}
    found = await returned.run(conn, statement, bound)
    return {"rows": found.rows} if found.kept is None else {"rows": found.rows, "returned": _as_json(found.kept)}


def _as_json(rows: list[Any]) -> Any:
    return orjson.loads(orjson.dumps(rows, default=str))


def first_word(statement: str) -> str:
    """Return the first word of a statement in capitals, behind comments and brackets; "" where there is none."""
    found = FIRST_WORD.match(statement)
    return found.group(1).upper() if found else ""
