"""How the interpreter is set for a process with many short attempts beside a loop that must not be late."""

from __future__ import annotations

import gc
import sys

ALLOCATIONS = 10_000
"""New objects between two looks for cycles. At the default of 700 these looks cost a third of what an attempt costs."""

SWITCH_SECONDS = 0.0005
"""How long a thread may compute before another one has its turn: ten times less than the default, by which each answer
of the database waits where handlers are busy."""


def set_up() -> None:
    """Set this process up, once all is imported: what is there by now is never looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, 10, 10)
    sys.setswitchinterval(SWITCH_SECONDS)
