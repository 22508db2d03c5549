"""The operator's rights: it works with exactly these, and has no use for more."""

from __future__ import annotations

import json
import time
from typing import Any

import yaml
from tests.acceptance.conftest import until

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


def test_works_with_exactly_the_rights_that_it_needs(replicas: Any) -> None:
    names = {"lease": replicas.lease, "namespace": replicas.namespace}
    items = yaml.safe_load(ROLES % names)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    replicas.cluster.kubectl("apply", "-f", "-", stdin=text)
    token = replicas.cluster.kubectl("create", "token", "operator", "-n", replicas.namespace).stdout.strip()
    config = yaml.safe_load(replicas.cluster.kubeconfig.read_text())
    config["users"] = [{"name": "admin", "user": {"token": token}}]
    restricted = replicas.folder / "kubeconfig"
    restricted.write_text(yaml.safe_dump(config))
    replicas.kubeconfig = str(restricted)
    replicas.start("one")
    replicas.apply("failing", fixedRate="1s", handler="log", payload={"fail": "on purpose"})
    until(lambda: replicas.get("failing").get("status", {}).get("lastExecution", {}).get("outcome") == "Failed")
    events = ("get", "events.events.k8s.io", "-n", replicas.namespace, "-o", "name")
    until(lambda: replicas.cluster.kubectl(*events).stdout)
    time.sleep(1)  # a refusal in a later pass would be logged by now
    log = (replicas.folder / "one.log").read_text()
    assert ": 403 " not in log  # a time may hold these digits, too
    assert "Traceback" not in log
