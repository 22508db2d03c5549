"""Debian's programs for tests: the one of PATH, or the package's, which root gets by apt-get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dev.browser import APT
from dev.processes import say


def debians(program: str, package: str, why: str) -> Path | None:
    """Return a program's path, installing its package first where that can be done; None where it is not to be had."""
    if shutil.which(program) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing Debian's {package} with apt-get, once: {why}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for words in (("update",), ("install", "--yes", "--no-install-recommends", package)):
            subprocess.run([*APT, *words], env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    found = shutil.which(program)
    return Path(found) if found else None
