"""Log lines: one line of valid JSON each, whatever is in it; one name for one thing; and all of it in the reference."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import defaultdict
from typing import Any

import orjson
import pytest
from dev.logs_docs import EVERY, FIELDS, MEANING, PAGE, calls, page
from hypothesis import given
from hypothesis import strategies as st

from scheduledjobs import logs

EXECUTING = (
    "handlers.",
    "steps.claim",
    "steps.complete",
    "steps.outcome",
    "steps.fire",
    "steps.record",
    "steps.inserting",
)

HOSTILE = [
    'two\nlines {"event": "forged"}',
    "carriage\rreturn",
    "\x1b[2J\x1b]0;title\x07 red \x1b[31m",
    "nul \x00 inside",
    "\u202eright to left\u202c \u2066isolated\u2069",
    "line\u2028and paragraph\u2029 separators",
    "lone surrogate \ud800",
    'quote " and backslash \\',
    "\x9b31m eight-bit CSI",
    "x" * 100_000,
]


class Unprintable:
    """A value whose class was written by somebody who did not think of logs."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def rendered(form: str = "json", **fields: Any) -> str:
    """Return what one line looks like on stderr, rendered by the real set-up in a process of its own."""
    code = (
        "import pickle, sys, structlog\n"
        "from scheduledjobs.logs import set_up_logs\n"
        "form, fields = pickle.load(sys.stdin.buffer)\n"
        "set_up_logs(form, 'info', 'r')\n"
        "structlog.get_logger('test').warning('it happened', **fields)\n"
    )
    import pickle

    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((form, fields)), capture_output=True, check=True
    )
    return done.stderr.decode()


def test_hostile_values_make_one_line_of_valid_json_each() -> None:
    output = rendered(values=HOSTILE, **{f"value_{n}": text for n, text in enumerate(HOSTILE)})
    assert output.isascii()
    (line,) = output.splitlines()
    found = orjson.loads(line)  # strict: refuses lone surrogates and NaN, which the standard library lets pass
    assert found["value_0"] == HOSTILE[0]
    assert found["value_4"] == HOSTILE[4]
    assert found["value_6"] == "lone surrogate ?"
    assert len(found["value_9"]) == logs.MOST_TEXT + 1
    assert (found["event"], found["level"], found["logger"], found["replica"]) == (
        "it happened",
        "warning",
        "test",
        "r",
    )
    assert found["timestamp"].endswith("Z")


def test_on_a_console_hostile_values_neither_break_the_line_nor_reach_the_terminal() -> None:
    output = rendered("console", **{f"value_{n}": text for n, text in enumerate(HOSTILE)})
    assert len(output.splitlines()) == 1
    ours = output.replace("\x1b[0m", "")
    assert "\x1b[2J" not in ours
    assert not set(ours) & set("\r\x00\x07\x9b\u202e\u2066\u2028\u2029")


TEXT = st.text() | st.text(st.characters(categories=["Cs", "Cc", "Cf"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary() | st.just(Unprintable()),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner) | st.tuples(inner) | st.just({1: {2: {3: {4: 5}}}}),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1), VALUES))
def test_whatever_is_logged_can_be_read_by_every_reader_of_json(fields: dict[str, Any]) -> None:
    event = {name.replace("_", "x"): value for name, value in fields.items()}
    line = json.dumps(logs.bounded(None, "info", {"event": "e", **event}))
    assert "\n" not in line
    orjson.loads(line)


def test_a_traceback_keeps_its_end_and_its_line_is_one() -> None:
    cause = "x" * 20_000 + "\nValueError: why"
    found = logs.bounded(None, "error", {"event": "e", "exception": cause})
    assert found["exception"].endswith("\nValueError: why")
    assert len(found["exception"]) == logs.MOST_TRACE


def test_every_line_names_its_replica_and_a_leaders_its_term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_always", {})
    logs.say_always(replica="a")
    logs.say_always(term=7)
    assert logs.bounded(None, "info", {"event": "e"}) == {"replica": "a", "term": 7, "event": "e"}
    logs.say_always(term=None)
    assert logs.bounded(None, "info", {"event": "e", "job": None}) == {"replica": "a", "event": "e"}


def test_a_collector_that_does_not_answer_has_a_line_a_minute() -> None:
    unrepeated = logs.Unrepeated()
    again = logging.LogRecord("opentelemetry.exporter", logging.ERROR, "", 0, "failed: %s", ("a",), None)
    other = logging.LogRecord("scheduledjobs.steps", logging.ERROR, "", 0, "failed: %s", ("a",), None)
    assert [unrepeated.filter(again) for _ in range(3)] == [True, False, False]
    assert [unrepeated.filter(other) for _ in range(3)] == [True, True, True]


def test_warnings_of_python_are_lines_of_the_same_form() -> None:
    code = (
        "import warnings\n"
        "from scheduledjobs.logs import set_up_logs\n"
        "set_up_logs('json', 'info', 'r')\n"
        "warnings.warn('old')\n"
    )
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, check=True, text=True)
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["logger"] == "py.warnings"


def test_every_event_is_a_fixed_text_with_named_fields_and_names_one_thing() -> None:
    by_event = defaultdict(set)
    for call in calls():
        assert call.event, f"{call.where}: the event must be a fixed text"
        assert "**" not in call.fields, f"{call.where}: fields must be named"
        by_event[call.event].add((call.level, call.fields))
    assert {event for event, shapes in by_event.items() if len(shapes) > 1} == set()


def test_every_field_is_in_the_reference_and_every_one_there_is_logged() -> None:
    used = {field for call in calls() for field in call.fields}
    assert used - FIELDS.keys() - EVERY.keys() == set(), "say in dev/logs_docs.py what it is, or use the name there is"
    assert FIELDS.keys() - used == set()


def test_every_warning_and_error_says_in_the_reference_what_to_do() -> None:
    told = {call.event for call in calls() if call.level in ("warning", "error")}
    assert told == MEANING.keys(), "say in dev/logs_docs.py what an operator does about it"


def test_the_reference_of_logs_is_current() -> None:
    assert PAGE.read_text() == page(), "make docs"


def test_nothing_that_is_done_for_each_execution_is_logged_at_info() -> None:
    modules = [call for call in calls() if call.logger.removeprefix("scheduledjobs.").startswith(EXECUTING)]
    assert {call.event for call in modules if call.level in ("info", "debug")} == {"traces are exported"}
