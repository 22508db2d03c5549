"""CronJobs of a real API server: imported, applied as ScheduledJobs, and compared with what their controller does."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from dev.controlplane import ControlPlane
from tests.importing.test_cronjobs import HERE, load

from scheduledjobs.cli.import_cronjobs import compare, refusals
from scheduledjobs.cli.import_shadow import Time
from scheduledjobs.importing.cronjobs import read_cronjob
from scheduledjobs.importing.shadow import Compared, table

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def run(cluster: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    command = [sys.executable, "-m", "scheduledjobs", "import", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def specs(text: str) -> dict[str, Any]:
    """The specs of manifests by name; what only the server knows of an interval is left out."""
    found = {body["metadata"]["name"]: body["spec"] for body in yaml.safe_load_all(text) if body}
    for spec in found.values():
        if "fixedRate" in spec:
            spec.pop("startTime", None)
    return found


def test_manifests_apply_and_say_what_the_file_says(cluster: ControlPlane, namespace: str, tmp_path: Path) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", str(HERE / "cronjobs.yaml"))
    folder = tmp_path / "jobs"
    said = run(cluster, "cronjobs", "-n", namespace, "--output", str(folder))
    assert said.returncode == 1, said.stderr  # one CronJob has a date that never comes
    assert "21 of 22 jobs imported, 1 not" in said.stderr
    assert f"CronJob {namespace}/never: " in said.stderr
    assert "kubernetes-job, which is off by default: until the chart's value kubernetesJob.enabled" in said.stderr
    written = "---\n".join(path.read_text() for path in sorted(folder.glob("*.yaml")))
    assert specs(written) == specs((HERE / "cronjobs.golden.yaml").read_text())
    pause = "scheduledjobs.dev/paused-until"  # as docs/howto/migrate-from-cronjob.md has it
    paused = cluster.kubectl("annotate", "--local", "-f", str(folder), f"{pause}=forever", "-o", "yaml").stdout
    applied = cluster.kubectl("apply", "-f", "-", stdin=paused).stdout
    assert applied.count(" created") == 21
    jobs = ("get", "sjobs", "-n", namespace, "-o", "json")
    assert cluster.kubectl(*jobs).stdout.count(f'"{pause}": "forever"') == 21
    cluster.kubectl("annotate", "-f", str(folder), f"{pause}-")
    assert f'"{pause}": "forever"' not in cluster.kubectl(*jobs).stdout
    assert run(cluster, "cronjobs", "-n", namespace, "--output", str(folder)).returncode == 2
    assert run(cluster, "cronjobs", "-n", namespace, "--output", str(folder), "--force").returncode == 1
    assert "21 of 22" in run(cluster, "cronjobs", "-n", namespace).stderr


class Hand:
    """Time in the test's hand; while somebody waits, the part of the CronJob controller is played."""

    def __init__(self, cluster: ControlPlane, namespace: str, made: Sequence[tuple[str, datetime]]) -> None:
        self.at = NOON
        self.cluster, self.namespace = cluster, namespace
        self.made = sorted(made, key=lambda one: one[1])

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=max(seconds, 30))
        while self.made and self.made[0][1] <= self.at:
            await asyncio.to_thread(self._run, *self.made.pop(0))

    def _run(self, name: str, moment: datetime) -> None:
        """Make the Job that the controller makes, and write the moment into the status."""
        cronjob = json.loads(self.cluster.kubectl("get", "cronjob", name, "-n", self.namespace, "-o", "json").stdout)
        text = moment.isoformat().replace("+00:00", "Z")
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": cronjob["metadata"]["uid"]}
        metadata = {
            "name": f"{name}-{int(moment.timestamp()) // 60}",
            "annotations": {"batch.kubernetes.io/cronjob-scheduled-timestamp": text},
            "ownerReferences": [{**owner, "controller": True}],
        }
        spec = cronjob["spec"]["jobTemplate"]["spec"]
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
        self.cluster.kubectl("create", "-n", self.namespace, "-f", "-", stdin=json.dumps(job))
        patch = json.dumps({"status": {"lastScheduleTime": text}})
        words = ("patch", "cronjob", name, "-n", self.namespace, "--subresource=status", "--type=merge", "-p", patch)
        self.cluster.kubectl(*words)


async def shadow(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch, made: Sequence[tuple[str, datetime]]
) -> list[Compared]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    wanted = ("deadline", "every", "suspended", "never")
    bodies = [raw for raw in load("cronjobs.yaml") if raw["metadata"]["name"] in wanted]
    for raw in bodies:
        cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(raw))
    found = json.loads(cluster.kubectl("get", "cronjobs", "-n", namespace, "-o", "json").stdout)["items"]
    for raw in found:
        raw["metadata"]["creationTimestamp"] = "2026-11-27T10:40:00Z"
    hand = Hand(cluster, namespace, made)
    jobs = [read_cronjob(raw, None, NOON, refusals) for raw in found]
    return await compare(namespace, jobs, found, timedelta(minutes=16), Time(hand.now, hand.sleep))


def minute(number: int, second: int = 0) -> datetime:
    return NOON + timedelta(minutes=number, seconds=second)


async def test_a_shadow_of_what_runs_alike_finds_nothing(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [("deadline", minute(5)), ("deadline", minute(10)), ("deadline", minute(15)), ("every", minute(10, 10))]
    found = await shadow(cluster, namespace, monkeypatch, made)
    assert {job.origin.rpartition("/")[2]: len(job.same) for job in found} == {
        "deadline": 3,
        "every": 1,
        "suspended": 0,
    }
    assert not any(job.differs for job in found)


async def test_a_shadow_names_the_moments_that_only_one_has(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [("deadline", minute(5)), ("deadline", minute(12)), ("every", minute(10, 10))]
    found = await shadow(cluster, namespace, monkeypatch, made)
    assert "shadow: " in capsys.readouterr().err
    (deadline,) = [job for job in found if job.origin.endswith("/deadline")]
    assert deadline.ours_only == (minute(10), minute(15))
    assert deadline.theirs_only == (minute(12),)
    lines = table(found)
    assert "  ours only: 2026-11-27T12:10:00Z, 2026-11-27T12:15:00Z" in lines
    assert lines[-1].split() == ["all", "3", "2", "2", "1"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["cronjobs", "-n", "a", "-A"], "give one of --namespace, --all-namespaces and --file"),
        (["cronjobs", "--file", "/nowhere"], "/nowhere cannot be read"),
        (["cronjobs", "--file", __file__], "is no YAML"),
        (["cronjobs", "--file", str(HERE / "cronjobs.golden.yaml")], "has no CronJob of batch/v1"),
        (["cronjobs", "--file", str(HERE / "cronjobs.yaml"), "--shadow", "10s"], "looks at a cluster"),
        (["cronjobs", "--shadow", "soon"], "must be a duration"),
        (["cronjobs", "--shadow", "25h"], "must be between 1s and 24h"),
        (["cronjobs", "--default-time-zone", "Mars/Base"], "not in the IANA time zone database"),
        (["pg_cron", "--connection", "own"], "Missing option '--url'"),
        (["pg_cron", "--connection", "own", "--url", "mysql://u:secret@h/d"], "must look like postgresql://"),
        (["celery-beat"], "give one of --app, --file and --url"),
        (["celery-beat", "--app", "no_such_module:app"], "no_such_module:app cannot be imported: ModuleNotFoundError"),
        (["celery-beat", "--app", "os:path"], "is neither a Celery app nor a beat_schedule"),
        (["celery-beat", "--file", str(HERE / "cronjobs.yaml")], "is no YAML"),
        (["celery-beat", "--app", "x:y", "--handler", "celery"], "must be TASK=HANDLER"),
        (["celery-beat", "--file", "x", "--shadow", "1h"], "only with --app"),
        (["quartz"], "No such command 'quartz'"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(cluster: ControlPlane, arguments: list[str], sentence: str) -> None:
    said = run(cluster, *arguments)
    assert (said.returncode, sentence in " ".join(said.stderr.split())) == (2, True), said.stderr
    assert "secret" not in said.stderr


@pytest.mark.parametrize("source", ["cronjobs", "pg_cron", "celery-beat"])
def test_every_source_has_help_that_helps(cluster: ControlPlane, source: str) -> None:
    said = run(cluster, source, "--help")
    assert said.returncode == 0
    assert "--shadow" in said.stdout
    assert "Exit codes: 0 all jobs are imported" in " ".join(run(cluster, "--help").stdout.split())


def test_a_cluster_that_does_not_answer_is_not_a_no(cluster: ControlPlane, tmp_path: Path) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    words = [sys.executable, "-m", "scheduledjobs", "import", "cronjobs", "-A"]
    said = subprocess.run(
        words, env={**os.environ, "KUBECONFIG": str(path)}, capture_output=True, text=True, check=False
    )
    assert said.returncode == 3
    assert said.stderr.startswith("scheduledjobs: GET /apis/batch/v1/cronjobs: ")


def test_a_file_may_be_a_list_and_other_kinds_are_left_out(cluster: ControlPlane, tmp_path: Path) -> None:
    items = [*load("cronjobs.yaml")[:2], {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}]
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    said = run(cluster, "cronjobs", "--file", str(path))
    assert said.returncode == 0
    assert "1 other objects" in said.stderr
    assert len(list(yaml.safe_load_all(said.stdout))) == 2
