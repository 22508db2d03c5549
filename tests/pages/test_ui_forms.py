"""A form is a spec and a spec is a form: nothing that was typed or is in force is lost on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduledjobs.core.masking import MASK
from scheduledjobs.handlers import load_registry
from scheduledjobs.web.models import FieldError
from scheduledjobs.web.ui import forms
from scheduledjobs.web.ui.payload import fill_payload, payload_fields, read_payload, takes_others, value_of

REGISTRY = load_registry()
LOG, HTTP = ({"schema": REGISTRY.get(name).json_schema()} for name in ("log", "http"))  # type: ignore[union-attr]
FULL = {
    "schedule": "0 2 * * *",
    "timeZone": "Europe/Berlin",
    "startTime": "2026-12-01T00:00:00+01:00",
    "suspend": True,
    "handler": "log",
    "payload": {"message": "hello", "seconds": 1.5},
    "concurrencyPolicy": "Queue",
    "misfire": {"policy": "FireAll", "grace": "90s", "limit": 7},
    "retry": {"limit": 2, "backoff": "10s", "maxBackoff": "1h"},
    "timeout": "10m",
}
SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)
SCHEMA: dict[str, Any] = {
    "properties": {
        "text": {"type": "string", "maxLength": 20},
        "lines": {"type": "string"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "number": {"type": "number"},
        "flag": {"type": "boolean"},
        "colour": {"$ref": "#/$defs/Colour"},
        "things": {"type": "array"},
    },
    "required": ["flag"],
    "$defs": {"Colour": {"enum": ["red", "green"], "type": "string"}},
}


def test_a_full_spec_comes_back_from_its_form() -> None:
    assert forms.read_spec(forms.fill(FULL, **LOG), **LOG, base=FULL) == (FULL, [])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "other"]), VALUES))
def test_every_payload_comes_back_from_its_fields(payload: dict[str, Any]) -> None:
    form = fill_payload(payload, SCHEMA)
    as_browsers_send = {name: text.replace("\r\n", "\n").replace("\n", "\r\n") for name, text in form.items()}
    back, errors = read_payload(as_browsers_send, SCHEMA)
    assert errors == []
    assert json.dumps(back, sort_keys=True) == json.dumps(payload, sort_keys=True)


def test_an_empty_field_is_left_out_so_that_the_default_holds() -> None:
    form = {"kind": "fixedRate", "fixedRate": " 5m ", "schedule": "0 2 * * *", "handler": "log", "timeout": " "}
    assert forms.read_spec(form, **LOG) == ({"fixedRate": "5m", "handler": "log"}, [])


def test_a_field_that_the_form_does_not_know_is_kept() -> None:
    spec, _ = forms.read_spec({"schedule": "0 2 * * *", "handler": "log"}, **LOG, base={"newer": {"a": 1}})
    assert spec["newer"] == {"a": 1}


def test_a_tick_that_is_taken_away_is_written() -> None:
    spec, _ = forms.read_spec({"schedule": "0 2 * * *", "handler": "log"}, **LOG, base={"suspend": True})
    assert spec["suspend"] is False


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        ({"retry.limit": "two"}, "spec.retry.limit", "whole number"),
        ({"payload.seconds": "soon"}, "spec.payload.seconds", "must be a number"),
        ({"payload": '{"a": NaN}'}, "spec.payload", "must be JSON"),
        ({"payload.seconds": "NaN"}, "spec.payload.seconds", "must be a number"),
        ({"payload": "{"}, "spec.payload", "must be JSON"),
        ({"payload": "[1]"}, "spec.payload", "must be a JSON object"),
        ({"payload": "[" * 100_000}, "spec.payload", "must be JSON"),
        ({"startTime": "soon"}, "spec.startTime", "must be a date and a time"),
        ({"startTime": "2026-12-01", "timeZone": "Mars/Olympus"}, "spec.startTime", "not one that is known"),
        ({"payload.message": MASK}, "spec.payload.message", "stands for a secret"),
    ],
)
def test_what_cannot_be_read_is_said_at_its_field(form: dict[str, str], field: str, words: str) -> None:
    _, errors = forms.read_spec({"schedule": "0 2 * * *", "handler": "log", **form}, **LOG)
    assert [error.field for error in errors] == [field]
    assert words in errors[0].message


@pytest.mark.parametrize(
    ("text", "zone", "found"),
    [
        ("2026-12-24 18:00", "Europe/Berlin", "2026-12-24T18:00:00+01:00"),
        ("2026-07-01T18:00", "America/New_York", "2026-07-01T18:00:00-04:00"),
        ("2026-12-24T18:00:00Z", "Europe/Berlin", "2026-12-24T18:00:00Z"),
        ("2026-10-25 02:30", "Europe/Berlin", "2026-10-25T02:30:00+02:00"),
    ],
)
def test_a_moment_without_an_offset_is_in_the_zone_of_the_job(text: str, zone: str, found: str) -> None:
    assert forms.moment_text(text, zone) == found


def test_a_moment_that_the_clocks_leave_out_is_refused() -> None:
    with pytest.raises(ValueError, match="does not exist that day in Europe/Berlin"):
        forms.moment_text("2027-03-28 02:30", "Europe/Berlin")


def test_fields_are_made_from_the_schema_required_ones_first() -> None:
    found = [(field.name, field.kind, field.is_required) for field in payload_fields(HTTP["schema"])]
    assert found[0] == ("url", "text", True)
    assert ("method", "choice", False) in found
    assert ("headers", "json", False) in found
    assert not takes_others(HTTP["schema"])
    assert takes_others(None)


def test_a_reference_and_an_optional_value_are_followed() -> None:
    kinds = {field.name: field.kind for field in payload_fields(SCHEMA)}
    assert kinds == {
        "text": "text", "lines": "lines", "maybe": "integer", "number": "number", "flag": "boolean",
        "colour": "choice", "things": "json",
    }  # fmt: skip


def test_an_error_inside_a_value_is_shown_at_the_field_that_holds_it() -> None:
    errors = [
        FieldError(field="spec.payload.headers.Accept", message="must be text"),
        FieldError(field="spec.schedule", message="is not cron"),
        FieldError(field="spec", message="is odd"),
    ]
    own, others = forms.by_field(errors, ["schedule", "payload.headers", "payload"])
    assert own == {"payload.headers": "Accept: must be text", "schedule": "is not cron"}
    assert [error.message for error in others] == ["is odd"]


@pytest.mark.parametrize("text", ["1.5", "--1", "9" * 30, "9" * 5000, "1e3", ""])
def test_what_is_no_whole_number_of_64_bits_is_refused(text: str) -> None:
    field = next(field for field in payload_fields(SCHEMA) if field.kind == "integer")
    with pytest.raises(ValueError, match="must be a whole number"):
        value_of(field, text)


def test_the_manifest_is_yaml_that_reads_back() -> None:
    hostile = {"schedule": "*/5 * * * *", "handler": "log", "payload": {"message": "yes: no # \x1b[31m ü\n- a"}}
    text = forms.manifest("default", "on", hostile)
    found = yaml.safe_load(text)
    assert found["metadata"] == {"name": "on", "namespace": "default"}
    assert found["spec"] == hostile
    assert text.index("schedule") < text.index("handler") < text.index("payload")


def test_differences_name_the_path_and_both_values() -> None:
    theirs = {"schedule": "0 2 * * *", "retry": {"limit": 2, "backoff": "10s"}, "handler": "log"}
    mine = {"schedule": "0 3 * * *", "retry": {"limit": 2, "backoff": "20s"}, "handler": "log", "timeout": "1m"}
    assert forms.differences(theirs, mine) == [
        ("schedule", "0 2 * * *", "0 3 * * *"),
        ("retry.backoff", "10s", "20s"),
        ("timeout", "", "1m"),
    ]
