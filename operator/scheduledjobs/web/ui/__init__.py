"""The dashboard: pages under /ui/, made on the server, which work without JavaScript."""

from __future__ import annotations

from scheduledjobs.web.ui.mounting import mount

__all__ = ["mount"]
