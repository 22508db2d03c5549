"""The reference of REST, made from its OpenAPI document: `python -m dev.rest_docs` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scheduledjobs.web.openapi import document
from scheduledjobs.web.site import build

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "rest.md"
HEAD = """# REST

Made from the OpenAPI document by `make docs`; every server has it at `/openapi.json`, and to read at `/api/docs`. With
curl, step by step: [howto](../howto/rest.md).

Every call carries `Authorization: Bearer TOKEN`, a Kubernetes token of the caller. Bodies are JSON of at most 256 KiB.
Instants are RFC 3339 in UTC. Every refusal is a [Problem](#problem) of RFC 9457, `application/problem+json`.
"""
QUOTE = '"'
Schema = dict[str, Any]


def page() -> str:
    """Return the page."""
    app = build(reads=None, writes=None, auth=None, hub=None, mount=lambda _: None)
    made = document(app)
    return "\n".join([HEAD, *_calls(made), "## Values", "", *_values(made["components"]["schemas"])])


def _calls(made: Schema) -> Iterator[str]:
    for path, verbs in made["paths"].items():
        for verb, operation in verbs.items():
            yield f"## {verb.upper()} {path}"
            yield ""
            yield operation["description"]
            yield ""
            yield from _parameters(operation.get("parameters", []))
            body = operation.get("requestBody")
            if body:
                must = "" if body.get("required") else ", may be left out"
                yield f"Body: {_type(body['content']['application/json']['schema'])}{must}."
                yield ""
            yield from _answers(operation["responses"])


def _parameters(parameters: list[Schema]) -> Iterator[str]:
    if not parameters:
        return
    yield "| parameter | in | type | what it is |"
    yield "| --- | --- | --- | --- |"
    for each in parameters:
        name = f"`{each['name']}`" + (" (required)" if each.get("required") else "")
        yield f"| {name} | {each['in']} | {_type(each['schema'])} | {_text(each.get('description', ''))} |"
    yield ""


def _answers(responses: Schema) -> Iterator[str]:
    yield "| status | answer |"
    yield "| --- | --- |"
    for status, answer in sorted(responses.items()):
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        yield f"| {status} | {_type(schema) if schema else _text(answer['description'])} |"
    yield ""


def _values(schemas: Schema) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield f"### {name}"
        yield ""
        if "description" in schema:
            yield schema["description"]
            yield ""
        if "enum" in schema:
            yield ", ".join(f"`{value}`" for value in schema["enum"])
            yield ""
        if schema.get("properties"):
            yield from _fields(schema)


def _fields(schema: Schema) -> Iterator[str]:
    yield "| field | type | what it is |"
    yield "| --- | --- | --- |"
    for name, field in schema["properties"].items():
        must = " (required)" if name in schema.get("required", ()) else ""
        yield f"| `{name}`{must} | {_type(field)} | {_text(field.get('description', ''))} |"
    yield ""


def _type(schema: Schema) -> str:
    """Return the type of a schema in words, with a link where it is one of ours."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    inner = schema.get("additionalProperties")
    if schema.get("type") == "object" and isinstance(inner, dict):
        return f"object of {_type(inner)}"
    return f"{schema.get('type', 'any JSON')}{_bounds(schema)}"


def _bounds(schema: Schema) -> str:
    named = {"format": "", "minimum": "from ", "maximum": "to ", "maxLength": "at most ", "default": "default "}
    said = [
        f"{text}{json.dumps(schema[key]).strip(QUOTE)}"
        for key, text in named.items()
        if schema.get(key) not in (None, "")
    ]
    return f" ({', '.join(said)})" if said else ""


def _text(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
