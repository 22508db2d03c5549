"""The reference of the custom resource, made from its CustomResourceDefinition: `python -m dev.crd_docs` writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dev.controlplane import CRDS
from dev.markdown import table

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "crd.md"
HEAD = """# ScheduledJob

`scheduledjobs.dev/v1`, kind `ScheduledJob`, namespaced; short names `sjob` and `sjobs`. Made from the
CustomResourceDefinition by `make docs`; `kubectl explain scheduledjob.spec` says the same. What the fields do together
is in [semantics](../explanation/semantics.md).

```yaml
apiVersion: scheduledjobs.dev/v1
kind: ScheduledJob
metadata:
  name: nightly-report
spec:
  schedule: "0 2 * * *"
  timeZone: Europe/Berlin
  handler: log
  payload: {message: the night is young}
```

Durations are strings of whole numbers with units, such as `90s` or `1h30m`. The API server refuses a field that is
wrong with the sentence that stands here after *Refused*. What only the operator can know, such as whether a handler is
there and its payload fits, the condition `Ready` says ([reasons](states.md#conditions)). A field that the schema does
not know is dropped; `kubectl apply` refuses it by itself.

## Annotations

They change no spec, so GitOps does not undo them; the commands [pause](cli.md#scheduledjobs-pause),
[resume](cli.md#scheduledjobs-resume) and [run-now](cli.md#scheduledjobs-run-now), REST and the dashboard set them.

| annotation | value |
| --- | --- |
| `scheduledjobs.dev/run-now` | a token of at most 128 characters; a new one is one run, and the status echoes it |
| `scheduledjobs.dev/run-now-payload` | JSON object that takes the place of `spec.payload` for that run |
| `scheduledjobs.dev/paused-until` | RFC 3339 with an offset, or `forever`; one that cannot be read pauses too |
| `scheduledjobs.dev/paused-by` | who pauses |
| `scheduledjobs.dev/pause-reason` | why |
"""
LIMITS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "maxProperties": "at most {} keys",
    "maxItems": "at most {}",
}
Schema = dict[str, Any]


def version() -> Schema:
    """Return the one version of the CustomResourceDefinition."""
    (path,) = CRDS.glob("*.yaml") if CRDS.is_dir() else [CRDS]
    (found,) = yaml.safe_load(path.read_text())["spec"]["versions"]
    made: Schema = found
    return made


def page() -> str:
    """Return the page."""
    found = version()
    schema = found["schema"]["openAPIV3Schema"]
    status = schema["properties"]["status"]
    lines = [
        *HEAD.splitlines(),
        "",
        "## Name",
        "",
        *(f"- Refused: {message}" for message in _messages(schema)),
        "",
        "## Spec",
        "",
        *_section(schema["properties"]["spec"]),
        *(line for path, field in fields(schema["properties"]["spec"], "spec") for line in _field(path, field)),
        "## Status",
        "",
        status["description"],
        "",
        *table(
            ["field", "type", "what it is"],
            ([f"`{path}`", _type(field), field["description"]] for path, field in fields(status, "status")),
        ),
        *_columns(found),
    ]
    return "\n".join(lines).rstrip() + "\n"


def fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yield every field below a schema with its path, parents first."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", {**field, "isRequired": name in required}
        yield from fields(field, f"{path}.{name}")
        yield from fields(field.get("items", {}), f"{path}.{name}[]")


def _field(path: str, field: Schema) -> Iterator[str]:
    yield f"### {path}"
    yield ""
    yield f"{_type(field)}{_must(field)}."
    yield ""
    yield from _section(field)


def _section(field: Schema) -> Iterator[str]:
    yield field["description"]
    yield ""
    messages = list(_messages(field))
    yield from (f"- Refused: {message}" for message in messages)
    if messages:
        yield ""


def _must(field: Schema) -> str:
    if "default" in field:
        return f", default `{json.dumps(field['default'])}`"
    return ", required" if field["isRequired"] else ""


def _type(field: Schema) -> str:
    """Return the type of a field in words."""
    if "enum" in field:
        return "one of " + ", ".join(f"`{value}`" for value in field["enum"])
    name = f"list of {field['items']['type']}s" if field["type"] == "array" else field["type"]
    said = [text.format(field[key]) for key, text in LIMITS.items() if key in field]
    if field.get("format") == "date-time":
        said.append("RFC 3339")
    return f"{name} ({', '.join(said)})" if said else name


def _messages(schema: Schema) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        at = f"`{rule['fieldPath'].removeprefix('.')}`: " if "fieldPath" in rule else ""
        yield at + re.sub(r"\*", r"\\*", rule["message"])


def _columns(found: Schema) -> Iterator[str]:
    yield "## Columns of kubectl get"
    yield ""
    rows = [
        [each["name"], f"`{each['jsonPath']}`", "with `-o wide`" if each.get("priority") else "always"]
        for each in found["additionalPrinterColumns"]
    ]
    yield from table(["column", "from", "shown"], rows)
    yield "## Field selectors"
    yield ""
    yield "For `kubectl get scheduledjobs --field-selector`, besides `metadata.name` and `metadata.namespace`:"
    yield ""
    yield from (f"- `{each['jsonPath'].removeprefix('.')}`" for each in found["selectableFields"])


if __name__ == "__main__":
    PAGE.write_text(page())
