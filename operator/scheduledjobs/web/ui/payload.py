"""Fields for a payload, made from its handler's JSON Schema: simple values have an input, others are JSON. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from scheduledjobs.web.models import FieldError

SIMPLE = ("string", "integer", "number", "boolean")
BIGGEST = 2**63 - 1
INTEGER = re.compile("[+-]?[0-9]{1,19}")
LONG = 256
"""A text that may be longer than this has room for several lines."""

PREFIX = "payload."
STRANGE = (
    "the handler has no such field on this replica, which may be of another version: "
    "save again in a while, or empty the field to leave it out"
)
LEFT = (
    "belongs to the handler {!r}, which was chosen before: "
    'empty it to leave it out, or press "Show its fields" to leave out all that is of that handler alone'
)


class PayloadField(NamedTuple):
    """One field of a payload: how it is asked for, and how its text becomes a value."""

    name: str
    kind: str
    """text, lines, integer, number, boolean, choice or json."""

    is_required: bool
    description: str
    choices: tuple[str, ...] = ()
    default: str = ""


def payload_fields(schema: Mapping[str, Any] | None) -> list[PayloadField]:
    """Return the fields of a schema, the required ones first; none for a handler that takes anything."""
    if not schema:
        return []
    properties = schema.get("properties") or {}
    required = set(schema.get("required") or ())
    found = [_field(name, inner, schema, name in required) for name, inner in properties.items()]
    return sorted(found, key=lambda field: not field.is_required)


def strange_fields(form: Mapping[str, str], schema: Mapping[str, Any] | None) -> list[PayloadField]:
    """Return the filled `payload.*` fields of a form that the schema does not name: another replica made the form."""
    known = {f"{PREFIX}{field.name}" for field in payload_fields(schema)}
    names = [name for name, text in form.items() if text and name.startswith(PREFIX) and name not in known]
    return [PayloadField(name.removeprefix(PREFIX), "lines", False, "") for name in names]


def fields_of(form: Mapping[str, str]) -> str:
    """Return the handler that the fields of a form are of: where it does not say, the one that is chosen."""
    return form.get("fieldsOf") or form.get("handler", "")


def takes_others(schema: Mapping[str, Any] | None) -> bool:
    """Return whether a payload may hold fields that its schema does not name."""
    return not schema or schema.get("additionalProperties", True) is not False


def _field(name: str, inner: Mapping[str, Any], schema: Mapping[str, Any], is_required: bool) -> PayloadField:  # noqa: FBT001
    known = _resolved(inner, schema)
    description = str(inner.get("description") or known.get("description") or "")
    default = "" if inner.get("default") is None else text_of(inner["default"])
    if "enum" in known and all(isinstance(choice, str) for choice in known["enum"]):
        return PayloadField(name, "choice", is_required, description, tuple(known["enum"]), default)
    return PayloadField(name, _kind(known), is_required, description, (), default)


def _resolved(inner: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, and take the one that is not null of two."""
    for _ in range(8):
        if "$ref" in inner:
            inner = (schema.get("$defs") or {}).get(str(inner["$ref"]).rpartition("/")[2], {})
        elif len(inner.get("allOf") or ()) == 1:
            inner = inner["allOf"][0]
        else:
            options = [option for option in inner.get("anyOf") or () if option.get("type") != "null"]
            if len(options) != 1:
                break
            inner = options[0]
    return inner


def _kind(known: Mapping[str, Any]) -> str:
    kind = known.get("type")
    if kind not in SIMPLE:
        return "json"
    if kind != "string":
        return str(kind)
    is_short = "format" in known or known.get("maxLength", LONG + 1) <= LONG
    return "text" if is_short else "lines"


def text_of(value: object) -> str:
    """Return how a value stands in an input: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def value_of(field: PayloadField, text: str) -> Any:
    """Return what a text means in a field; `ValueError` with the rest of a sentence."""
    match field.kind:
        case "integer":
            return _integer(text)
        case "number":
            return _number(text)
        case "boolean":
            return text == "true" if text in ("true", "false") else _refuse("must be true or false")
        case "json":
            return json_of(text)
        case _:
            return text.replace("\r\n", "\n")  # browsers send every line end so


def _integer(text: str) -> int:
    if not INTEGER.fullmatch(text.strip()) or abs(int(text)) > BIGGEST:
        _refuse("must be a whole number")
    return int(text)


def _number(text: str) -> float | int:
    try:
        number = float(text)
    except ValueError:
        _refuse("must be a number")
    if number - number != 0:  # NaN and the infinities, which JSON does not have
        _refuse("must be a number")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def json_of(text: str) -> Any:
    """Return the JSON value of a text; `ValueError` that says where it breaks."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"must be JSON: {error.msg}, at line {error.lineno}, column {error.colno}") from None


def _refuse(message: str) -> Any:
    raise ValueError(message)


def read_payload(form: Mapping[str, str], schema: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the payload that a form's `payload.*` fields and its `payload` field (JSON, the others) make up.

    A filled field that the schema does not name is an error: left out without a word, its value would be lost.
    """
    payload, errors = read_object(form.get("payload", ""), "spec.payload")
    whose = fields_of(form)
    message = STRANGE if whose == form.get("handler", "") else LEFT.format(whose)
    errors += [
        FieldError(field=f"spec.payload.{field.name}", message=message) for field in strange_fields(form, schema)
    ]
    for field in payload_fields(schema):
        text = form.get(f"payload.{field.name}", "")
        if text == "" or (text.strip() == "" and field.kind not in ("text", "lines")):
            continue
        try:
            payload[field.name] = value_of(field, text)
        except ValueError as error:
            errors.append(FieldError(field=f"spec.payload.{field.name}", message=str(error)))
    return payload, errors


def read_object(text: str, name: str) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the JSON object of a text, an empty one of an empty text; with what is wrong with it."""
    if not text.strip():
        return {}, []
    try:
        found = json_of(text)
    except ValueError as error:
        return {}, [FieldError(field=name, message=str(error))]
    if not isinstance(found, dict):
        return {}, [FieldError(field=name, message='must be a JSON object, such as {"message": "hello"}')]
    return found, []


def fill_payload(payload: Mapping[str, Any], schema: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the form's fields for a payload: what the schema does not name goes to the field `payload`."""
    fields = {field.name: field for field in payload_fields(schema)}
    form, others = {}, {}
    for name, value in payload.items():
        if name in fields and _survives(fields[name], value):
            form[f"payload.{name}"] = text_of(value)
        else:
            others[name] = value
    if others:
        form["payload"] = json.dumps(others, indent=2, ensure_ascii=False)
    return form


def _survives(field: PayloadField, value: Any) -> bool:
    """Return whether a value comes back from its input as it was: browsers change line ends, and empty is left out."""
    text = text_of(value)
    if not text.strip() or "\r" in text or ("\n" in text and field.kind not in ("lines", "json")):
        return False
    try:
        back = value_of(field, text)
    except ValueError:
        return False
    if field.kind == "choice" and value not in field.choices:
        return False
    return bool(type(back) is type(value) and back == value)
