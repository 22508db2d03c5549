"""Strict JSON: what a route takes is JSON as it is defined, and nothing that only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from scheduledjobs.core.nesting import DEEPEST_READ, is_deeper
from scheduledjobs.web.problems import problem

JSON_TYPES = frozenset({"application/json", ""})


class StrictRequest(Request):
    """A request whose JSON is read as JSON is defined: no NaN, no lone surrogates, not endlessly deep."""

    async def json(self) -> Any:
        """Return the body."""
        return orjson.loads(await self.body())

    async def check(self) -> None:
        """Raise `ProblemError` for a body that is nested too deep; one that is no JSON is found later."""
        try:
            value = await self.json()
        except orjson.JSONDecodeError:
            return
        if is_deeper(value, DEEPEST_READ):
            raise problem(400, f"The body is nested deeper than {DEEPEST_READ} levels.", reason="TooDeep")


class StrictRoute(APIRoute):
    """A route that takes JSON, and nothing that only looks like it."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return the handler, which is given a StrictRequest."""
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if self.body_field is not None and kind not in JSON_TYPES:
                raise problem(415, "The body must be application/json.", reason="NotJson")
            strict = StrictRequest(request.scope, request.receive)
            if self.body_field is not None:
                await strict.check()
            found: Response = await handle(strict)
            return found

        return strictly
