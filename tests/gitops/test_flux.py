"""Flux's healthCheckExprs, evaluated by the CEL of a real API server, for the cases that Argo CD is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dev.controlplane import ControlPlane
from tests.acceptance.conftest import until
from tests.gitops.test_argocd import CASES, SPEC

FILE = Path(__file__).parents[2] / "gitops" / "flux" / "health-check-exprs.yaml"
ORDER = ("inProgress", "failed", "current")
"""In which order Flux asks; the first that is true decides."""


def expressions() -> dict[str, str]:
    (found,) = yaml.safe_load(FILE.read_text())["healthCheckExprs"]
    assert (found["apiVersion"], found["kind"]) == ("scheduledjobs.dev/v1", "ScheduledJob")
    return {name: found[name] for name in ORDER}


def policy(name: str, expression: str, namespace: str) -> list[dict[str, Any]]:
    """A policy that warns where an expression is not true. Flux names an object's fields bare, a policy by `object`."""
    bare = re.sub(r"(?<![\w.'])(status|metadata|spec)\b", r"object.\1", expression)
    rule = {"apiGroups": ["scheduledjobs.dev"], "apiVersions": ["v1"], "resources": ["scheduledjobs/status"]}
    admission = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": f"{namespace}-{name.lower()}"}}
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    return [
        {
            **admission,
            "kind": "ValidatingAdmissionPolicy",
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{**rule, "operations": ["UPDATE"]}]},
                "validations": [{"expression": bare, "message": f"{name} is not true"}],
            },
        },
        {
            **admission,
            "kind": "ValidatingAdmissionPolicyBinding",
            "spec": {
                "policyName": f"{namespace}-{name.lower()}",
                "validationActions": ["Warn"],
                "matchResources": selector,
            },
        },
    ]


def warnings(cluster: ControlPlane, namespace: str, status: dict[str, Any]) -> str:
    patch = json.dumps({"status": status})
    words = ("patch", "sjob", "job", "-n", namespace, "--subresource=status", "--type=merge", "--dry-run=server")
    return cluster.kubectl(*words, "-p", patch).stderr


def answer(said: str, name: str) -> bool | None:
    """What an expression has said: None where it could not be evaluated."""
    (warning, *_) = [line for line in said.splitlines() if f"-{name.lower()}'" in line] or [""]
    if "is not true" in warning:
        return False
    return None if warning else True


@pytest.fixture(scope="module")
def place(cluster: ControlPlane) -> Iterator[str]:
    """A namespace with a job of generation 2, and the policies in force there."""
    name = "flux"
    cluster.kubectl("create", "namespace", name)
    body = {"apiVersion": "scheduledjobs.dev/v1", "kind": "ScheduledJob", "metadata": {"name": "job"}, "spec": SPEC}
    cluster.kubectl("create", "-n", name, "-f", "-", stdin=json.dumps(body))
    cluster.kubectl("patch", "sjob", "job", "-n", name, "--type=merge", "-p", '{"spec": {"schedule": "0 3 * * *"}}')
    items = [item for key, text in {**expressions(), "never": "false"}.items() for item in policy(key, text, name)]
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    broken = {"observedGeneration": 2, "conditions": []}
    until(lambda: len(warnings(cluster, name, broken).splitlines()) == 3, 60)  # all but inProgress, which is true
    yield name
    cluster.kubectl("delete", "validatingadmissionpolicybindings,validatingadmissionpolicies", "--all")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_health(case: dict[str, Any], cluster: ControlPlane, place: str) -> None:
    status = case["status"] or {}
    said = warnings(cluster, place, status)
    assert "-never'" in said, said
    assert flux(status, said) == case["flux"], said


def flux(status: dict[str, Any], said: str) -> str:
    """What Flux makes of it: first the generation, then the expressions; one that fails, or none true: it waits."""
    if status.get("observedGeneration", 2) != 2:
        return "inProgress"
    for name in ORDER:
        found = answer(said, name)
        if found is None:
            return "inProgress"
        if found:
            return name
    return "inProgress"
