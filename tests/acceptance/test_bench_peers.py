"""The benchmark runs: what waits is drained by a replica to the last row, and the table says how fast."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_runs_what_waits_to_the_last_row() -> None:
    words = ("-m", "benchmarks.peers", "--quick", "--only", "ScheduledJobs", "--units", "U1")
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ScheduledJobs +\S+ +kept +[\d,]+ +1 +500", done.stdout, re.M), done.stdout
