"""`make compat`: the tests that meet PostgreSQL and the API server, on older ones, and a line for each pair at the end.

docs/reference/compatibility.md says what came of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from dev.build import KUBERNETES, OLDER, apiserver, program
from dev.postgres import binaries
from dev.processes import exit_with, say

ROOT = Path(__file__).parents[1]
PAIRS = [("15", "1.34"), ("16", "1.31")]
"""PostgreSQL and Kubernetes; `make test` runs the newest of both."""

LEDGER = ("tests/integration",)
LIVE = tuple(
    f"tests/acceptance/test_{name}.py"
    for name in (
        "crd",
        "operator",
        "replicas",
        "feed",
        "rest",
        "annotate",
        "rights",
        "rules_live",
        "sql_live",
        "restore",
    )
)


def run(postgres: str, kubernetes: str, tests: tuple[str, ...]) -> tuple[int, str]:
    """Run tests on a pair of servers; return pytest's exit code and its closing line."""
    environment = {
        **os.environ,
        "SCHEDULEDJOBS_TEST_POSTGRES": postgres,
        "SCHEDULEDJOBS_TEST_KUBERNETES": kubernetes,
    }
    command = [sys.executable, "-m", "pytest", "-q", *tests]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        last = ""
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    return process.returncode, re.sub(r" in [\d.]+s.*", "", last.strip("= "))


def names(postgres: str, kubernetes: str) -> str:
    """Return the exact versions of a pair, and have both programs ready."""
    os.environ["SCHEDULEDJOBS_TEST_POSTGRES"], os.environ["SCHEDULEDJOBS_TEST_KUBERNETES"] = postgres, kubernetes
    program(apiserver())
    asked = [str(binaries() / "postgres"), "--version"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return f"PostgreSQL {found.split()[2]}, Kubernetes {OLDER.get(kubernetes, KUBERNETES)}"


def main() -> int:
    """Run every pair, or those with a version that was named."""
    pairs = [pair for pair in PAIRS if not sys.argv[1:] or set(pair) & set(sys.argv[1:])]
    if not pairs:
        known = ", ".join(sorted({each for pair in PAIRS for each in pair}))
        raise SystemExit(f"scheduledjobs: ONLY={' '.join(sys.argv[1:])} is none of {known}")
    told, failed = [], 0
    for pair in pairs:
        title = names(*pair)
        say(f"testing on {title}")
        started = time.monotonic()
        code, line = run(*pair, LEDGER + LIVE)
        failed |= code
        told.append(f"{title}: {line} ({time.monotonic() - started:.0f} s)")
    for each in told:
        say(each)
    return 1 if failed else 0


if __name__ == "__main__":
    exit_with(main)
