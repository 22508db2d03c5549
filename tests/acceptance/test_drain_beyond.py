"""Code that outlasts the grace: it runs until its process has ended, so nobody may be told earlier that it is gone."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.conftest import until
from tests.acceptance.jobs import soon

HANDLERS = """
import asyncio, time
from contextlib import suppress
from scheduledjobs.handlers import handler

@handler("stuck")
def stuck(execution, payload):
    if execution.attempt == 1:
        time.sleep(120)

@handler("stuck-async")
async def stuck_async(execution, payload):
    while execution.attempt == 1:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(120)
"""


@pytest.mark.parametrize("handler", ["stuck", "stuck-async"])
def test_a_replica_that_leaves_code_running_does_not_say_that_it_is_gone(
    replicas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handler: str
) -> None:
    """Its end is seen by others ten seconds after its last heartbeat; the process has ended by then."""
    (tmp_path / "stuck_handlers.py").write_text(HANDLERS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    replicas.start("one", handlers="stuck_handlers", drain_seconds="0.5")
    replicas.wait_leader()
    replicas.apply("long", runAt=soon(), handler=handler, retry={"limit": 1, "backoff": "1s"})
    until(lambda: replicas.rows("SELECT 1 FROM job_execution_log WHERE state = 'RUNNING'"))
    replicas.start("two", handlers="stuck_handlers")
    replicas.signal("one", signal.SIGTERM)
    assert replicas.processes["one"].wait(25) == 0
    assert replicas.rows("SELECT dead_at FROM scheduler_instance WHERE hostname = 'one'") == [{"dead_at": None}]
    row = replicas.row("SELECT state, reason, abandoned FROM job_execution_log")
    assert row == {"state": "LOST", "reason": "Drained", "abandoned": True}
    until(
        lambda: replicas.row("SELECT state, attempt FROM job_execution_log") == {"state": "SUCCEEDED", "attempt": 2}, 60
    )
