"""The chart's README, made from the comments in its values.yaml: `python -m dev.chart_docs` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "charts" / "scheduledjobs"
HEAD = """# scheduledjobs

Recurring jobs on Kubernetes with exactly one record for every due moment, kept in PostgreSQL.

```console
helm install scheduledjobs charts/scheduledjobs -n scheduledjobs --create-namespace \\
  --set image.repository=REGISTRY/scheduledjobs --set database.existingSecret=NAME
```

`database.existingSecret` names a Secret in the release's namespace with the key `uri`; that of a CloudNativePG cluster
(`CLUSTER-app`) fits as it is. An init container brings the schema up to date; `helm test` runs a job from its manifest
to its row.

## Values

| value | default | what it is |
| --- | --- | --- |
"""


def comments(text: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each value that has a comment `# -- ...` above it, and the comment."""
    path: list[tuple[int, str]] = []
    said = ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            said = stripped.removeprefix("# -- ")
        elif stripped and not stripped.startswith("#"):
            indent, key = len(line) - len(line.lstrip()), stripped.split(":")[0]
            path = [(depth, name) for depth, name in path if depth < indent] + [(indent, key)]
            if said:
                yield ".".join(name for _, name in path), said
            said = ""


def value_at(values: Any, path: str) -> Any:
    """Return the value at a dotted path."""
    for key in path.split("."):
        values = values[key]
    return values


def readme() -> str:
    """Return the README as it has to be."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    rows = (f"| `{path}` | `{json.dumps(value_at(values, path))}` | {said} |\n" for path, said in comments(text))
    return HEAD + "".join(rows)


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme())
