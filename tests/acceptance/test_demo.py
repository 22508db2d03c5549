"""`make demo` as somebody without a terminal runs it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.acceptance.conftest import until

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"dashboard: (http://127\.0\.0\.1:\d+/ui/)\n|the dashboard does not answer")


@pytest.mark.timeout(200)
def test_the_demo_shows_each_kind_of_schedule_and_its_dashboard_and_leaves_nothing_behind(tmp_path: Path) -> None:
    said, shown = tmp_path / "stderr", tmp_path / "stdout"
    with said.open("wb") as stderr, shown.open("wb") as stdout:
        command = [sys.executable, "-m", "dev.demo"]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
    try:
        address = until(lambda: process.poll() is not None or ADDRESS.search(said.read_text()), 120)
        assert isinstance(address, re.Match), said.read_text()
        assert address.group(1), said.read_text()
        with urllib.request.urlopen(address.group(1), timeout=10) as page:
            assert page.headers.get_content_type() == "text/html"
            assert "<title>" in page.read().decode()
        process.wait(180)
    finally:
        if process.poll() is None:  # it ends what it has started
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert process.returncode == 0, said.read_text()
    for name in ("cron-every-5s", "rate-every-2s", "delay-3s", "once", "http-ping"):
        assert any(name in line and "SUCCEEDED" in line for line in shown.read_text().splitlines()), name
    assert "LogError: the table reports does not exist" in shown.read_text()
    assert not (ROOT / ".dev" / "demo" / "state.json").exists()
