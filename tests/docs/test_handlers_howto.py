"""The page docs/howto/handlers.md is true: its files work, its commands print what stands there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from tests.docs.shell import File, open_shell, steps
from tests.unit.assigned import NOON
from tests.unit.test_runner import Bench

from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.handlers.assignment import Stop

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "handlers.md"
FILES = ["reports.py", "warehouse.py", "test_reports.py"]
DRAINED = Stop(State.LOST, Reason.DRAINED, "the replica stopped")
CANCELLED = Stop(State.CANCELLED, Reason.CANCEL_REQUESTED, "cancelled by somebody")
RUN = "00000000-0000-0000-0000-000000000001/2026-11-23T12:00:00.000Z//1"
NOTE = f'{{"run":"{RUN}"}}'.encode()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.runner.close()


@pytest.fixture
def warehouse(tmp_path: Path) -> ModuleType:
    """The page's module of work that survives."""
    (text,) = [step.text for step in steps(PAGE.read_text()) if isinstance(step, File) and step.name == FILES[1]]
    path = tmp_path / FILES[1]
    path.write_text(text)
    spec = spec_from_file_location("warehouse", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_prints_what_it_shows(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    followed = steps(PAGE.read_text())
    with open_shell(environment, tmp_path) as shell:
        for step in followed:
            if isinstance(step, File):
                (tmp_path / step.name).write_text(step.text)
            else:
                shell.follow(step)
    assert [step.name for step in followed if isinstance(step, File)] == FILES
    assert len(followed) == 6


async def begun(warehouse: ModuleType) -> None:
    async with asyncio.timeout(5):
        while RUN not in warehouse.RUNS:
            await asyncio.sleep(0.01)


async def test_the_work_of_its_example_is_handed_over_and_gone_on_with(bench: Bench, warehouse: ModuleType) -> None:
    bench.begin(warehouse.load, survives=True)
    await begun(warehouse)
    bench.runner.stop_attempts(DRAINED)
    handed_over = await asyncio.wait_for(bench.endings.get(), 5)
    assert (handed_over.state, handed_over.result) == (State.PENDING, NOTE)
    assert warehouse.RUNS == {RUN: "running"}
    warehouse.RUNS[RUN] = "done"
    ended = await bench.run(warehouse.load, survives=True, started_at=NOON, noted={"run": RUN})
    assert (ended.state, ended.result) == (State.SUCCEEDED, NOTE)


async def test_the_work_of_its_example_is_not_begun_again_once_it_is_gone(bench: Bench, warehouse: ModuleType) -> None:
    ended = await bench.run(warehouse.load, survives=True, started_at=NOON, noted={"run": RUN})
    assert (ended.state, warehouse.RUNS) == (State.FAILED, {})


@pytest.mark.parametrize("is_begun", [True, False])
async def test_the_work_of_its_example_is_ended_where_it_is_stopped(
    bench: Bench,
    warehouse: ModuleType,
    is_begun: bool,  # noqa: FBT001
) -> None:
    if is_begun:
        assignment = bench.begin(warehouse.load, survives=True)
        await begun(warehouse)
        bench.runner.stop_attempt(*assignment.key, CANCELLED)
    else:
        bench.begin(warehouse.load, survives=True, started_at=NOON, stop=CANCELLED)
    ended = await asyncio.wait_for(bench.endings.get(), 5)
    assert (ended.state, warehouse.RUNS) == (State.CANCELLED, {RUN: "stopped"})
