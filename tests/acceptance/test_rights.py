"""The operator's rights: it works with exactly these, and has no use for more."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import yaml
from tests.acceptance.conftest import job, until

REFUSED = "a namespace is refused: its jobs fire on as they were last seen"
ROLES = """
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRole
  metadata: {name: scheduledjobs-test}
  rules:
  - {apiGroups: [scheduledjobs.dev], resources: [scheduledjobs], verbs: [get, list, watch]}
  - {apiGroups: [scheduledjobs.dev], resources: [scheduledjobs/status], verbs: [patch]}
  - {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
  - {apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}
  - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
  - {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [%(lease)s], verbs: [get, patch]}
- apiVersion: v1
  kind: ServiceAccount
  metadata: {name: operator, namespace: %(namespace)s}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRoleBinding
  metadata: {name: scheduledjobs-test}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: scheduledjobs-test}
  subjects: [{kind: ServiceAccount, name: operator, namespace: %(namespace)s}]
"""


def grant(replicas: Any, items: list[Any]) -> None:
    """Let the replicas that are started from now on have these rights alone."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    replicas.cluster.kubectl("apply", "-f", "-", stdin=text)
    token = replicas.cluster.kubectl("create", "token", "operator", "-n", replicas.namespace).stdout.strip()
    config = yaml.safe_load(replicas.cluster.kubeconfig.read_text())
    config["users"] = [{"name": "admin", "user": {"token": token}}]
    restricted = replicas.folder / "kubeconfig"
    restricted.write_text(yaml.safe_dump(config))
    replicas.kubeconfig = str(restricted)


def test_works_with_exactly_the_rights_that_it_needs(replicas: Any) -> None:
    grant(replicas, yaml.safe_load(ROLES % {"lease": replicas.lease, "namespace": replicas.namespace}))
    replicas.start("one")
    replicas.apply("failing", fixedRate="1s", handler="log", payload={"fail": "on purpose"})
    until(lambda: replicas.get("failing").get("status", {}).get("lastExecution", {}).get("outcome") == "Failed")
    events = ("get", "events.events.k8s.io", "-n", replicas.namespace, "-o", "name")
    until(lambda: replicas.cluster.kubectl(*events).stdout)
    time.sleep(1)  # a refusal in a later pass would be logged by now
    log = (replicas.folder / "one.log").read_text()
    assert ": 403 " not in log  # a time may hold these digits, too
    assert "Traceback" not in log


def binding(role: Any, namespace: str, account: Any) -> dict[str, Any]:
    """Let a service account have a ClusterRole in one namespace."""
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role["metadata"]["name"], "namespace": namespace},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", **account["metadata"]}],
    }


def test_a_namespace_that_is_deleted_with_the_role_in_it_stops_no_other(replicas: Any) -> None:
    """What is missed there is found once it is back, and a replica that comes to lead meanwhile mirrors the others."""
    kubectl, here = replicas.cluster.kubectl, replicas.namespace
    doomed, other = f"{here}-doomed", f"{here}-other"
    role, account, _ = yaml.safe_load(ROLES % {"lease": replicas.lease, "namespace": here})
    role["metadata"]["name"] = f"scheduledjobs-{here}"
    for name in (doomed, other):
        kubectl("create", "namespace", name)
    grant(replicas, [role, account, *(binding(role, at, account) for at in (doomed, here, other, "kube-system"))])

    def apply(name: str, namespace: str) -> None:
        kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(job(name, fixedRate="1h")))

    def living() -> set[tuple[str, str]]:
        rows = replicas.rows("SELECT namespace, name FROM job_definition WHERE state <> 'DELETED'")
        return {(row["namespace"], row["name"]) for row in rows}

    every = [(doomed, "left"), (here, "a"), (other, "b")]
    for namespace, name in every:
        apply(name, namespace)
    replicas.start("one", watch_namespaces=f"{doomed},{here},{other}")
    until(lambda: living() == set(every))
    kubectl("delete", "rolebinding", role["metadata"]["name"], "-n", doomed)
    until(lambda: REFUSED in (replicas.folder / "one.log").read_text())
    kubectl("delete", "sjob", "left", "-n", doomed)
    apply("new", other)
    until(lambda: (other, "new") in living())
    replicas.signal("one", signal.SIGKILL)
    kubectl("delete", "sjob", "a", "-n", here)
    replicas.start("two", watch_namespaces=f"{doomed},{here},{other}")
    until(lambda: living() == {(doomed, "left"), (other, "b"), (other, "new")}, 40)
    until(lambda: '"refused": ["' in (log := (replicas.folder / "two.log").read_text()) and REFUSED in log)
    replicas.apply("later", fixedRate="1h", handler="log")
    until(lambda: (here, "later") in living())
    grant(replicas, [binding(role, doomed, account)])
    until(lambda: living() == {(here, "later"), (other, "b"), (other, "new")})
    for name in ("one", "two"):
        log = (replicas.folder / f"{name}.log").read_text()
        assert log.count(REFUSED) == 1
        assert "the watch gave up" not in log
        assert "step failed" not in log
