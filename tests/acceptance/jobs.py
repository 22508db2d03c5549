"""The Job controller and the kubelet, played by hand: the API server of the tests has neither."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from dev.postgres import Postgres
from tests.acceptance.conftest import Replicas, until


def stamp(moment: datetime | None = None) -> str:
    """Return a time as Kubernetes writes it."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Jobs:
    """The Jobs of one test's namespace, and what becomes of them."""

    replicas: Replicas

    def all(self) -> list[dict[str, Any]]:
        """Return all Jobs."""
        found: list[dict[str, Any]] = json.loads(self._kubectl("get", "jobs", "-o", "json").stdout)["items"]
        return found

    def of(self, job: str) -> list[dict[str, Any]]:
        """Return the Jobs of a ScheduledJob."""
        return [one for one in self.all() if one["metadata"]["labels"].get("scheduledjobs.dev/job") == job]

    def wait(self, job: str, count: int = 1, seconds: float = 20) -> dict[str, Any]:
        """Return the newest Job of a ScheduledJob once there are `count`."""
        found = until(lambda: len(jobs := self.of(job)) == count and jobs, seconds, 0.2)
        assert isinstance(found, list)
        newest: dict[str, Any] = max(found, key=lambda one: int(one["metadata"]["resourceVersion"]))
        return newest

    def start(self, job: dict[str, Any], pod: dict[str, Any] | None = None, *, ready: int = 1) -> dict[str, Any]:
        """Start the pod of a Job; `pod` is its status."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": True}
        template = job["spec"]["template"]
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-pod",
                "labels": {**template["metadata"]["labels"], "batch.kubernetes.io/controller-uid": uid},
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }
        made: dict[str, Any] = json.loads(
            self._kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(body)).stdout
        )
        self._status("pod", f"{name}-pod", pod or {"phase": "Running"})
        started = stamp(datetime.now(UTC) - timedelta(seconds=5))
        self._status("job", name, {"startTime": started, "active": 1, "ready": ready})
        return made

    def finish(self, job: dict[str, Any], code: int = 0, **ended: Any) -> None:
        """End the pod of a Job that was started with this exit code, and the Job with it."""
        name, reason = job["metadata"]["name"], "Completed" if code == 0 else "Error"
        state = {
            "terminated": {"exitCode": code, "reason": reason, "startedAt": stamp(), "finishedAt": stamp(), **ended}
        }
        container = {"name": "job", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        phase = "Succeeded" if code == 0 else "Failed"
        self._status("pod", f"{name}-pod", {"phase": phase, "containerStatuses": [container]})
        self.end(job, is_well=code == 0)

    def end(self, job: dict[str, Any], *, is_well: bool, reason: str = "BackoffLimitExceeded") -> None:
        """End a Job."""
        now = stamp()
        kinds = ("SuccessCriteriaMet", "Complete") if is_well else ("FailureTarget", "Failed")
        common = {"status": "True", "lastTransitionTime": now, "lastProbeTime": now}
        said = {} if is_well else {"reason": reason, "message": "the test has ended it"}
        status: dict[str, Any] = {
            "active": 0,
            "ready": 0,
            "conditions": [{**common, **said, "type": kind} for kind in kinds],
            **({"succeeded": 1, "completionTime": now} if is_well else {"failed": 1}),
        }
        self._status("job", job["metadata"]["name"], status)

    def is_going(self, job: dict[str, Any]) -> bool:
        """Return whether a Job is being deleted with its pods first."""
        there = [one for one in self.all() if one["metadata"]["uid"] == job["metadata"]["uid"]]
        meta = there[0]["metadata"] if there else {}
        return "deletionTimestamp" in meta and "foregroundDeletion" in meta.get("finalizers", [])

    def collect(self, job: dict[str, Any]) -> None:
        """Let a Job go that is being deleted: its pods are gone."""
        until(lambda: self.is_going(job), 20, 0.2)
        self._kubectl("delete", "pod", f"{job['metadata']['name']}-pod", "--now", "--ignore-not-found")
        self.let_go(job)

    def let_go(self, job: dict[str, Any]) -> None:
        """Take the finalizers off a Job."""
        patch = '{"metadata":{"finalizers":null}}'
        self._kubectl("patch", "job", job["metadata"]["name"], "--type=merge", "-p", patch)

    def delete(self, job: dict[str, Any]) -> None:
        """Delete a Job and its pod by hand."""
        name = job["metadata"]["name"]
        self._kubectl("delete", "job", name, "--cascade=background", "--wait=false")
        self.let_go(job) if self._finalizers(name) else None
        self._kubectl("delete", "pod", f"{name}-pod", "--now", "--ignore-not-found")

    def _finalizers(self, name: str) -> list[str]:
        found = [one for one in self.all() if one["metadata"]["name"] == name]
        return list(found[0]["metadata"].get("finalizers", [])) if found else []

    def warn(self, job: dict[str, Any], reason: str, message: str) -> None:
        """Write an Event about a Job, as the Job controller does."""
        meta = job["metadata"]
        about = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "namespace": meta["namespace"]}
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta['name']}."},
            "involvedObject": {**about, "uid": meta["uid"]},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "lastTimestamp": stamp(),
        }
        self._kubectl("create", "-f", "-", stdin=json.dumps(body))

    def execution(self, job: str, **expected: Any) -> dict[str, Any]:
        """Return the newest execution of a ScheduledJob once it is as expected."""
        query = "SELECT * FROM job_execution_log WHERE job_name = %s ORDER BY id DESC LIMIT 1"
        deadline = time.monotonic() + 40
        while True:
            rows = self.replicas.rows(query, job)
            if rows and all(rows[0][name] == value for name, value in expected.items()):
                return rows[0]
            if time.monotonic() > deadline:
                raise AssertionError(f"{job}: not {expected} but {rows}")
            time.sleep(0.1)

    def output(self, execution: dict[str, Any]) -> str:
        """Return what an execution has left of its output."""
        found = self.replicas.rows("SELECT output FROM job_execution_output WHERE execution_id = %s", execution["id"])
        return "\n".join(row["output"] for row in found)

    def _status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        patch = json.dumps({"status": status})
        self._kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)

    def _kubectl(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return self.replicas.cluster.kubectl(*words, "-n", self.replicas.namespace, stdin=stdin)


def soon(seconds: float = 1.0) -> str:
    """Return a time in the near future, for runAt."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


@contextmanager
def open_database(server: Postgres, name: str) -> Iterator[str]:
    """Lend the URL of a database with the schema."""
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template".encode())
    try:
        yield server.url.rsplit("/", 1)[0] + f"/{name}"
    finally:
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
