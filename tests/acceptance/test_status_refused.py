"""Why a status is refused: no right in the namespace, which holds for all of its statuses, or a policy for this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dev.controlplane import ControlPlane
from tests.acceptance.conftest import job

from scheduledjobs.errors import Conflict, Forbidden, KubeError
from scheduledjobs.kube.client import open_client
from scheduledjobs.kube.listing import get_resource
from scheduledjobs.kube.status import patch_status

ADMISSION = "admissionregistration.k8s.io/v1"


async def refusal(namespace: str, reader: Path, writer: Path, monkeypatch: pytest.MonkeyPatch) -> KubeError | None:
    """Patch the status of the job; return why it was refused."""
    monkeypatch.setenv("KUBECONFIG", str(reader))
    async with open_client() as kube:
        found = await get_resource(kube, namespace, "job")
    assert found is not None
    monkeypatch.setenv("KUBECONFIG", str(writer))
    async with open_client() as kube:
        try:
            await patch_status(kube, found.meta, {"schedule": "every 1h"})
        except KubeError as error:
            return error
    return None


@pytest.fixture
def made(cluster: ControlPlane, namespace: str) -> str:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(job("job", fixedRate="1h")))
    return namespace


async def test_a_right_that_is_missing_is_missing_in_the_namespace(
    cluster: ControlPlane, made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.kubectl("create", "serviceaccount", "nobody", "-n", made)
    token = cluster.kubectl("create", "token", "nobody", "-n", made).stdout.strip()
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [{"name": "admin", "user": {"token": token}}]
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    error = await refusal(made, cluster.kubeconfig, tmp_path / "kubeconfig", monkeypatch)
    assert isinstance(error, Forbidden)
    assert error.status == 403


@pytest.fixture(params=["Forbidden", "Invalid"])
def policy(cluster: ControlPlane, made: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuse each status of the namespace, for this reason."""
    name = f"no-status-{made}-{request.param.lower()}"
    rules: list[dict[str, Any]] = [
        {
            "apiGroups": ["scheduledjobs.dev"],
            "apiVersions": ["*"],
            "operations": ["UPDATE"],
            "resources": ["scheduledjobs/status"],
        }
    ]
    where = {"matchLabels": {"kubernetes.io/metadata.name": made}}
    items = [
        {
            "apiVersion": ADMISSION,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": rules, "namespaceSelector": where},
                "validations": [{"expression": "false", "message": "not today", "reason": request.param}],
            },
        },
        {
            "apiVersion": ADMISSION,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    yield
    cluster.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


@pytest.mark.usefixtures("policy")
async def test_a_policy_refuses_this_status_alone_and_it_is_no_race(
    cluster: ControlPlane, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, tries = None, 0
    while error is None and tries < 600:  # the policy is in force a little later
        error = await refusal(made, cluster.kubeconfig, cluster.kubeconfig, monkeypatch)
        tries += 1
    assert "not today" in str(error)
    assert not isinstance(error, Forbidden | Conflict)
