"""`scheduledjobs handlers`: what a manifest may name in spec.handler, and what its payload must look like."""

from __future__ import annotations

import json
import os

import click

from scheduledjobs.handlers import kubernetes_job, load_registry


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: name to JSON Schema.")
def command(*, as_json: bool) -> None:
    """List the handlers of this installation and of the modules in SCHEDULEDJOBS_HANDLERS.

    kubernetes-job is among them where SCHEDULEDJOBS_KUBERNETES_JOB is true.
    """
    modules = [name.strip() for name in os.environ.get("SCHEDULEDJOBS_HANDLERS", "").split(",") if name.strip()]
    registry = load_registry(modules)
    if os.environ.get("SCHEDULEDJOBS_KUBERNETES_JOB", "").lower() in ("true", "1", "yes", "on"):
        registry.add_module(kubernetes_job)
    schemas = {name: registry.get(name).json_schema() for name in registry.names()}  # type: ignore[union-attr]
    if as_json:
        click.echo(json.dumps(schemas, indent=2))
        return
    for name, schema in schemas.items():
        handler = registry.get(name)
        first = ((handler.function.__doc__ or "") if handler else "").strip().splitlines()
        click.echo(f"{name}: {first[0] if first else ''}")
        click.echo(json.dumps(schema, indent=2))
