"""`make up` and `make down`: the dev cluster in the background, and .dev/env to use it with.

An existing cluster or database is used only when asked for: CLUSTER=current takes the one of KUBECONFIG,
DATABASE=current the one of SCHEDULEDJOBS_DATABASE_URL.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dev.controlplane import CRDS, ControlPlane, kubectl
from dev.postgres import new_postgres
from dev.processes import is_alive, say, stop

ROOT = Path(__file__).parents[1]
STATE = ROOT / ".dev"
CURRENT = "current"


def up(state: Path = STATE) -> dict[str, str]:
    """Start what is not running; return the environment that a replica needs."""
    state.mkdir(exist_ok=True)
    if _is_up(state):
        say(f"is up already: . {state / 'env'}")
        return dict(json.loads((state / "state.json").read_text())["environment"])
    down(state)
    folder = Path(tempfile.mkdtemp(prefix="scheduledjobs-"))
    folder.chmod(0o755)
    found = {"folder": str(folder), "pids": [], "environment": {}}
    environment = found["environment"] = _start(folder, found["pids"], lambda: _write(state, found))
    environment["SCHEDULEDJOBS_METRICS_PORT"] = "0"
    environment["SCHEDULEDJOBS_METRICS_HOST"] = "127.0.0.1"
    _write(state, found)
    lines = [f"export {name}={value!r}" for name, value in environment.items()]
    (state / "env").write_text("\n".join(lines) + "\n")
    return environment


def _start(folder: Path, pids: list[int], note) -> dict[str, str]:  # type: ignore[no-untyped-def]
    if os.environ.get("DATABASE") == CURRENT:
        url = os.environ["SCHEDULEDJOBS_DATABASE_URL"]
    else:
        say("starting PostgreSQL")
        postgres = new_postgres(folder / "postgres")
        postgres.start()
        pids.append(postgres.pid)
        note()
        url = postgres.url
    if os.environ.get("CLUSTER") == CURRENT:
        config = os.environ.get("KUBECONFIG", str(Path.home() / ".kube" / "config"))
        subprocess.run([kubectl(), f"--kubeconfig={config}", "apply", "--server-side", "-f", str(CRDS)], check=True)
    else:
        plane = ControlPlane(folder / "controlplane")
        plane.folder.mkdir()
        say("starting etcd and kube-apiserver")
        try:
            plane.start()
        finally:
            pids.extend(plane.pids)
            note()
        config = str(plane.kubeconfig)
    environment = {"KUBECONFIG": config, "SCHEDULEDJOBS_DATABASE_URL": url}
    say("applying migrations")
    command = [sys.executable, "-m", "scheduledjobs", "migrate"]
    subprocess.run(command, check=True, env={**os.environ, **environment}, stdout=sys.stderr)
    return environment


def down(state: Path = STATE) -> None:
    """Stop what `up` started, by its own process ids, and remove its data."""
    file = state / "state.json"
    if not file.exists():
        return
    found = json.loads(file.read_text())
    for pid in reversed(found["pids"]):
        stop(pid)
    shutil.rmtree(found["folder"], ignore_errors=True)
    file.unlink()
    (state / "env").unlink(missing_ok=True)


def _is_up(state: Path) -> bool:
    file = state / "state.json"
    if not file.exists():
        return False
    pids = json.loads(file.read_text())["pids"]
    return bool(pids) and all(is_alive(pid) for pid in pids)


def _write(state: Path, found: dict[str, object]) -> None:
    (state / "state.json").write_text(json.dumps(found))


def main() -> None:
    """Run `up` or `down`."""
    if sys.argv[1:] == ["down"]:
        down()
        say("is down")
    elif sys.argv[1:] == ["up"]:
        up()
        say("is up. Now: . .dev/env && .venv/bin/scheduledjobs run")
    else:
        raise SystemExit("usage: python -m dev.cluster up | down")


if __name__ == "__main__":
    main()
