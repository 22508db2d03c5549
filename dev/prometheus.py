"""promtool for the tests of the alerts: the one of PATH, or Debian's, which root gets by apt-get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dev.browser import APT
from dev.processes import say


def promtool() -> Path | None:
    """Return promtool's path, installing it first where that can be done; None where it is not to be had."""
    if shutil.which("promtool") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing Debian's prometheus with apt-get, once: its promtool tests the alerts")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for words in (("update",), ("install", "--yes", "--no-install-recommends", "prometheus")):
            subprocess.run([*APT, *words], env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    found = shutil.which("promtool")
    return Path(found) if found else None
