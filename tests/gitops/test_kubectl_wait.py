"""The `kubectl wait` idioms of docs/howto/gitops.md, each run as it stands there, with an operator at work."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dev.controlplane import ControlPlane
from tests.acceptance.conftest import Replicas
from tests.gitops.lua import run
from tests.gitops.test_argocd import key

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "gitops.md"
NAME = "nightly-report"


@pytest.fixture
def replicas(cluster: ControlPlane, namespace: str, database: str, tmp_path: Path) -> Iterator[Replicas]:
    """A replica at work."""
    found = Replicas(cluster, namespace, database, tmp_path)
    try:
        found.start("one")
        yield found
    finally:
        print(found.rows("SELECT name, state, reason, annotations, resource_version, updated_at FROM job_definition"))
        print(cluster.kubectl("get", "sjobs", "-n", namespace, "-o", "yaml").stdout)
        found.stop()
        print(found.logs())


def blocks() -> list[list[list[str]]]:
    """The commands of each block of the section, as words."""
    section = PAGE.read_text().partition("## kubectl wait")[2]
    found = re.findall(r"```console\n(.*?)```", section, re.S)
    return [[shlex.split(line) for line in block.splitlines()] for block in found]


def test_every_idiom_ends_as_the_page_says(replicas: Any) -> None:
    replicas.apply(NAME, schedule="0 2 29 2 *", handler="log", payload={"message": "hello"})
    said = []
    found = blocks()
    assert len(found) == 5
    for words in (words for block in found for words in block):
        assert words[0] == "kubectl"
        said.append(replicas.cluster.kubectl(*words[1:], "-n", replicas.namespace).stdout)
        if words[1] == "wait":
            assert said[-1] == f"scheduledjob.scheduledjobs.dev/{NAME} condition met\n"
    assert "Manual Succeeded" in said
    assert "no-such-handler" in said[-1]


def health(replicas: Any, name: str) -> str:
    found = replicas.cluster.kubectl("get", "sjob", name, "-n", replicas.namespace, "-o", "json").stdout
    return str(run(key("health"), json.loads(found))["status"])


def test_argo_cds_health_of_what_the_operator_writes(replicas: Any) -> None:
    replicas.apply("good", schedule="0 2 29 2 *", handler="log")
    replicas.apply("off", schedule="0 2 29 2 *", handler="log", suspend=True)
    replicas.apply("bad", schedule="0 2 29 2 *", handler="nobody")
    replicas.apply("failing", schedule="0 2 29 2 *", handler="log", payload={"fail": "on purpose"})
    replicas.cluster.kubectl(
        *("annotate", "sjob", "failing", "-n", replicas.namespace, "scheduledjobs.dev/run-now=t", "--overwrite")
    )
    wait = ("wait", "-n", replicas.namespace, "--timeout=60s")
    replicas.cluster.kubectl(*wait, "sjob/good", "sjob/off", "sjob/failing", "--for=condition=Ready")
    replicas.cluster.kubectl(*wait, "sjob/bad", "--for=condition=Stalled")
    assert {name: health(replicas, name) for name in ("good", "off", "bad", "failing")} == {
        "good": "Healthy",
        "off": "Healthy",
        "bad": "Degraded",
        "failing": "Healthy",
    }
