"""`make up` and `make down`: the dev cluster in the background, and .dev/env to use it with.

An existing cluster or database is used only when asked for: CLUSTER=current takes the one of KUBECONFIG,
DATABASE=current the one of SCHEDULEDJOBS_DATABASE_URL.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dev.controlplane import CRDS, ControlPlane, kubectl
from dev.postgres import binaries, new_folder, new_postgres
from dev.processes import born, end_as_on_ctrl_c, is_alive, locked, put_off_interrupts, say, stop

ROOT = Path(__file__).parents[1]
STATE = ROOT / ".dev"
CURRENT = "current"
URL = "SCHEDULEDJOBS_DATABASE_URL"


@dataclass(slots=True)
class Dev:
    """What runs: the data's folder, each process by id and birth, what was asked for, what a replica needs to know."""

    folder: str
    cluster: str
    database: str
    processes: list[tuple[int, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, state: Path) -> None:
        """Keep it for `down`."""
        file = state / "state.json"
        file.touch(mode=0o600)  # a database's URL may hold a password
        file.write_text(json.dumps(asdict(self)))

    def living(self) -> list[int]:
        """Return the ids of its processes that are still there; an id that was used again is not one, nor may it be."""
        return [pid for pid, at in self.processes if at and is_alive(pid) and born(pid) == at]

    def note(self, state: Path, *pids: int) -> None:
        """Add processes, at once, so that whatever happens next they can be stopped."""
        self.processes.extend((pid, born(pid)) for pid in pids if pid)
        self.write(state)


def forget_shell() -> None:
    """Drop what this shell has set for other clusters and databases, unless they are asked for."""
    ours = ("SCHEDULEDJOBS_",) if _is_current("DATABASE") else ("SCHEDULEDJOBS_", "PG")
    for name in list(os.environ):
        is_asked_for = name.startswith("SCHEDULEDJOBS_TEST_") or (name == URL and _is_current("DATABASE"))
        if name.startswith(ours) and not is_asked_for:
            del os.environ[name]
    if not _is_current("CLUSTER"):
        os.environ.pop("KUBECONFIG", None)
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))


def up(state: Path = STATE) -> dict[str, str]:
    """Start what is not running; return the environment that a replica needs. What fails half-way is stopped again."""
    state.mkdir(parents=True, exist_ok=True)
    found = _read(state)
    if found is not None and found.processes and len(found.living()) == len(found.processes):
        if (found.cluster, found.database) != _asked():
            raise SystemExit("scheduledjobs: is up with another CLUSTER or DATABASE: `make down` first")
        say(f"is up already: . {state / 'env'}")
        return found.environment
    down(state)
    made = Dev(str(new_folder("scheduledjobs-")), *_asked())
    try:
        made.write(state)
        _start(made, state)
    except BaseException:
        with put_off_interrupts():
            down(state)
        raise
    return made.environment


def _start(made: Dev, state: Path) -> None:
    folder = Path(made.folder)
    url = _current_database() if _is_current("DATABASE") else _start_postgres(made, state, folder / "postgres")
    config = _current_cluster() if _is_current("CLUSTER") else _start_plane(made, state, folder / "controlplane")
    made.environment = {
        "KUBECONFIG": config,
        URL: url,
        "SCHEDULEDJOBS_METRICS_PORT": "0",
        "SCHEDULEDJOBS_METRICS_HOST": "127.0.0.1",
        "SCHEDULEDJOBS_HOST": "127.0.0.1",
        "SCHEDULEDJOBS_PORT": "0",
        # Others on this machine reach the port too: on a cluster that is not ours they must not act as its admin.
        "SCHEDULEDJOBS_AUTH": "token" if _is_current("CLUSTER") else "none",
    }
    say("applying migrations")
    command = [sys.executable, "-m", "scheduledjobs", "migrate"]
    done = subprocess.run(command, check=False, env={**os.environ, **made.environment}, stdout=sys.stderr)
    if done.returncode:
        raise SystemExit(done.returncode)
    made.write(state)
    _write_env(state / "env", made.environment)


def _start_postgres(made: Dev, state: Path, folder: Path) -> str:
    say("starting PostgreSQL")
    postgres = new_postgres(folder)
    try:
        postgres.start()
    finally:
        made.note(state, postgres.pid)
    return postgres.url


def _start_plane(made: Dev, state: Path, folder: Path) -> str:
    plane = ControlPlane(folder)
    say("starting etcd and kube-apiserver")
    try:
        plane.start()
    finally:
        made.note(state, *plane.pids)
    return str(plane.kubeconfig)


def _current_database() -> str:
    url = os.environ.get(URL)
    if not url:
        raise SystemExit(f"scheduledjobs: DATABASE=current needs {URL}")
    return url


def _current_cluster() -> str:
    config = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    for words in (["apply", "--server-side", "-f"], ["wait", "--for=condition=Established", "--timeout=30s", "-f"]):
        command = [kubectl(), *words, str(CRDS)]
        done = subprocess.run(command, check=False, env={**os.environ, "KUBECONFIG": config}, stdout=sys.stderr)
        if done.returncode:
            raise SystemExit(f"scheduledjobs: CLUSTER=current: kubectl {words[0]} failed, what it said is above")
    return config


def _write_env(file: Path, environment: dict[str, str]) -> None:
    missing = [found.parent for found in (Path(kubectl()), binaries() / "psql") if not shutil.which(found.name)]
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f'export PATH="$PATH":{shlex.quote(str(folder))}' for folder in missing]
    file.touch(mode=0o600)
    file.write_text("\n".join(lines) + "\n")


def note(state: Path, pid: int) -> None:
    """Let `down` stop one more process."""
    found = _read(state)
    if found is not None:
        found.note(state, pid)


def down(state: Path = STATE) -> None:
    """Stop what `up` started, by its own process ids, and remove its data."""
    found = _read(state)
    if found is not None:
        for pid in reversed(found.living()):
            stop(pid, signal.SIGINT)  # at SIGTERM PostgreSQL would wait for its clients to leave
        shutil.rmtree(found.folder, ignore_errors=True)
    (state / "state.json").unlink(missing_ok=True)
    (state / "env").unlink(missing_ok=True)


def _read(state: Path) -> Dev | None:
    try:
        found = Dev(**json.loads((state / "state.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):  # never written, half written, or by another version
        return None
    found.processes = [(pid, at) for pid, at in found.processes]
    return found


def _asked() -> tuple[str, str]:
    return os.environ.get("CLUSTER", ""), os.environ.get("DATABASE", "")


def _is_current(what: str) -> bool:
    return os.environ.get(what) == CURRENT


def main() -> None:
    """Run `up` or `down`."""
    forget_shell()
    end_as_on_ctrl_c()
    with locked(STATE / "lock"):
        if sys.argv[1:] == ["down"]:
            down()
            say("is down")
        elif sys.argv[1:] == ["up"]:
            up()
            say("is up. Now: . .dev/env && .venv/bin/scheduledjobs run")
        else:
            raise SystemExit("usage: python -m dev.cluster up | down")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
