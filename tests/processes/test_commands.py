"""The installed commands, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

from scheduledjobs.cli.main import main


def test_the_command_line_says_its_version() -> None:
    command = [sys.executable, "-m", "scheduledjobs", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == version("scheduledjobs")


def test_kubectl_finds_the_plugin_by_its_name() -> None:
    (script,) = entry_points(group="console_scripts", name="kubectl-scheduledjobs")
    assert script.load() is main
    installed = Path(sys.executable).parent / script.name
    said = subprocess.run([installed, "--help"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("Usage: kubectl scheduledjobs [OPTIONS] COMMAND")


def test_a_replica_that_has_stopped_waits_for_no_thread_of_job_code() -> None:
    code = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
from scheduledjobs.cli.run import leave
threads = ThreadPoolExecutor()
begin = threading.Thread(target=threads.submit, args=(time.sleep, 60), daemon=True)
begin.start()
begin.join()
leave()
raise SystemExit(3)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=20, check=False).returncode == 0
