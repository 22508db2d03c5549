"""On what a figure was measured, in one line."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psycopg
from dev.postgres import SETTINGS

ALWAYS_SHOWN = ("synchronous_commit", "fsync", "full_page_writes")
CHANGED = ("shared_buffers", "max_wal_size", "wal_level")


def setup(server_url: str) -> str:
    """Return the line: cores, CPU, memory, Python, PostgreSQL with its settings, and what shares the machine."""
    with psycopg.connect(server_url, autocommit=True) as conn:
        version = conn.info.parameter_status("server_version")
        always = ", ".join(f"{name} {_setting(conn, name)}" for name in ALWAYS_SHOWN)
    changed = ", ".join(f"{name} {SETTINGS[name]}" for name in CHANGED)
    machine = f"{os.cpu_count()} cores ({_cpu()}), {_memory():.0f} GB, Python {platform.python_version()}"
    return f"setup: {machine}, PostgreSQL {version} ({always}, {changed}), API server and etcd beside it"


def _setting(conn: psycopg.Connection[tuple[str]], name: str) -> str:
    found = conn.execute("SELECT current_setting(%s)", [name]).fetchone()
    return found[0] if found else ""


def _cpu() -> str:
    models = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return next(models, platform.machine()).rpartition(":")[2].strip()


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
