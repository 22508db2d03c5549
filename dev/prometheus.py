"""promtool for the tests of the alerts: the one of PATH, or Debian's, which root gets by apt-get."""

from __future__ import annotations

from pathlib import Path

from dev.debian import debians


def promtool() -> Path | None:
    """Return promtool's path, installing it first where that can be done; None where it is not to be had."""
    return debians("promtool", "prometheus", "its promtool tests the alerts")
