"""The OpenAPI document: made by FastAPI from the models, with what is true of every operation added once here."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from scheduledjobs import __version__
from scheduledjobs.core.spec import JobSpec
from scheduledjobs.web.models import Problem

DURATION = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
ALWAYS = {
    "400": "The request cannot be read",
    "401": "No token, or one that the API server does not take",
    "403": "The caller may not do this",
    "422": "A field is wrong: `errors` names each",
    "503": "The database or the API server does not answer: try again after `Retry-After`",
}
ABOUT_ONE = {"404": "There is none that the caller may see"}
WRITING = {
    "404": "There is none that the caller may see",
    "409": "It cannot be done now: `reason` says why",
    "413": "The body is larger than 256 KiB",
    "415": "The body is not JSON",
    "421": "The request was sent to another host",
}
IF_MATCH = {"412": "Somebody changed it in between"}
QUESTIONS = ("listJobs", "listExecutions", "previewSchedule")
"""Operations whose query is a form: a field that is left empty asks for nothing."""

SUMMARY = "Recurring jobs on Kubernetes, exactly one execution for every due moment, with their history"
DESCRIPTION = """
What should run is the custom resource ScheduledJob; what ran is read from the database. Every call is made with the
caller's own Kubernetes token (`Authorization: Bearer`), so rights and audit log are the API server's.
"""


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the app, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title="ScheduledJobs", version=__version__, summary=SUMMARY, description=DESCRIPTION, routes=app.routes
        )
        schemas = made["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        schemas |= spec_schemas()
        for name in ("NewJob", "Replacement"):
            schemas[name]["properties"]["spec"] = {"$ref": "#/components/schemas/JobSpec"}
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}]
        for path, operations in made["paths"].items():
            for verb, operation in operations.items():
                _add_problems(operation, _problems(path, verb))
                if operation["operationId"] in QUESTIONS:
                    for parameter in operation["parameters"]:
                        parameter |= {"allowEmptyValue": True} if parameter["in"] == "query" else {}
        app.openapi_schema = made
    return app.openapi_schema


def spec_schemas() -> dict[str, Any]:
    """Return the schemas of a spec: those of the model that reads it, as strict as the resource's own schema is.

    A duration is a string such as 1h30m, a field that is not there is left out and not null, and no other is known.
    """
    made = JobSpec.model_json_schema(ref_template="#/components/schemas/{model}")
    found = {**made.pop("$defs", {}), "JobSpec": made}
    made["description"] = "The spec of the resource. `kubectl explain scheduledjob.spec` tells what each field does."
    for schema in found.values():
        if schema["type"] == "object":
            schema["additionalProperties"] = False
            schema["properties"] = {name: _strict(field) for name, field in schema["properties"].items()}
    return found


def _strict(field: dict[str, Any]) -> dict[str, Any]:
    (only,) = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
    found = {key: value for key, value in {**field, **only}.items() if key not in ("anyOf", "title", "default")}
    if found.get("format") == "duration":
        found = {"type": "string", "pattern": DURATION, "examples": ["30s", "1h30m"]}
    return found


def _problems(path: str, verb: str) -> dict[str, str]:
    found = dict(ALWAYS)
    if "{" in path:
        found |= ABOUT_ONE
    if verb != "get":
        found |= WRITING
    if verb == "put":
        found |= IF_MATCH
    return found


def _add_problems(operation: dict[str, Any], problems: dict[str, str]) -> None:
    for status, text in problems.items():
        operation["responses"][status] = {"description": text, "content": PROBLEM}
