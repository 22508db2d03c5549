"""Fixtures of the fault scenarios: a stage each, its seed printed, and one table of all at the end.

SCHEDULEDJOBS_TEST_SEED sets the seed of every scenario; SCHEDULEDJOBS_TEST_TABLE names a file for the table.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dev.controlplane import ControlPlane
from dev.postgres import Postgres
from tests.faults.proxy import Network
from tests.faults.stage import HERE, Stage

HEAD = ("scenario", "seed", "due", "rows", "doubled", "lost", "longest gap", "figures", "seconds", "verdict")
RESULTS: list[tuple[str, ...]] = []
STAGES: dict[str, tuple[Stage, float]] = {}


@dataclass(frozen=True)
class Servers:
    """What all scenarios share."""

    cluster: ControlPlane
    postgres: Postgres
    network: Network


@pytest.fixture(scope="session")
def servers(cluster: ControlPlane, postgres_server: Postgres) -> Iterator[Servers]:
    """The session's API server and PostgreSQL, and the loop of the proxies."""
    with Network() as network:
        yield Servers(cluster, postgres_server, network)


@pytest.fixture
def stage(
    servers: Servers,
    namespace: str,
    database: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    """The stage of one scenario."""
    seed = int(os.environ.get("SCHEDULEDJOBS_TEST_SEED", random.SystemRandom().randrange(2**31)))
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"  {line}", flush=True)

    made = Stage(
        servers.cluster,
        namespace,
        database,
        tmp_path,
        postgres=servers.postgres,
        network=servers.network,
        seed=seed,
        tell=tell,
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("WITNESS", str(made.witness))
    STAGES[request.node.nodeid] = made, time.monotonic()
    tell(f"\n{request.node.name}: seed {seed}")
    try:
        yield made
    finally:
        made.close()
        print(made.logs())


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep a line for the table once a scenario has run."""
    if report.when != "call" or report.nodeid not in STAGES:
        return
    stage, began = STAGES.pop(report.nodeid)
    found = stage.verdict
    numbers = ("-",) * 5
    if found is not None:
        counts = (found.due, found.rows, found.count("doubled"), found.count("lost"))
        numbers = (*map(str, counts), f"{found.gap.total_seconds():.2f} s")
    name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    verdict = {"passed": "holds", "skipped": "not run"}.get(report.outcome, "BROKEN")
    line = (name, str(stage.seed), *numbers, stage.figure, f"{time.monotonic() - began:.0f}", verdict)
    RESULTS.append(line)
    stage.tell(f"{name}: " + ", ".join(f"{h} {v}" for h, v in zip(HEAD[2:], line[2:], strict=True)))


def table() -> list[str]:
    """Return the results as lines of Markdown."""
    rows = [HEAD, tuple("---" for _ in HEAD), *RESULTS]
    return [f"| {' | '.join(row)} |" for row in rows]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of all scenarios; keep it in a file if asked to."""
    if not RESULTS:
        return
    terminalreporter.section("scenarios")
    for line in table():
        terminalreporter.line(line)
    if file := os.environ.get("SCHEDULEDJOBS_TEST_TABLE"):
        Path(file).write_text("\n".join(table()) + "\n")
