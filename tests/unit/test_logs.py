"""The replica's own log: bounded, whatever jobs do."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from scheduledjobs.logs import QUIET, SILENT, Seldom, set_up_logs

FORGED = "no\n2026-11-27T00:00:00Z [error] forged\r\x1b[2J\x9b2J\u202e\u2028"


@pytest.fixture
def logs_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in ("", *QUIET, *SILENT)}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_others_wrote_begins_no_line_and_steers_no_terminal(
    form: str, capsys: pytest.CaptureFixture[str], logs_restored: None
) -> None:
    set_up_logs(form, "info", "pod-1")
    structlog.get_logger("test.ours").warning("failed", job=FORGED)
    logging.getLogger("test.library").warning("a library says %s", FORGED)
    structlog.get_logger("test.ours").error("raised", exc_info=ValueError(FORGED))
    said = capsys.readouterr().err
    assert said.count("forged") >= 3
    for line in said.splitlines():
        assert not line.startswith("2026-11-27T00:00:00Z")
        assert form == "console" or json.loads(line)
    for char in ("\r", "\x1b[2J", "\x9b", "\u202e", "\u2028"):
        assert char not in said


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("debug", ["warning", "error"]),
        ("info", ["warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
@pytest.mark.parametrize("name", ["kopf.objects", "aiohttp.server", "asyncio", "uvicorn.error", "another.library"])
def test_libraries_log_nothing_below_the_least_level(
    name: str, level: str, said: list[str], capsys: pytest.CaptureFixture[str], logs_restored: None
) -> None:
    set_up_logs("json", level, "pod-1")
    library = logging.getLogger(name)
    library.warning("of a library")
    library.error("of a library")
    assert [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()] == said


def test_a_job_that_fails_again_and_again_has_one_line_a_minute_which_counts_the_others() -> None:
    now = 0.0
    seldom = Seldom(lambda: now)
    assert [seldom.ask("job") for _ in range(5)] == [0, None, None, None, None]
    assert seldom.ask("other") == 4
    now = 60.0
    assert seldom.ask("job") == 0


def test_however_many_jobs_fail_the_lines_of_a_minute_are_bounded() -> None:
    now = 0.0
    seldom = Seldom(lambda: now)
    assert sum(seldom.ask(n) is not None for n in range(10_000)) == Seldom.MOST
    now = 60.0
    assert seldom.ask(0) == 10_000 - Seldom.MOST
