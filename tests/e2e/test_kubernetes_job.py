"""The handler kubernetes-job on real pods, while pods of Jobs and of the operator are killed. A release of its own."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.acceptance.conftest import until
from tests.e2e.conftest import NAMESPACE, NEW, RELEASE, Cluster, values
from tests.e2e.targets import ROOT
from tests.e2e.test_release import granted, say

CHART = str(ROOT / "charts" / "scheduledjobs")
IMAGE = f"docker.io/{NEW}"
ACCOUNT = "kubernetes-job"
JOBS, WAVES, APART_SECONDS = 50, 3, 0.5
WORK = """
import os, sys, time
number = int(os.environ["NUMBER"])
print("line 1 of", os.environ["SCHEDULEDJOBS_JOB"], flush=True)
time.sleep(5 + number % 7)
print("key", os.environ["SCHEDULEDJOBS_IDEMPOTENCY_KEY"], flush=True)
sys.exit(3 if number % 5 == 0 else 0)
"""
SMALL = {"requests": {"cpu": "1m", "memory": "8Mi"}}
SETTINGS = ("kubernetesJob.enabled=true", "crds.keep=false", f"serviceAccount.name={ACCOUNT}", "web.enabled=false")


@pytest.fixture(scope="module", autouse=True)
def release(cluster: Cluster) -> Iterator[None]:
    """A release with the handler, gone at the end with all that it made."""
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    cluster.helm("install", RELEASE, CHART, "-n", NAMESPACE, *values(NEW), *words)
    cluster.wait_ready()
    yield
    cluster.kubectl("delete", "scheduledjobs", "--all", "-n", NAMESPACE)
    until(lambda: not cluster.get("jobs")["items"], 90, 1.0)  # collected with their owners
    cluster.helm("uninstall", RELEASE, "-n", NAMESPACE, "--wait")
    until(lambda: not cluster.get("pods")["items"], 90, 1.0)
    cluster.kubectl("delete", "leases", "--all", "-n", NAMESPACE)  # the next release is to make its own, and be seen to


def scheduled(name: str, payload: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "scheduledjobs.dev/v1",
        "kind": "ScheduledJob",
        "metadata": {"name": name},
        "spec": {"handler": "kubernetes-job", "payload": {"resources": SMALL, **payload}, **spec},
    }


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def work(number: int) -> dict[str, Any]:
    return {"image": IMAGE, "command": ["python", "-c", WORK], "env": {"NUMBER": str(number)}}


def rows(cluster: Cluster, like: str) -> dict[str, list[str]]:
    """Job names, and of each state, message, exit code, claims, attempts and output."""
    found = cluster.sql(
        "SELECT e.job_name, e.state, coalesce(e.message, ''), coalesce(e.result->>'exitCode', ''), e.claim_no,"
        " e.attempt, coalesce(o.output, '') FROM job_execution_log e LEFT JOIN job_execution_output o"
        f" ON o.execution_id = e.id AND o.attempt = e.attempt WHERE e.job_name LIKE '{like}' ORDER BY e.id"
    )
    assert len({row[0] for row in found}) == len(found)
    return {row[0]: row[1:] for row in found}


def are_over(cluster: Cluster, like: str, count: int) -> dict[str, list[str]] | None:
    found = rows(cluster, like)
    over = [row for row in found.values() if row[0] not in ("PENDING", "RUNNING")]
    return found if len(over) == count else None


@pytest.mark.timeout(900)
def test_fifty_moments_have_one_job_each_while_pods_are_killed(cluster: Cluster, capsys: Any) -> None:
    random = Random(7)
    began = time.monotonic()
    killed: dict[str, str] = {}
    gone: list[str] = []
    for wave in range(WAVES):
        numbers = range(JOBS)[wave::WAVES]
        due = [soon(3 + place * APART_SECONDS) for place in range(len(numbers))]
        cluster.apply(*(scheduled(f"many-{n:02}", work(n), runAt=at) for n, at in zip(numbers, due, strict=True)))
        pod = until(lambda: running(cluster, set(killed)), 90, 0.5)
        killed[pod["metadata"]["labels"]["scheduledjobs.dev/job"]] = pod["metadata"]["name"]
        kill(cluster, pod["metadata"]["name"])
        gone.append(random.choice(cluster.pods()))
        kill(cluster, gone[-1])
        until(lambda: len(cluster.pods()) == 2 and not set(gone) & set(cluster.pods()), 90)
        cluster.wait_ready()
    found = until(lambda: are_over(cluster, "many-%", JOBS), 240, 3.0)
    made = Counter(one["metadata"]["labels"]["scheduledjobs.dev/job"] for one in cluster.get("jobs")["items"])
    assert made == Counter(found.keys()), "a moment with no Job, or with two"
    handed = sum(int(row[3]) > 1 for row in found.values())
    took = time.monotonic() - began
    kills = f"{len(gone)} operator pods and {len(killed)} Job pods killed"
    say(capsys, f"{len(made)} Jobs for {JOBS} moments in {took:.0f} s; {kills}")
    say(capsys, f"{handed} were handed over; {Counter(row[0] for row in found.values())}")
    for name, (state, message, code, _, attempt, output) in found.items():
        number = int(name.split("-")[1])
        assert attempt == "1", name
        if name in killed and state == "FAILED" and code != "3":
            continue
        assert (state, code) == (("FAILED", "3") if number % 5 == 0 else ("SUCCEEDED", "0")), (name, message)
        assert f"line 1 of {name}\n" in output
        assert re.search(r"^key \S+/20\S+Z/$", output, re.MULTILINE), output


def running(cluster: Cluster, but: set[str]) -> dict[str, Any] | None:
    """A pod of a Job that runs."""
    words = ("pods", "-l", "app.kubernetes.io/managed-by=scheduledjobs", "--field-selector=status.phase=Running")
    found = [pod for pod in cluster.get(*words)["items"] if "deletionTimestamp" not in pod["metadata"]]
    fresh = [pod for pod in found if pod["metadata"]["labels"]["scheduledjobs.dev/job"] not in but]
    return fresh[0] if fresh else None


def kill(cluster: Cluster, pod: str) -> None:
    cluster.kubectl("delete", "pod", pod, "-n", NAMESPACE, "--grace-period=0", "--force", "--wait=false", check=False)


def test_what_ends_badly_says_why(cluster: Cluster, capsys: Any) -> None:
    eat = {"command": ["python", "-c", "x = bytearray(512 << 20); print(len(x))"]}
    cluster.apply(
        scheduled("ends-late", {"image": IMAGE, "command": ["sleep", "600"]}, runAt=soon(3), timeout="8s"),
        scheduled("ends-unpulled", {"image": "nowhere.invalid/x:1", "startGraceSeconds": 15}, runAt=soon(3)),
        scheduled("ends-unnamed", {"image": "NOT AN IMAGE"}, runAt=soon(3)),
        scheduled("ends-eating", {"image": IMAGE, **eat, "resources": {"limits": {"memory": "64Mi"}}}, runAt=soon(3)),
        scheduled("ends-forbidden", {"image": IMAGE, "resources": {"limits": {"memory": "lots"}}}, runAt=soon(3)),
        scheduled("ends-deleted", {"image": IMAGE, "command": ["sleep", "600"]}, runAt=soon(3)),
    )
    label = ("-n", NAMESPACE, "-l", "scheduledjobs.dev/job=ends-deleted")
    until(lambda: cluster.kubectl("get", "jobs", *label, "-o", "name"), 60, 0.5)
    cluster.kubectl("delete", "jobs", *label)
    found = until(lambda: are_over(cluster, "ends-%", 6), 150, 2.0)
    for name, row in found.items():
        say(capsys, f"{name}: {row[0]}: {row[1]}")
    assert found["ends-late"][0] == "TIMED_OUT"
    assert "is gone, and its pods" in found["ends-late"][5]  # its process takes no heed of SIGTERM: that takes 30 s
    assert {row[0] for name, row in found.items() if name != "ends-late"} == {"FAILED"}
    assert re.match("(ErrImagePull|ImagePullBackOff): ", found["ends-unpulled"][1])
    assert found["ends-unnamed"][1].startswith("InvalidImageName: ")
    assert found["ends-eating"][1].startswith("OOMKilled: ")
    assert "quantities must match" in found["ends-forbidden"][1]
    assert found["ends-deleted"][1].endswith(" was deleted")
    left = {one["metadata"]["labels"]["scheduledjobs.dev/job"] for one in cluster.get("jobs")["items"]}
    assert left & found.keys() == {"ends-eating"}  # the others were deleted or never made


def test_the_operator_used_the_rights_that_it_was_granted_and_no_more(cluster: Cluster, capsys: Any) -> None:
    if cluster.target.audit_log is None:
        pytest.skip("this cluster's audit log cannot be read")
    found = Counter(used(cluster.target.audit_log))
    say(capsys, f"requests: {sorted((f'{verb} {resource}', n) for (_, resource, verb), n in found.items())}")
    assert found.keys() == granted(cluster)


def used(log: Path) -> Iterator[tuple[str, str, str]]:
    user = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    # The server may be in the middle of the last line; a caller whom it could not identify has no name.
    for event in map(json.loads, log.read_text().rpartition("\n")[0].splitlines()):
        of = event.get("objectRef")
        if event["user"].get("username") == user and of is not None:
            assert event["responseStatus"].get("code") not in (401, 403), event
            yield of.get("apiGroup", ""), "/".join(filter(None, (of["resource"], of.get("subresource")))), event["verb"]
