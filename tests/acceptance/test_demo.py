"""`make demo` as somebody without a terminal runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(200)
def test_the_demo_shows_each_kind_of_schedule_and_leaves_nothing_behind() -> None:
    command = [sys.executable, "-m", "dev.demo"]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("cron-every-5s", "rate-every-2s", "delay-3s", "once", "http-ping"):
        assert any(name in line and "SUCCEEDED" in line for line in done.stdout.splitlines()), name
    assert "LogError: the table reports does not exist" in done.stdout
    assert not (ROOT / ".dev" / "demo" / "state.json").exists()
