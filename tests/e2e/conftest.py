"""One cluster, one set of images and one release for all end-to-end tests, which run in order: `make e2e`."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from dev.build import HELM4, program
from dev.cluster import forget_shell
from tests.e2e.images import POSTGRES, build, build_postgres
from tests.e2e.targets import ROOT, Target, run, target

NAMESPACE = "scheduledjobs-e2e"
RELEASE = "scheduledjobs"
NEW, OLD, OURS = (f"local/scheduledjobs:{tag}" for tag in ("e2e", "e2e-before", "e2e-ours"))
SQL = """
import json, os, sys, psycopg
with psycopg.connect(os.environ["SCHEDULEDJOBS_DATABASE_URL"], autocommit=True) as conn:
    cursor = conn.execute(sys.stdin.read())
    print(json.dumps([list(map(str, row)) for row in cursor.fetchall()] if cursor.description else []))
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster of this run, with Helm and kubectl for it."""

    target: Target
    folder: Path

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl; return what it printed, and what it complained of where it may fail."""
        done = run("kubectl", "--kubeconfig", self.target.kubeconfig, *words, stdin=stdin, check=check)
        return done.stdout if check else done.stdout + done.stderr

    def helm(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Helm."""
        return run(str(program(HELM4)), "--kubeconfig", self.target.kubeconfig, *words, check=check)

    def get(self, *words: str) -> Any:
        """Return what `kubectl get` finds, as JSON."""
        return json.loads(self.kubectl("get", "-n", NAMESPACE, "-o", "json", *words))

    def pods(self) -> list[str]:
        """Return the names of the operator's pods that run and are not going."""
        found = self.get("pods", "-l", "app.kubernetes.io/component=operator")["items"]
        return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def apply(self, *items: dict[str, Any]) -> None:
        """Apply objects to the release's namespace."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})
        self.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=text)

    def scheduledjobs(self, *words: str, check: bool = True) -> str:
        """Run the command line in a pod of the operator."""
        return self.kubectl("exec", "-n", NAMESPACE, f"deployment/{RELEASE}", "-c", "operator", "--",
                            "scheduledjobs", *words, check=check)  # fmt: skip

    def sql(self, statement: str) -> list[list[str]]:
        """Run a statement on the operator's database, from one of its pods."""
        words = ("exec", "-i", "-n", NAMESPACE, f"deployment/{RELEASE}", "-c", "operator", "--", "python", "-c", SQL)
        found: list[list[str]] = json.loads(self.kubectl(*words, stdin=statement))
        return found

    def wait_ready(self) -> None:
        """Wait until as many pods are Ready as there should be."""
        self.kubectl("rollout", "status", "-n", NAMESPACE, f"deployment/{RELEASE}", "--timeout=180s")


def values(image: str) -> list[str]:
    """Return the words that install the release on any cluster: no volume, small images."""
    repository, tag = image.split(":")
    settings = {
        "image.repository": f"docker.io/{repository}",
        "image.tag": tag,
        "demoPostgres.enabled": "true",
        "demoPostgres.storage": "",
        "demoPostgres.image": f"docker.io/{POSTGRES}",
    }
    return [
        word
        for key, value in settings.items()
        for word in ("--set-string" if "tag" in key else "--set", f"{key}={value}")
    ]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster, with every image loaded and the namespace made."""
    with target() as found:
        forget_shell()
        made = Cluster(found, tmp_path_factory.mktemp("e2e"))
        if "scheduledjobs.scheduledjobs.dev" in made.kubectl("get", "crd", "-o", "name"):
            pytest.exit("this cluster has ScheduledJobs already, and the tests would delete them: use another", 2)
        build(ROOT, NEW, base_image=found.base_image, version="0.1.0", revision=revision("HEAD"))
        run("docker", "tag", NEW, OLD) if not before(made.folder) else build(
            made.folder / "before", OLD, base_image=found.base_image, revision=revision("HEAD~1")
        )
        build(ROOT / "examples" / "handlers", OURS, image=NEW)
        build_postgres(found.base_image)
        found.load(NEW, OLD, OURS, POSTGRES)
        made.kubectl("create", "namespace", NAMESPACE)
        yield made
        made.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


def revision(name: str) -> str:
    """Return a commit's id."""
    return run("git", "-C", str(ROOT), "rev-parse", name).stdout.strip()


def before(folder: Path) -> bool:
    """Unpack the commit before this one into `folder`/before; False where it has no image to build yet."""
    if run("git", "-C", str(ROOT), "cat-file", "-e", "HEAD~1:Dockerfile", check=False).returncode:
        return False
    done = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD~1"], capture_output=True, check=True)
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder / "before", filter="data")
    return True


@pytest.fixture(scope="session")
def chart_before(cluster: Cluster) -> Path:
    """The chart of the commit before this one, with another CRD than this one's: it lacks a short name."""
    chart = cluster.folder / "before" / "charts" / "scheduledjobs"
    if not chart.exists():
        chart.parent.mkdir(parents=True)
        run("cp", "-r", str(ROOT / "charts" / "scheduledjobs"), str(chart))
    (crd,) = (chart / "files").glob("scheduledjobs.dev_*.yaml")
    definition = yaml.safe_load(crd.read_text())
    definition["spec"]["names"]["shortNames"] = ["sjob"]
    crd.write_text(yaml.safe_dump(definition, sort_keys=False))
    return chart
