"""What the operator was given by name (connections, credentials), each with the namespaces that may use it.

A manifest holds the name alone. Who may write a job in a namespace may use what that namespace was given, and nothing
of another one: without this the operator would lend its rights to whoever can guess a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scheduledjobs.core.reasons import Reason
from scheduledjobs.errors import SettingsError, SpecError

ALL = "*"


class Given(BaseModel):
    """One thing that the operator was given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespaces: tuple[str, ...] = Field(min_length=1)

    def may_use(self, namespace: str) -> bool:
        """Return whether jobs of this namespace may use it; `*` is all of them."""
        return ALL in self.namespaces or namespace in self.namespaces


T = TypeVar("T", bound=Given)


def read_given(setting: str, kind: type[T], raw: Mapping[str, Any]) -> dict[str, T]:
    """Return what a setting gives, by name; `SettingsError` names the one that is wrong, never its values."""
    found = {}
    for name, one in raw.items():
        try:
            found[name] = kind.model_validate(one)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join([name, *(str(part) for part in first["loc"])])
            raise SettingsError(f"{setting}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
    return found


def find_given(what: str, given: Mapping[str, T], name: str, namespace: str, field: str) -> T:
    """Return what has that name; `SpecError` InvalidPayload at `field`, with what is allowed, if the namespace may not.

    One that is not allowed is said to be unknown, so that nobody learns what other namespaces have.
    """
    found = given.get(name)
    if found is None or not found.may_use(namespace):
        allowed = sorted(each for each, one in given.items() if one.may_use(namespace))
        names = f"allowed are {', '.join(allowed)}" if allowed else "the operator was given none for it"
        raise SpecError(Reason.INVALID_PAYLOAD, f"{field}: unknown {what} {name!r} in namespace {namespace}: {names}")
    return found
