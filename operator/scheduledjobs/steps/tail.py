"""Tail: what attempts note and long ones log is kept while they run, for who looks on and for when a replica dies.

Outputs are written in rounds: each that has news has one turn, some at once, and then there is a pause. Who logs all
the time takes no turn from others, and does not keep the sessions busy, which are those of completions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import orjson

from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.handlers.assignment import Assignment, Key
from scheduledjobs.handlers.runner import Logged, Runner
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

        self._most = MOST
        """One, from a write that was refused until the round is over."""

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
        found = self._runner.outputs(LONG_SECONDS, self._most, self._shown)
        if found:
            await self._write_outputs(self.replica, found)
        if len(found) < self._most:
            self._shown, self._most = set(), MOST
            return None
        self._shown.update(one.key for one, *_ in found)
        return 0.0

    async def _write_outputs(self, replica: UUID, found: Sequence[Logged]) -> None:
        written: set[int] = set()
        try:
            async with self._sessions.session() as conn:
                written = await write_outputs(conn, replica, [_row(*logged) for logged in found])
        except StoreUnavailable:
            raise
        except Exception:
            # What one holds must not keep the others back: until the next round each is written alone.
            self._most = 1
            if len(found) == 1:
                self._shown.add(found[0][0].key)
            raise
        finally:
            for one, _, _, again in found:
                if one.id not in written:  # as of notes
                    again()


def _row(assignment: Assignment, text: str, is_cut: bool, _again: Callable[[], None]) -> dict[str, Any]:  # noqa: FBT001
    return {
        "fire_time": assignment.fire_time,
        "execution_id": assignment.id,
        "attempt": assignment.attempt,
        "claim_no": assignment.claim_no,
        "output": text,
        "truncated": is_cut,
    }
