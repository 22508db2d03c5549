"""CronJobs of odd kinds on a real cluster: imported, applied, and compared for three minutes with their controller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Cluster
from tests.e2e.targets import ROOT

PLACE = "scheduledjobs-import"
CRD = "scheduledjobs.scheduledjobs.dev"
KINDS: dict[str, dict[str, Any]] = {
    "every-minute": {"schedule": "* * * * *"},
    "every-other": {"schedule": "*/2 * * * *", "timeZone": "Etc/UTC"},
    "offset": {"schedule": "1/2 * * * *", "timeZone": "Etc/UTC"},
    "range": {"schedule": "0-59/1 * * * *", "timeZone": "Etc/UTC"},
    "list": {"schedule": "0,1,2,3-30,31-59 * * * *", "timeZone": "Etc/UTC"},
    "question-mark": {"schedule": "? * ? * ?", "timeZone": "Etc/UTC"},
    "names": {"schedule": "* * * JAN-dec sun-SAT", "timeZone": "Etc/UTC"},
    "spaces": {"schedule": "*  *  *  * *", "timeZone": "Etc/UTC"},
    "either-day": {"schedule": "* * 1-31 * 0", "timeZone": "Etc/UTC"},
    "stepped-days": {"schedule": "* * */2 * 0-6", "timeZone": "Etc/UTC"},
    "kathmandu": {"schedule": "* 0-23 * * *", "timeZone": "Asia/Kathmandu"},
    "lord-howe": {"schedule": "*/3 * * * *", "timeZone": "Australia/Lord_Howe"},
    "chatham": {"schedule": "* * * * *", "timeZone": "Pacific/Chatham"},
    "every": {"schedule": "@every 1m"},
    "every-odd": {"schedule": "@every 1m10s"},
    "hourly": {"schedule": "@hourly", "timeZone": "Etc/UTC"},
    "suspended": {"schedule": "* * * * *", "timeZone": "Etc/UTC", "suspend": True},
    "deadline": {"schedule": "* * * * *", "timeZone": "Etc/UTC", "startingDeadlineSeconds": 200},
    "replace": {"schedule": "* * * * *", "timeZone": "Etc/UTC", "concurrencyPolicy": "Replace"},
    "forbid": {"schedule": "* * * * *", "timeZone": "Etc/UTC", "concurrencyPolicy": "Forbid"},
    "no-history": {
        "schedule": "* * * * *",
        "timeZone": "Etc/UTC",
        "successfulJobsHistoryLimit": 0,
        "failedJobsHistoryLimit": 0,
    },
}


def cronjob(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A CronJob whose Jobs are done at once: none of the pods they want is missing."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none.example/none"}]}
    job = {"completions": 0, "template": {"spec": pod}}
    kind = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name, "namespace": PLACE}}
    return {**kind, "spec": {**spec, "jobTemplate": {"spec": job}}}


def run(kubeconfig: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scheduledjobs", "import", "cronjobs", "-n", PLACE, *words]
    environment = {**os.environ, "KUBECONFIG": kubeconfig}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_cronjobs_are_imported_and_fire_when_their_controller_does(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.kubectl("create", "namespace", PLACE)
    try:
        items = [cronjob(name, spec) for name, spec in KINDS.items()]
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        cluster.kubectl("apply", "-f", str(ROOT / "crds"))
        cluster.kubectl("wait", f"crd/{CRD}", "--for=create", "--for=condition=Established", "--timeout=60s")
        said = run(cluster.target.kubeconfig, "--output", str(tmp_path / "jobs"))
        assert (said.returncode, f"{len(KINDS)} of {len(KINDS)} jobs imported" in said.stderr) == (0, True), said.stderr
        applied = cluster.kubectl("apply", "-f", str(tmp_path / "jobs"))
        assert applied.count(" created") == len(KINDS)
        done = run(cluster.target.kubeconfig, "--shadow", "3m")
        with capsys.disabled():
            print(f"\n{done.stdout}")
        assert done.returncode == 0, done.stdout + done.stderr
        rows = {line.split()[1]: line.split()[-3:] for line in done.stdout.splitlines() if line.startswith("CronJob")}
        assert len(rows) == len(KINDS)
        assert {rows[f"{PLACE}/{name}"][0] for name in ("every-minute", "question-mark", "kathmandu")} == {"3"}
        assert rows[f"{PLACE}/suspended"] == ["0", "0", "0"]
    finally:
        cluster.kubectl("delete", "crd", CRD, "--ignore-not-found")  # the release is to bring its own
        cluster.kubectl("delete", "namespace", PLACE, "--wait=false")
