"""Tail: what attempts note and long ones log is kept while they run, for who looks on and for when a replica dies."""

from __future__ import annotations

from uuid import UUID

import orjson

from scheduledjobs.handlers.runner import Runner
from scheduledjobs.store.executions import write_notes, write_outputs
from scheduledjobs.store.sessions import Sessions

EVERY_SECONDS = 2.0
LONG_SECONDS = 2.0
MOST = 20
"""Outputs written at once, each of up to 64 KiB."""


class Tail:
    """The outputs of one replica; `replica` changes when it registers anew."""

    def __init__(self, sessions: Sessions, runner: Runner) -> None:
        self._sessions = sessions
        self._runner = runner
        self.replica: UUID | None = None

    async def _write_notes(self, replica: UUID) -> None:
        noted = self._runner.notes()
        if not noted:
            return
        written: set[int] = set()
        try:
            async with self._sessions.session() as conn:
                rows = [{**one.guard, "note": orjson.Fragment(note)} for one, note, _ in noted]
                written = await write_notes(conn, replica, rows)
        finally:
            for one, _, again in noted:
                if (
                    one.id not in written
                ):  # its row was locked, or there was no answer; if it has ended, nobody asks again
                    again()

    async def step(self) -> float | None:
        """Write what is new; return 0 where there may be more."""
        if self.replica is None or not self._runner.running:
            return None
        await self._write_notes(self.replica)
        found = self._runner.outputs(LONG_SECONDS, MOST)
        if not found:
            return None
        rows = [
            {
                "fire_time": assignment.fire_time,
                "execution_id": assignment.id,
                "attempt": assignment.attempt,
                "claim_no": assignment.claim_no,
                "output": text,
                "truncated": is_cut,
            }
            for assignment, text, is_cut in found
        ]
        async with self._sessions.session() as conn:
            await write_outputs(conn, self.replica, rows)
        return 0.0 if len(found) == MOST else None
