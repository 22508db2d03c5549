"""Chromium for the browser tests: the one of CHROMIUM, or Debian's, which root gets by apt-get where it is missing.

Playwright drives it, but downloads none of its own. `python -m dev.browser` prints its path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from dev.processes import exit_with, say

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # it would look for its maker's servers at every start
    "--disable-component-update",
    "--disable-sync",
)
APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
MISSING = (
    "there is no Chromium on this machine: install it (Debian: apt-get install chromium) or set CHROMIUM to its path"
)


def chromium() -> Path:
    """Return Chromium's path, installing it first where that can be done."""
    named = os.environ.get("CHROMIUM")
    if named:
        if not os.access(named, os.X_OK):
            raise SystemExit(f"scheduledjobs: CHROMIUM={named} is no program")
        return Path(named)
    if (found := _found()) is None:
        if not _may_install():
            raise SystemExit(f"scheduledjobs: {MISSING}")
        _install()
        found = _found()
    if found is None:
        raise SystemExit("scheduledjobs: apt-get installed chromium, but it is not in PATH")
    return found


def flags() -> list[str]:
    """Return what Chromium is started with; root, as containers have it, needs to go without its sandbox."""
    return [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]


def _found() -> Path | None:
    paths = map(shutil.which, NAMES)
    return next((Path(path) for path in paths if path), None)


def _may_install() -> bool:
    return os.geteuid() == 0 and Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def _install() -> None:
    say("installing Debian's chromium with apt-get, once (about 100 MB)")
    started = time.monotonic()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (("update",), ("install", "--yes", "--no-install-recommends", "chromium")):
        done = subprocess.run([*APT, *words], env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode:
            raise SystemExit(f"scheduledjobs: apt-get {words[0]} failed; what it said is above")
    say(f"installed chromium in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    exit_with(lambda: print(chromium()))
