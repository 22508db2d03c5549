"""The page docs/howto/rest.md is true: its commands are typed into a shell, and print what stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dev.controlplane import ControlPlane, kubectl
from dev.postgres import Postgres
from tests.acceptance.conftest import until
from tests.acceptance.rest import Rest, open_site

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "rest.md"
MARK = "-- next --"


def steps(page: str) -> list[tuple[str, str]]:
    """Return each command of the page's console blocks, and what stands after it."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", page, re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            lines = part.splitlines()
            end = next(number for number, line in enumerate(lines) if not line.endswith("\\")) + 1
            found.append(("\n".join(lines[:end]), "\n".join(lines[end:])))
    return found


def pattern(shown: str) -> str:
    """Return the expression of what may be printed: ... is anything, a line may be broken, ids are others."""
    text = re.escape(re.sub(r"0f5c7a52-\.\.\.", "<uuid>", shown))
    text = text.replace("<uuid>", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    text = re.sub(r"(?:\\ )*\\\n(?:\\ )*", r"\\s*", text)
    return text.replace(r"\.\.\.", ".*?")


def test_the_expression_of_a_page_is_strict() -> None:
    assert re.fullmatch(pattern('{"a":1,...\n "b":"..."}'), '{"a":1,"x":[],"b":"y"}', re.S)
    assert not re.fullmatch(pattern('{"a":1,...\n "b":"..."}'), '{"a":2,"x":[],"b":"y"}', re.S)
    assert re.fullmatch(pattern("..."), "", re.S)
    assert steps("```console\n$ a \\\n  b\nc\n$ d\n```\n") == [("a \\\n  b", "c"), ("d", "")]


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
    typed = [
        (command.replace("http://localhost:8080", f"http://127.0.0.1:{rest.port}"), shown)
        for command, shown in steps(PAGE.read_text())
    ]
    process = subprocess.Popen(["bash"], stdin=-1, stdout=-1, stderr=subprocess.STDOUT, env=environment, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for command, shown in typed:
            if command.startswith("curl -s $SERVER/executions/1 "):
                until(lambda: rest.get("/executions/1", token=token(process)).json["finishedAt"])
            printed = run(process, command)
            assert re.fullmatch(pattern(shown), printed, re.S), (
                f"$ {command}\n{printed}\n-- but the page shows\n{shown}"
            )
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
    assert len(typed) > 30


def run(process: subprocess.Popen[str], command: str) -> str:
    """Type a command; return what it prints."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{command}\necho '{MARK}'\n")
    process.stdin.flush()
    lines = []
    while not (line := process.stdout.readline()).endswith(f"{MARK}\n"):
        assert line, f"the shell has ended at: {command}"
        lines.append(line)
    lines.append(line.removesuffix(f"{MARK}\n"))
    return "".join(lines).replace("\r", "").strip()


def token(process: subprocess.Popen[str]) -> str:
    return run(process, 'echo "$TOKEN"')
