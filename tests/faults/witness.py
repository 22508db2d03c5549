"""Handlers that write what they do into a file of their process, fsynced, outside of the database under test.

Loaded by the operator under test with SCHEDULEDJOBS_HANDLERS=witness; WITNESS is the folder. A line is one JSON object:
`what` (start, end, stop), the execution's identity, pid, and `at`, the machine's monotonic clock, which all processes
share and no fault can set.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from scheduledjobs.handlers import Execution, handler

LOCK = threading.Lock()


class Work(BaseModel):
    """How long an attempt takes, and how many of the first attempts of each execution fail."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = 0.0
    fail: int = 0


def note(what: str, execution: Execution, *, sync: bool = True, **more: Any) -> None:
    """Append a line and see it on the disk; without `sync`, where many are written and no machine is to fail."""
    line = {
        "what": what,
        "job": execution.job,
        "job_id": str(execution.job_id),
        "id": execution.id,
        "fire_time": execution.fire_time.isoformat(),
        "run_key": execution.run_key,
        "attempt": execution.attempt,
        "claim_no": execution.claim_no,
        "pid": os.getpid(),
        "at": time.monotonic(),
        "wall": time.time(),
        **more,
    }
    path = Path(os.environ["WITNESS"]) / f"{os.getpid()}.jsonl"
    with LOCK:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, json.dumps(line).encode() + b"\n")
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)


@handler("witness", payload=Work)
async def witness(execution: Execution, payload: Work) -> None:
    """Work that can be stopped."""
    note("start", execution)
    try:
        await asyncio.sleep(payload.seconds)
    except BaseException:
        note("stop", execution)
        raise
    _fail(execution, payload)
    note("end", execution)


@handler("witness-sync", payload=Work)
def witness_sync(execution: Execution, payload: Work) -> None:
    """Work in a thread, which ends when it likes."""
    note("start", execution)
    time.sleep(payload.seconds)
    _fail(execution, payload)
    note("end", execution)


def _fail(execution: Execution, payload: Work) -> None:
    if execution.attempt <= payload.fail:
        note("end", execution, failed=True)
        raise RuntimeError(f"attempt {execution.attempt} fails")
