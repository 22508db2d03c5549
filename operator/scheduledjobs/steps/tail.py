"""Tail: what attempts note and long ones log is kept while they run, for who looks on and for when a replica dies.

Outputs are written in rounds: each that has news has one turn, some at once, and then there is a pause. Who logs all
the time takes no turn from others, and does not keep the sessions busy, which are those of completions.
"""

from __future__ import annotations

from uuid import UUID

import orjson

from scheduledjobs.handlers.assignment import Key
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
        self._shown: set[Key] = set()
        """The attempts that have had their turn in this round."""

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
        """Write what is new; return 0 while others have not had their turn."""
        if self.replica is None or not self._runner.running:
            return None
        await self._write_notes(self.replica)
        found = self._runner.outputs(LONG_SECONDS, MOST, self._shown)
        is_more = len(found) == MOST
        self._shown = self._shown | {assignment.key for assignment, _, _ in found} if is_more else set()
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
        return 0.0 if is_more else None
