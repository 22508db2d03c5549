"""A release from its installation to its end, on real pods. The tests are the steps of one story, in order."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.conftest import until
from tests.e2e.conftest import NAMESPACE, NEW, OLD, OURS, RELEASE, Cluster, values
from tests.e2e.targets import ROOT, run

CHART = str(ROOT / "charts" / "scheduledjobs")
JOBS, SLOTS = 10, 32  # the chart's slots
USER = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"


def job(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "scheduledjobs.dev/v1",
        "kind": "ScheduledJob",
        "metadata": {"name": name},
        "spec": {"handler": "log", **spec},
    }


def verified(cluster: Cluster) -> str:
    """What verify says once what is due has been decided; it must have found nothing."""
    said = ""

    def is_decided() -> bool:
        nonlocal said
        said = look(cluster)
        return "not decided" not in said

    try:
        until(is_decided, 60, 1.0)
    except AssertionError:
        raise AssertionError(f"not all decided within 60 s: {said}") from None
    assert said.startswith("0 lost, 0 doubled, "), said
    assert "not due" not in said
    return said.strip()


def look(cluster: Cluster) -> str:
    text = cluster.scheduledjobs("verify", "--since", "1h", check=False)
    waiting = re.search(r"(\d+) not decided yet", text)
    return text if waiting is None or int(waiting.group(1)) > JOBS else text.replace(waiting.group(0), "on time")


def longest_gap(cluster: Cluster, since: str) -> str:
    (row,) = cluster.sql(
        "SELECT max(started_at - before) FROM (SELECT started_at, lag(started_at) OVER (ORDER BY started_at) AS before"
        f" FROM job_execution_log WHERE job_name LIKE 'tick-%' AND started_at > '{since}') AS s"
    )
    return row[0]


def now(cluster: Cluster) -> str:
    return cluster.sql("SELECT now()")[0][0]


def say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        print(f"\n  {line}", end="", flush=True)


JOB = "scheduledjob.scheduledjobs.dev/"
LEFT = "pod,service,deployment,statefulset,sa,cm,secret,role,rolebinding,networkpolicy,pdb,pvc,lease,scheduledjob"
OF_THE_NAMESPACE = {"serviceaccount/default", "configmap/kube-root-ca.crt", "configmap/ours"}
OPERATORS = "app.kubernetes.io/component=operator"


def left(cluster: Cluster) -> set[str]:
    return set(cluster.kubectl("get", LEFT, "-n", NAMESPACE, "-o", "name").split()) - OF_THE_NAMESPACE


def test_installs_and_two_pods_are_ready(cluster: Cluster, chart_before: Path, capsys: Any) -> None:
    done = cluster.helm("install", RELEASE, str(chart_before), "-n", NAMESPACE, *values(OLD))
    assert "WARNING: demoPostgres" in done.stdout
    cluster.wait_ready()
    assert len(cluster.pods()) == 2
    say(capsys, f"two pods Ready: {', '.join(cluster.pods())}")


def test_the_smoke_test_passes(cluster: Cluster, capsys: Any) -> None:
    done = cluster.helm("test", RELEASE, "-n", NAMESPACE, "--logs")
    assert "SUCCEEDED" in done.stdout + done.stderr
    say(capsys, re.search(r"its row in job_execution_log.*", done.stdout + done.stderr).group(0))  # type: ignore[union-attr]


def test_examples_and_jobs_run_on_both_pods(cluster: Cluster, capsys: Any) -> None:
    for name in ("fixed-rate", "fixed-delay", "failing"):
        cluster.kubectl("apply", "-n", NAMESPACE, "-f", str(ROOT / "examples" / f"{name}.yaml"))
    cluster.apply(*(job(f"tick-{n}", fixedRate="1s", concurrencyPolicy="Allow") for n in range(JOBS)))
    # The leader runs all that it has slots for; so at one moment more is due than it has.
    at = cluster.sql("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '15 s', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")[0][
        0
    ]
    cluster.apply(*(job(f"once-{n}", runAt=at, payload={"seconds": 3}) for n in range(SLOTS + JOBS)))
    query = (
        "SELECT hostname, count(*) FROM job_execution_log e JOIN scheduler_instance i ON i.id = e.claimed_by"
        " WHERE state = 'SUCCEEDED' AND job_name LIKE 'once-%' GROUP BY 1"
    )
    counts = until(lambda: sum(map(int, (found := dict(cluster.sql(query))).values())) == SLOTS + JOBS and found, 60)  # type: ignore[arg-type, return-value, call-overload]
    assert min(map(int, counts.values())) >= JOBS
    assert len(counts) == 2
    say(capsys, f"executions by pod: {counts}")
    table = cluster.kubectl("get", "scheduledjobs", "-n", NAMESPACE)
    assert re.search(r"tick-0 +every 1s .*Succeeded", table), table
    say(capsys, table.splitlines()[0])


def test_pods_are_what_the_cluster_was_told(cluster: Cluster) -> None:
    for pod in cluster.pods():
        words = ("exec", "-n", NAMESPACE, pod, "-c", "operator", "--", "python", "-c")
        assert cluster.kubectl(*words, "import os; print(os.getuid())").strip() == "65532"
        assert "Read-only file system" in cluster.kubectl(*words, "open('/x', 'w')", check=False)


def test_an_upgrade_loses_and_doubles_nothing(cluster: Cluster, capsys: Any) -> None:
    began = now(cluster)
    cluster.helm("upgrade", RELEASE, CHART, "-n", NAMESPACE, *values(NEW), "--wait", "--timeout", "240s")
    cluster.wait_ready()
    names = json.loads(cluster.kubectl("get", "crd", "scheduledjobs.scheduledjobs.dev", "-o", "json"))["spec"]["names"]
    assert names["shortNames"] == ["sjob", "sjobs"]
    say(capsys, f"upgrade: {verified(cluster)}; longest time without a start {longest_gap(cluster, began)}")
    say(capsys, f"left by the upgrade: {sorted(name for name in left(cluster) if not name.startswith(JOB))}")


def test_an_eviction_loses_and_doubles_nothing(cluster: Cluster, capsys: Any) -> None:
    began, pod = now(cluster), leader(cluster)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
    until(lambda: pod not in cluster.pods() and len(cluster.pods()) == 2, 60)
    cluster.wait_ready()
    say(capsys, f"eviction of the leader: {verified(cluster)}; longest without a start {longest_gap(cluster, began)}")


def test_a_killed_leader_loses_and_doubles_nothing(cluster: Cluster, capsys: Any) -> None:
    began, pod = now(cluster), leader(cluster)
    cluster.kubectl("delete", "pod", pod, "-n", NAMESPACE, "--grace-period=0", "--force")
    until(lambda: pod not in cluster.pods() and len(cluster.pods()) == 2, 60)
    cluster.wait_ready()
    until(lambda: leader(cluster) != pod, 30)
    say(capsys, f"kill of the leader: {verified(cluster)}; longest without a start {longest_gap(cluster, began)}")


def leader(cluster: Cluster) -> str:
    return cluster.sql("SELECT holder FROM leadership")[0][0].rsplit("_", 1)[0]


def test_handlers_come_from_a_mounted_module_and_from_an_image(cluster: Cluster) -> None:
    text = (ROOT / "examples" / "handlers" / "reports.py").read_text()
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ours"}, "data": {"reports.py": text}})
    mounted = ("--set", "handlers.modules={reports},handlers.configMap=ours")
    for words in ([*values(NEW), *mounted], values(OURS)):
        cluster.helm("upgrade", RELEASE, CHART, "-n", NAMESPACE, *words, "--wait", "--timeout", "240s")
        cluster.wait_ready()
        cluster.apply(job("report", fixedRate="1s", handler="report", payload={"customer": 7}))
        query = "SELECT result FROM job_execution_log WHERE job_name = 'report' AND state = 'SUCCEEDED' LIMIT 1"
        assert until(lambda: cluster.sql(query), 60) == [["{'rows': 3}"]]  # noqa: B023 called at once
        cluster.kubectl("delete", "sjob", "report", "-n", NAMESPACE)


def test_an_edit_while_nobody_was_there_is_found(cluster: Cluster) -> None:
    cluster.kubectl("scale", f"deployment/{RELEASE}", "-n", NAMESPACE, "--replicas=0")
    until(lambda: not cluster.get("pods", "-l", OPERATORS)["items"], 90)
    cluster.apply(job("tick-0", fixedRate="2s", concurrencyPolicy="Allow"))
    cluster.kubectl("delete", "sjob", "tick-1", "-n", NAMESPACE)
    cluster.kubectl("scale", f"deployment/{RELEASE}", "-n", NAMESPACE, "--replicas=2")
    cluster.wait_ready()
    query = "SELECT name, state, version FROM job_definition WHERE name IN ('tick-0', 'tick-1') ORDER BY name"
    until(lambda: cluster.sql(query) == [["tick-0", "ACTIVE", "2"], ["tick-1", "DELETED", "1"]], 60)


def test_a_rollback_works_on_the_same_schema(cluster: Cluster, capsys: Any) -> None:
    cluster.helm("rollback", RELEASE, "-n", NAMESPACE, "--wait", "--timeout", "240s")
    cluster.wait_ready()
    say(capsys, f"rollback: {verified(cluster)}")
    say(capsys, f"left by the rollback: {sorted(name for name in left(cluster) if not name.startswith(JOB))}")


def test_the_rights_granted_are_those_used(cluster: Cluster, capsys: Any) -> None:
    if cluster.target.audit_log is None:
        pytest.skip("this cluster's audit log cannot be read")
    used = set()
    # The server may be in the middle of the last line; a caller whom it could not identify has no name.
    whole = cluster.target.audit_log.read_text().rpartition("\n")[0]
    for event in map(json.loads, whole.splitlines()):
        of = event.get("objectRef")
        if event["user"].get("username") == USER and of is not None:
            resource = "/".join(filter(None, (of["resource"], of.get("subresource"))))
            used.add((of.get("apiGroup", ""), resource, event["verb"]))
    say(capsys, f"used: {sorted(used)}")
    assert used == granted(cluster)


def granted(cluster: Cluster) -> set[tuple[str, str, str]]:
    kinds = ("clusterrole", "role")
    found = set()
    for kind in kinds:
        items = json.loads(
            cluster.kubectl("get", kind, "-A", "-l", "app.kubernetes.io/instance=scheduledjobs", "-o", "json")
        )
        for item in items["items"]:
            if "smoke" in item["metadata"]["name"] or "aggregate-to" in json.dumps(item["metadata"].get("labels", {})):
                continue
            found |= {(g, r, v) for rule in item["rules"] for g in rule["apiGroups"] for r in rule["resources"]
                      for v in rule["verbs"]}  # fmt: skip
    return found


def test_no_pod_was_restarted_and_no_watch_gave_up(cluster: Cluster) -> None:
    """A leader has loops that come round every ten minutes; it is given the time to be taken for stalled."""
    names = cluster.pods()
    born = min(pod["status"]["startTime"] for pod in cluster.get("pods", "-l", OPERATORS)["items"])
    until(lambda: cluster.sql(f"SELECT now() > '{born}'::timestamptz + interval '100 seconds'") == [["True"]], 120, 1.0)
    for pod in cluster.get("pods", "-l", OPERATORS)["items"]:
        assert [state["restartCount"] for state in pod["status"]["containerStatuses"]] == [0], pod["metadata"]["name"]
    said = "".join(cluster.kubectl("logs", "-n", NAMESPACE, name, "-c", "operator") for name in names)
    assert "leading" in said
    assert "gave up" not in said
    assert "unforeseen" not in said
    events = cluster.kubectl("get", "events", "-n", NAMESPACE)
    assert "Liveness probe failed" not in events


LATER = "INSERT INTO schema_migration VALUES (9999, '9999_later', '')"


@pytest.mark.parametrize(
    ("secret", "key", "url", "statement", "sentence"),
    [
        ("", "", "", None, 'secret "bad" not found'),
        ("bad", "url", "x", None, "couldn't find key uri in Secret"),
        ("bad", "uri", "postgresql://a:b@127.0.0.1:1/c", None, "SCHEDULEDJOBS_DATABASE_URL: "),
        ("bad", "uri", "", LATER, "is newer than this program"),
    ],
)
def test_what_keeps_a_pod_from_starting_is_named(
    cluster: Cluster, secret: str, key: str, url: str, statement: str | None, sentence: str
) -> None:
    if statement is not None:
        cluster.sql(statement)
        url = b64decode(cluster.get("secret", f"{RELEASE}-postgres")["data"]["uri"]).decode()
    if secret:
        cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {key: url}})
    words = ("--set", "database.existingSecret=bad,crds.install=false,demoPostgres.enabled=false")
    cluster.helm("install", "bad", CHART, "-n", NAMESPACE, *values(NEW), *words)
    until(lambda: sentence in what_is_said(cluster), 90, 1.0)
    cluster.helm("uninstall", "bad", "-n", NAMESPACE, "--wait")
    cluster.kubectl("delete", "secret", "bad", "-n", NAMESPACE, "--ignore-not-found")
    if statement is not None:
        cluster.sql("DELETE FROM schema_migration WHERE number = 9999")


def test_a_right_that_is_missing_is_named(cluster: Cluster) -> None:
    words = (f"database.existingSecret={RELEASE}-postgres", "crds.install=false", "demoPostgres.enabled=false")
    settings = [word for value in (*words, "rbac.create=false") for word in ("--set", value)]
    cluster.helm("install", "bad", CHART, "-n", NAMESPACE, *values(NEW), *settings)
    until(
        lambda: "cannot get resource" in (said := log_of_bad(cluster)) and "is not allowed to do this" in said, 90, 1.0
    )
    cluster.helm("uninstall", "bad", "-n", NAMESPACE, "--wait")


def log_of_bad(cluster: Cluster) -> str:
    label = f"app.kubernetes.io/instance=bad,{OPERATORS}"
    words = ("logs", "-n", NAMESPACE, "-l", label, "-c", "operator", "--tail=-1")
    return cluster.kubectl(*words, check=False)


def what_is_said(cluster: Cluster) -> str:
    """Where a person looks: events, the pod's state, the log of its container that waits or failed."""
    label = ("-n", NAMESPACE, "-l", "app.kubernetes.io/instance=bad")
    logs = cluster.kubectl("logs", *label, "-c", "migrate", check=False)
    states = cluster.kubectl("get", "pods", *label, "-o", "jsonpath={.items[*].status}")
    return logs + states + cluster.kubectl("get", "events", "-n", NAMESPACE)


def test_an_uninstall_leaves_the_crd_and_its_jobs(cluster: Cluster, capsys: Any) -> None:
    jobs = {name for name in left(cluster) if name.startswith(JOB)}
    assert JOB + "tick-2" in jobs
    cluster.helm("uninstall", RELEASE, "-n", NAMESPACE, "--wait")
    kept = {"lease.coordination.k8s.io/scheduledjobs", "pod/scheduledjobs-smoke", *jobs}
    until(lambda: left(cluster) == kept, 90, 1.0)
    wide = cluster.kubectl("get", "crd,clusterrole,clusterrolebinding", "-o", "name").split()
    ours = [name for name in wide if "scheduledjobs" in name]
    say(capsys, f"left in the namespace: {sorted(kept - jobs)} and {len(jobs)} ScheduledJobs")
    say(capsys, f"left in the cluster: {ours}")
    assert ours == ["customresourcedefinition.apiextensions.k8s.io/scheduledjobs.scheduledjobs.dev"]


def test_a_crd_that_is_missing_is_named(cluster: Cluster) -> None:
    cluster.kubectl("delete", "crd", "scheduledjobs.scheduledjobs.dev", "--ignore-not-found")
    cluster.helm("install", "bad", CHART, "-n", NAMESPACE, *values(NEW), "--set", "crds.install=false")
    until(lambda: "does not know scheduledjobs: crds.install=true" in log_of_bad(cluster), 120, 1.0)
    cluster.helm("uninstall", "bad", "-n", NAMESPACE, "--wait")


def test_the_image_runs_as_anybody_on_a_read_only_root(cluster: Cluster, capsys: Any) -> None:
    words = ("docker", "run", "--rm", "--read-only", "--network=none", "--user", "54321:54321", "--cap-drop=ALL")
    assert "http" in run(*words, NEW, "handlers").stdout
    assert "Settings (environment variables)" in run(*words, NEW, "run", "--help").stdout
    refused = run(*words, NEW, "run", check=False)
    assert (refused.returncode, "SCHEDULEDJOBS_DATABASE_URL: is not set" in refused.stderr) == (2, True)
    size = int(run("docker", "image", "inspect", "-f", "{{.Size}}", NEW).stdout)
    base = int(run("docker", "image", "inspect", "-f", "{{.Size}}", cluster.target.base_image).stdout)
    say(capsys, f"size of the image: {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} MB of it beside the base image")


LOOK = """
import importlib.util, os, shutil
print([n for n in ("gcc", "cc", "go", "ld") if shutil.which(n)])
print([n for n in ("pytest", "hypothesis", "mypy", "ruff") if importlib.util.find_spec(n)])
print([os.path.join(d, n) for d, _, names in os.walk("/opt") for n in names
       if n in (".env", ".netrc", "pip.conf", ".git-credentials") or n.endswith(".key") or "scheduledjobs/test" in d])
"""


def test_the_image_holds_no_secret_no_compiler_and_no_test(cluster: Cluster) -> None:
    words = ("docker", "run", "--rm", "--network=none", "--entrypoint", "python", NEW, "-c", LOOK)
    assert run(*words).stdout.split() == ["[]", "[]", "[]"]
    history = run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", NEW).stdout
    assert not re.search(r"password|token|secret|://[^ ]*@", history, re.IGNORECASE)
