"""What an attempt leaves of its output where a traceback is long: its end, which says what matters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.test_runner import Bench

from scheduledjobs.handlers import Execution


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.runner.close()


def _fail(text: str, cause: Exception | None = None) -> None:
    raise ValueError(text) from cause


@pytest.mark.parametrize(("causes", "is_cut"), [(1, False), (10, False), (20, True)])
async def test_the_output_has_the_end_of_a_traceback_however_long_its_chain_is(
    bench: Bench,
    causes: int,
    is_cut: bool,  # noqa: FBT001
) -> None:
    async def handle(_execution: Execution, _payload: Any) -> None:
        cause: Exception | None = None
        for number in range(causes):
            try:
                _fail(f"cause {number}: {'x' * 700}", cause)
            except ValueError as error:
                cause = error
        raise RuntimeError("what matters") from cause

    ending = await bench.run(handle)
    assert (ending.traceback or "").strip() in ending.output
    assert ending.output.endswith("RuntimeError: what matters")
    assert ("cause 0: " not in ending.output, ending.output_truncated) == (is_cut, is_cut)


async def test_the_output_has_the_end_of_a_traceback_that_a_handler_logs(bench: Bench) -> None:
    def handle(execution: Execution, _payload: Any) -> None:
        try:
            _fail("\n".join("x" * 100 for _ in range(100)) + "\nwhat matters")
        except ValueError:
            execution.logger.exception("it goes on without")

    ending = await bench.run(handle)
    assert ending.output.endswith("what matters")
    assert "ERROR it goes on without" in ending.output
    assert not ending.output_truncated
