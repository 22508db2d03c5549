# ruff: noqa: ARG002, A002 the signatures are those of Writes
"""The made-up site of ui_stub.py with jobs that can be made and edited: the true handlers, and writes that remember."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from tests.pages.ui_stub import site

from scheduledjobs.handlers import load_registry
from scheduledjobs.kube.caller import Caller
from scheduledjobs.web import models
from scheduledjobs.web.reads import Reads


class Writer:
    """Remembers what was to be made or replaced; `refusal` is raised instead, where it is set."""

    def __init__(self, reads: Any) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: Exception | None = None
        self._reads = reads

    async def create(self, caller: Caller, new: models.NewJob, *, dry_run: bool = False) -> models.JobDetail:
        return await self._do("create", f"{new.namespace}.{new.name}", new.spec, None, dry_run)

    async def replace(
        self, caller: Caller, id: str, spec: dict[str, Any], if_match: str | None, *, dry_run: bool = False
    ) -> models.JobDetail:
        return await self._do("replace", id, spec, if_match, dry_run)

    async def _do(self, verb: str, id: str, spec: Any, tag: str | None, is_trial: Any) -> models.JobDetail:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((verb, id, spec, tag, is_trial))
        return await self._reads.job(None, "shop.sync-ledger-1")


def editing_site() -> tuple[FastAPI, Any, Writer]:
    """Return the app, its parts, and what was written."""
    app, parts = site()
    registry = load_registry()

    async def handlers() -> models.Handlers:
        names = registry.names()
        return models.Handlers(items=[Reads._handler(of_registry, name, []) for name in names])

    async def namespaces() -> list[str]:
        return ["finance", "platform", "shop"]

    of_registry: Any = type("Of", (), {"_registry": registry})()
    parts.reads.handlers, parts.reads.namespaces = handlers, namespaces
    writer = Writer(parts.reads)
    app.state.writes = writer
    return app, parts, writer
