"""What the source tree must look like."""

from __future__ import annotations

import ast
import operator
import re
from pathlib import Path

import pytest
import yaml

from scheduledjobs.core.spec import JobSpec

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "operator").rglob("*.py"))


def test_the_source_folder_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert ROOT not in Path(operator.__file__).parents


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 50, f"{path.name}:{node.name}"


def test_every_query_has_a_function_of_its_name() -> None:
    store = ROOT / "operator" / "scheduledjobs" / "store"
    names = {query.stem for query in (store / "queries").glob("*.sql")}
    functions = set(re.findall(r"async def (\w+)", "\n".join(p.read_text() for p in store.glob("*.py"))))
    assert names - functions == set()


def test_no_placeholder_stands_inside_quotes() -> None:
    for query in (ROOT / "operator/scheduledjobs/store/queries").glob("*.sql"):
        assert not re.search(r"'[^'\n]*%\([^'\n]*'", query.read_text()), query.name


def crd() -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((ROOT / "crds/scheduledjobs.dev_scheduledjobs.yaml").read_text())
    return found


def spec_schema() -> dict[str, dict[str, object]]:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]  # type: ignore[index]
    found: dict[str, dict[str, object]] = schema["properties"]["spec"]["properties"]
    return found


def test_the_crd_and_the_model_have_the_same_fields_and_defaults() -> None:
    fields = {field.alias: field for field in JobSpec.model_fields.values()}
    assert set(fields) == set(spec_schema())
    model = JobSpec.model_validate({"handler": "log"})
    for name, schema in spec_schema().items():
        if "default" in schema:
            value = JobSpec.model_validate({"handler": "log", name: schema["default"]})
            assert value == model, name


def test_every_field_is_described_with_an_example_and_its_default() -> None:
    for name, schema in spec_schema().items():
        description = str(schema["description"])
        assert "Example: " in description, name
        if "default" in schema:
            assert "default" in description.lower(), name
