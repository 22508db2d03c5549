"""The reference of settings, made from the model that reads them: `python -m dev.settings_docs` writes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dev.markdown import table
from scheduledjobs.cli.run import NOTHING
from scheduledjobs.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "settings.md"
TEMPLATE = ROOT / "charts" / "scheduledjobs" / "templates" / "deployment.yaml"
HEAD = """# Settings

Environment variables of `scheduledjobs run`, read once at its start. One that is wrong ends it with exit code 2 and a
line that names it, never its value. Made from the code by `make docs`; `scheduledjobs run --help` says the same. The
chart sets them from its [values](../../charts/scheduledjobs/README.md), named here where one value sets one variable.

`migrate`, `verify`, `why`, `history`, `cancel`, `restored` and `smoke` read `SCHEDULEDJOBS_DATABASE_URL` as `run` does;
`migrate` also `SCHEDULEDJOBS_MIGRATE_URL`, `restored` also `SCHEDULEDJOBS_RETENTION_DAYS`. `notices test` reads the
webhooks and the Lease's names, and wants the settings of `run` to be whole, though it does not connect to the database.
The cluster is that of `KUBECONFIG`, or the one in whose pod the program runs.
"""
WORDS = {"boolean": "true or false", "array": "list, comma-separated", "object": "JSON object"}


def variable(name: str) -> str:
    """Return the environment variable of a field."""
    return f"SCHEDULEDJOBS_{name.upper()}"


def page() -> str:
    """Return the page."""
    schema = Settings.model_json_schema()
    values = chart_values()
    rows = [
        [f"`{variable(name)}`", _type(field), _default(name), values.get(variable(name), ""), field["description"]]
        for name, field in schema["properties"].items()
    ]
    return "\n".join([HEAD, *table(["variable", "type", "default", "chart value", "what it is"], rows)])


def chart_values() -> dict[str, str]:
    """Return which value of the chart each variable is set from, where it is one value as it stands."""
    text = TEMPLATE.read_text()
    found = re.findall(r"- name: (SCHEDULEDJOBS_\w+)\n\s+value: \{\{ (?:int64 )?\.Values\.([\w.]+) \| quote \}\}", text)
    lists = re.findall(r"with \.Values\.([\w.]+) \}\}\s*- name: (SCHEDULEDJOBS_\w+)\n\s+value: \{\{ join", text)
    return {name: f"`{value}`" for name, value in [*found, *((name, value) for value, name in lists)]}


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:  # one that may be left out
        return _type(next(each for each in field["anyOf"] if each.get("type") != "null"))
    low, high = field.get("minimum"), field.get("maximum")
    bounds = f", {low:,.0f} to {high:,.0f}" if low is not None and high is not None else ""
    kind = field.get("type", "object")  # a model of its own is read from JSON
    if kind == "array" and field["items"].get("type") != "string":
        return "JSON list"
    return WORDS.get(kind, kind) + bounds


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "this machine's name"
    value = field.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value not in NOTHING else "none"


if __name__ == "__main__":
    PAGE.write_text(page())
