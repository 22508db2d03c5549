"""The one PostgreSQL that everything is measured on, with its settings pinned: commits are flushed, pages are whole."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from dev.postgres import SETTINGS as OF_DEV
from dev.postgres import Postgres, new_postgres

CHANGED = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "max_connections": "200",
}
"""What a reader of figures must know; the first three are PostgreSQL's own, said since all figures rest on them."""


class Ground:
    """A server, and a new database for each run; the one before is dropped, or its upkeep would be measured too."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self.postgres = postgres
        self.folder = folder
        self._number = 0

    def fresh(self) -> str:
        """Return the URL of a new, empty database."""
        self._number += 1
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS run_{self._number - 1} WITH (FORCE)".encode())
            connection.execute("CHECKPOINT")
            connection.execute(f"CREATE DATABASE run_{self._number}".encode())
        return self.postgres.url.rsplit("/", 1)[0] + f"/run_{self._number}"

    def settle(self, url: str) -> None:
        """Do what is due after many rows were inserted, so that a run does not pay for it: statistics, and to disk."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    def run_folder(self) -> Path:
        """Return an empty folder for what the current run writes."""
        folder = self.folder / f"run-{self._number}"
        folder.mkdir(exist_ok=True)
        return folder

    def setup(self) -> str:
        """Say in one line what figures were measured on."""
        return setup(self.postgres.url)


def setup(url: str) -> str:
    """Say in one line what figures were measured on: the machine, Python, PostgreSQL and its settings."""
    with psycopg.connect(url) as connection:
        version = connection.execute("SHOW server_version").fetchone()
    settings = ", ".join(f"{name}={value}" for name, value in CHANGED.items())
    return f"{machine()}, Python {platform.python_version()}, PostgreSQL {(version or ['?'])[0]} with {settings}"


def pinned_postgres(folder: Path) -> Postgres:
    """Return a server with the pinned settings, not started yet."""
    postgres = new_postgres(folder)
    postgres.settings = {**OF_DEV, **CHANGED}
    return postgres


def machine() -> str:
    """Say what machine this is: cores, processor, memory."""
    model = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    size = f"{int(memory.group(1)) / 2**20:.0f} GiB" if memory else "unknown memory"
    return f"{os.cpu_count()} cores of {model.group(1) if model else platform.machine()}, {size}"


def _read(name: str) -> str:
    try:
        return Path(name).read_text()
    except OSError:
        return ""


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Start the server in a folder, and stop it at the end."""
    postgres = pinned_postgres(folder / "postgres")
    try:
        postgres.start()
        yield Ground(postgres, folder)
    finally:
        postgres.stop()
