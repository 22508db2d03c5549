"""The page docs/howto/rest.md is true: its commands are typed into a shell, and print what stands there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dev.controlplane import ControlPlane, kubectl
from dev.postgres import Postgres
from tests.acceptance.conftest import until
from tests.acceptance.rest import Rest, open_site
from tests.docs.shell import Command, open_shell, steps

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "rest.md"


@pytest.fixture
def shell(cluster: ControlPlane, postgres_server: Postgres, tmp_path: Path) -> Iterator[tuple[dict[str, str], Rest]]:
    if shutil.which("curl") is None:
        pytest.fail("the page uses curl, which is not installed")
    # The chart adds rights on jobs to the cluster role `edit`, by a controller that this control plane does not run.
    rule = '{"apiGroups": ["scheduledjobs.dev"], "resources": ["scheduledjobs"], "verbs": ["*"]}'
    patch = f'[{{"op": "add", "path": "/rules", "value": [{rule}]}}]'
    cluster.kubectl("patch", "clusterrole", "edit", "--type=json", "-p", patch)
    (tmp_path / "kubectl").symlink_to(kubectl())
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with open_site(cluster, postgres_server, tmp_path, watch_namespaces="team-a") as site:
        yield environment, site.rest
    cluster.kubectl("delete", "scheduledjobs", "--all", "-n", "team-a", "--wait=false")


def test_the_page_prints_what_it_shows(shell: tuple[dict[str, str], Rest]) -> None:
    environment, rest = shell
    commands = [step for step in steps(PAGE.read_text()) if isinstance(step, Command)]
    with open_shell(environment) as bash:
        for command in commands:
            if command.typed.startswith("curl -s $SERVER/executions/1 "):
                token = bash.type('echo "$TOKEN"')
                until(lambda token=token: rest.get("/executions/1", token=token).json["finishedAt"])
            typed = command.typed.replace("http://localhost:8080", f"http://127.0.0.1:{rest.port}")
            bash.follow(Command(typed, command.shown))
    assert len(commands) > 30
