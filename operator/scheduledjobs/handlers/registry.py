"""The registry of handlers: a named callable with a typed payload, found by entry point or by module name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.spec import ConcurrencyPolicy, JobSpec, field_errors
from scheduledjobs.errors import SettingsError, SpecError

ENTRY_POINTS = "scheduledjobs.handlers"
SURVIVES_ANYWHERE = frozenset({"kubernetes-job"})
"""Handlers of ours whose work survives, whether or not this process has them."""

Function = Callable[..., Any]
Check = Callable[[str, BaseModel], None]


class AnyPayload(BaseModel):
    """The payload of a handler that names no model: any object."""

    model_config = ConfigDict(extra="allow")


@cache
def _json_schema(payload: type[BaseModel]) -> dict[str, Any]:
    return payload.model_json_schema()


@dataclass(frozen=True, slots=True)
class Handler:
    """A named callable `(execution, payload)` and the pydantic model that its payload must fit."""

    name: str
    function: Function
    payload: type[BaseModel]
    is_async: bool
    check: Check | None = None
    """Refuses, by `SpecError`, a payload that fits the model and cannot work in its namespace."""

    survives: bool = False
    """What it runs is outside of the process, and goes on without it: see `handler`."""

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the payload, which is made once and not to be changed."""
        return _json_schema(self.payload)

    def check_payload(self, raw: Mapping[str, Any], namespace: str) -> BaseModel:
        """Return the payload as the model; `SpecError` where it does not fit, or cannot work in its namespace."""
        payload = self.read_payload(raw)
        if self.check is not None:
            self.check(namespace, payload)
        return payload

    def read_payload(self, raw: Mapping[str, Any]) -> BaseModel:
        """Return the payload as the model; `SpecError` InvalidPayload names the field, never the value."""
        try:
            return self.payload.model_validate(raw)
        except ValidationError as error:
            fields = field_errors(error, "spec.payload")
            more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
            message = f"{': '.join(fields[0])} for handler {self.name}{more}"
            raise SpecError(Reason.INVALID_PAYLOAD, message, fields) from None


def handler(
    name: str, *, payload: type[BaseModel] = AnyPayload, check: Check | None = None, survives: bool = False
) -> Callable[[Function], Function]:
    """Make a function the handler of this name; its module must be known to the operator.

    `check(namespace, payload)` may refuse, by `SpecError`, what fits the model and cannot work.
    The function takes (execution, payload), sync or async, and returns None or a JSON value of at most 16 KiB.

    With `survives` what it runs is outside of the process. When its replica dies or stops, the same attempt is begun
    once more on another one, where the function must find what was begun and not begin it twice: `execution.noted` is
    what the one before has said by `execution.note.set`, up to two seconds before it died. Where it is
    cancelled and `execution.stopping.hands_over` is set, it leaves that alone and returns within a second; else it
    ends it and comes back only when that is gone, however long it takes. Such a function is async.
    """

    if payload is BaseModel or not issubclass(payload, BaseModel):
        raise TypeError(
            f"the payload of the handler {name!r} must be a class of its own, derived from pydantic.BaseModel"
        )

    def mark(function: Function) -> Function:
        made = Handler(name, function, payload, inspect.iscoroutinefunction(function), check, survives)
        if survives and not made.is_async:
            raise TypeError(f"the handler {name!r} survives its replica, so it must be async")
        function.__scheduledjobs_handler__ = made  # type: ignore[attr-defined]
        return function

    return mark


class Registry:
    """The handlers of this process, by name."""

    def __init__(self, handlers: Iterable[Handler] = ()) -> None:
        self._handlers: dict[str, Handler] = {}
        for each in handlers:
            self.add(each)

    def add(self, handler: Handler) -> None:
        """Add a handler; `SettingsError` if its name is taken."""
        known = self._handlers.get(handler.name)
        if known is not None and known.function is not handler.function:
            places = f"{known.function.__module__} and {handler.function.__module__}"
            raise SettingsError(f"SCHEDULEDJOBS_HANDLERS: the handler {handler.name!r} is defined in {places}")
        self._handlers[handler.name] = handler

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self._handlers)

    def surviving(self) -> frozenset[str]:
        """Return the names of those whose work survives a replica, and of ours that do and may be on others only."""
        return SURVIVES_ANYWHERE | {name for name, each in self._handlers.items() if each.survives}

    def get(self, name: str) -> Handler | None:
        """Return the handler of that name, or None."""
        return self._handlers.get(name)

    def check(self, spec: JobSpec, namespace: str) -> None:
        """Raise `SpecError` where the handler of a spec cannot do what the spec asks for; one unknown here can."""
        known = self.get(spec.handler)
        if known is None:
            return
        if spec.concurrency_policy is ConcurrencyPolicy.REPLACE and not known.is_async:
            sentence = f"Replace needs a handler that can be cancelled, and {known.name} is not async"
            raise SpecError(Reason.INVALID_SPEC, f"spec.concurrencyPolicy: {sentence}: use Forbid, Queue or Allow")
        known.check_payload(spec.payload, namespace)

    def add_module(self, module: ModuleType) -> None:
        """Add every handler that a module defines."""
        for value in vars(module).values():
            made = getattr(value, "__scheduledjobs_handler__", None)
            if isinstance(made, Handler):
                self.add(made)


def load_registry(modules: Iterable[str] = ()) -> Registry:
    """Return the handlers of all entry points and of these modules; `SettingsError` names one that cannot be had."""
    registry = Registry()
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        registry.add_module(_import(entry.module, f"entry point {entry.name} of {ENTRY_POINTS}"))
    for name in modules:
        registry.add_module(_import(name, "SCHEDULEDJOBS_HANDLERS"))
    return registry


def _import(name: str, what: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        raise SettingsError(f"{what}: module {name} cannot be imported: {type(error).__name__}: {error}") from error
