"""A handler of ScheduledJobs that keeps when it was started, as the handlers of peers do.

Its figures are the ones in the table. `started_at` in the log is the database's time, and never earlier than the start
was: later by up to what the claim took to reach the database. Its 99th percentile is said beside them.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from scheduledjobs.handlers import Execution, handler

FILE = "BENCH_RECORD"
"""The environment variable that names the file; it is written when SIGUSR1 comes, so nothing is while we measure."""

SEEN: list[tuple[float, float]] = []


@handler("record")
async def record(execution: Execution, payload: object) -> None:  # noqa: ARG001 - the shape of a handler
    """Keep when this was due and when it was started, in milliseconds since 1970."""
    SEEN.append((execution.fire_time.timestamp() * 1000, time.time() * 1000))


def _write(file: Path) -> None:
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text("".join(f"{due:.3f},{started:.3f}\n" for due, started in SEEN))
    unfinished.rename(file)


if FILE in os.environ and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGUSR1, lambda *_: _write(Path(os.environ[FILE])))
