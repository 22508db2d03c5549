"""The clusters that the end-to-end tests can use: the one asked for, kind, or a node that is started for them.

CLUSTER=current: the cluster of KUBECONFIG; SCHEDULEDJOBS_E2E_LOAD is the command that brings an image there, `{image}`
standing for its name. Else kind, where kind and an engine are installed. Else the node of NODE (a command with up,
down, load, base-image and kubeconfig).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.processes import say

ROOT = Path(__file__).parents[2]
NODE = Path(os.environ.get("NODE", ROOT.parent / "shared" / "node" / "node"))
KIND = "scheduledjobs-e2e"


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster, how images get there, and the base of images that can be built here."""

    name: str
    kubeconfig: str
    load_command: str
    base_image: str
    audit_log: Path | None = None

    def load(self, *images: str) -> None:
        """Bring images from the local engine to the cluster's nodes."""
        for image in images:
            run(*shlex.split(self.load_command.format(image=image)))


def run(*words: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command; if it fails, what it said is in the error."""
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{shlex.join(words)}: exit {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done


@contextmanager
def target() -> Iterator[Target]:
    """Lend a cluster; what was started for it is stopped."""
    if os.environ.get("CLUSTER") == "current":
        yield _current()
    elif shutil.which("kind") and _has_engine():
        with _kind() as found:
            yield found
    elif NODE.exists():
        with _node() as found:
            yield found
    else:
        raise SystemExit("scheduledjobs: no cluster: set CLUSTER=current, or install kind and docker")


def _has_engine() -> bool:
    return shutil.which("docker") is not None and run("docker", "info", check=False).returncode == 0


def _current() -> Target:
    load = os.environ.get("SCHEDULEDJOBS_E2E_LOAD")
    if not load:
        raise SystemExit(
            "scheduledjobs: CLUSTER=current needs SCHEDULEDJOBS_E2E_LOAD, such as 'minikube image load {image}'"
        )
    path = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return Target("current", path, load, os.environ.get("BASE_IMAGE", "python:3.13-slim"))


@contextmanager
def _kind() -> Iterator[Target]:
    path = ROOT / ".dev" / "kind.kubeconfig"
    path.parent.mkdir(exist_ok=True)
    say("making a kind cluster")
    run(
        "kind",
        "create",
        "cluster",
        "--name",
        KIND,
        "--config",
        str(ROOT / "dev" / "kind.yaml"),
        "--kubeconfig",
        str(path),
    )
    try:
        yield Target("kind", str(path), f"kind load docker-image --name {KIND} {{image}}", "python:3.13-slim")
    finally:
        run("kind", "delete", "cluster", "--name", KIND, check=False)


@contextmanager
def _node() -> Iterator[Target]:
    say("starting a node (its very first start builds Kubernetes: about 13 minutes)")
    run(str(NODE), "up")
    try:
        run(str(NODE), "base-image")
        path = run(str(NODE), "kubeconfig").stdout.strip()
        audit = Path(path).parent / "audit.log"
        yield Target("node", path, f"{NODE} load {{image}}", "local/python:3.11", audit)
    finally:
        run(str(NODE), "down", check=False)
