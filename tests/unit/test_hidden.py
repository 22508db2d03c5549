"""What an attempt has read of credentials is not in what it leaves."""

from __future__ import annotations

import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest

from scheduledjobs.core.hidden import MASK, Hidden
from scheduledjobs.handlers.execution import LONGEST_LINE, Output, captured, hide, without_hidden

AWKWARD = "a\"b\\c d<é&'/+%"


def hidden(*values: str) -> Hidden:
    found = Hidden()
    for value in values:
        found.add(value)
    return found


@pytest.mark.parametrize(
    "form",
    [
        AWKWARD,
        json.dumps(AWKWARD)[1:-1],
        json.dumps(AWKWARD, ensure_ascii=False)[1:-1],
        quote(AWKWARD, safe=""),
        quote_plus(AWKWARD),
        html.escape(AWKWARD),
        repr(AWKWARD)[1:-1],
    ],
)
def test_a_value_is_hidden_in_every_form_in_which_servers_give_it_back(form: str) -> None:
    assert hidden(AWKWARD).mask(f"x {form} y") == f"x {MASK} y"


def test_short_values_stay() -> None:
    assert hidden("1234567").mask("1234567") == "1234567"
    assert hidden("12345678").mask("12345678") == MASK


def test_a_value_that_begins_another_leaves_nothing_of_it() -> None:
    assert hidden("hunter22", "hunter22-and-more").mask("hunter22-and-more hunter22") == f"{MASK} {MASK}"


def test_a_result_stays_json_whatever_the_value_looks_like() -> None:
    value = '","xy":"'
    found = hidden(value, "null,null", "12345678").mask_result(
        {"a": [None, None, True, 1.5, 12345678], "b": f"<{value}>", f"k{value}": 1, "c": "null,null"}
    )
    assert found == {"a": [None, None, True, 1.5, MASK], "b": f"<{MASK}>", f"k{MASK}": 1, "c": MASK}


def test_nothing_is_touched_where_nothing_is_hidden() -> None:
    result = {"a": object()}
    assert Hidden().mask_result(result) is result
    assert hidden("12345678").mask_result(result) is result


def test_a_line_is_masked_before_it_is_cut() -> None:
    output = Output()
    output.hidden.add("hunter22-canary")
    output.add("x" * (LONGEST_LINE - 5) + "hunter22-canary")
    assert output.text() == "x" * (LONGEST_LINE - 5) + MASK


def test_what_is_hidden_belongs_to_the_attempt_alone() -> None:
    hide("hunter22-canary")
    assert without_hidden("hunter22-canary") == "hunter22-canary"
    token = captured.set(Output())
    hide("hunter22-canary")
    assert without_hidden("hunter22-canary") == MASK
    captured.reset(token)
    assert without_hidden("hunter22-canary") == "hunter22-canary"


def test_hiding_costs_little() -> None:
    many = hidden(*(f"{n:08d}-canary" for n in range(64)))
    started = time.process_time()
    many.mask("x" * 64 * 1024)
    assert time.process_time() - started < 0.5
