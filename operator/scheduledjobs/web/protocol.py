"""What a replica and its web process say to each other, over the process's standard input and output."""

from __future__ import annotations

CHANGE = b"."
SERVING = b"s"
END_SECONDS = 3.0
"""How long requests that have begun may take once the replica ends."""
