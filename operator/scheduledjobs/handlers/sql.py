"""The built-in handler `sql`: one statement on a database that the operator was given by name.

Connections are the operator's settings, each with the namespaces that may use it, so a manifest holds no address and
no password. Parameters are bound, never written into the statement. On the operator's own database the effect and
the completion of the attempt commit together: exactly once in effect.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from scheduledjobs.core.reasons import Reason
from scheduledjobs.errors import CredentialError, Permanent, SpecError
from scheduledjobs.handlers.attempt import NotBegun
from scheduledjobs.handlers.credentials import absolute, read_secret
from scheduledjobs.handlers.execution import Execution, hide
from scheduledjobs.handlers.given import Given, find_given, read_given
from scheduledjobs.handlers.registry import handler
from scheduledjobs.handlers.threads import in_secrets_thread
from scheduledjobs.store.effects import Claim, first_word, run_statement
from scheduledjobs.store.sessions import is_url, password_of

MOST_AT_ONCE = 4
SETTING = "SCHEDULEDJOBS_SQL_CONNECTIONS"
GIVEN = ("fire_time", "namespace", "job", "attempt", "idempotency_key")
NAMED = re.compile(r"%%|%\((\w+)\)[sbt]")
UNDER_ROLE = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE")
"""What a statement may be where a `role` is set: none of these takes the role off and goes on."""

STEERS = frozenset(
    (
        "ABORT",
        "BEGIN",
        "COMMIT",
        "DISCARD",
        "END",
        "PREPARE",
        "RELEASE",
        "RESET",
        "ROLLBACK",
        "SAVEPOINT",
        "SET",
        "START",
    )
)
"""What no statement may be: it would end or steer the transaction in which its completion commits."""


class SqlPayload(BaseModel):
    """The statement to run."""

    model_config = ConfigDict(extra="forbid")

    connection: str = Field(max_length=63, description="Name of a connection that the operator was given")
    statement: str = Field(
        min_length=1,
        max_length=16_384,
        description="One statement; %(name)s stands for a parameter, %% for a percent sign. fire_time, namespace, "
        "job, attempt and idempotency_key can be named without being given",
    )
    parameters: dict[str, Any] = Field(default_factory=dict, max_length=64, description="Values, bound by name")

    @field_validator("parameters")
    @classmethod
    def _are_free(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(value.keys() & set(GIVEN))
        if taken:
            raise ValueError(f"{', '.join(taken)} is given by the execution: choose another name")
        return value


def _readable(value: SecretStr) -> SecretStr:
    if not is_url(value.get_secret_value()):
        raise ValueError("must look like postgresql://user:password@host:5432/name, its parts percent-encoded")
    return value


class SqlConnection(Given):
    """A named connection: without `url` and `url_file` the operator's own database. A file is read at each use.

    `role` is set for the statement. It keeps a wrong statement from what it should not touch; it does not hold
    somebody who means harm, since the session is the operator's: that needs a `url` with a user of its own.
    """

    url: Annotated[SecretStr, AfterValidator(_readable)] | None = None
    url_file: Annotated[Path, AfterValidator(absolute)] | None = None
    role: str | None = None

    @model_validator(mode="after")
    def _has_one_address(self) -> SqlConnection:
        if self.url is not None and self.url_file is not None:
            raise ValueError("has url and url_file: which one is meant?")
        return self

    @property
    def is_own(self) -> bool:
        """Whether it is the operator's own database."""
        return self.url is None and self.url_file is None


@dataclass(slots=True)
class Connections:
    """What the operator was given."""

    own_url: str = ""
    named: Mapping[str, SqlConnection] = field(default_factory=dict)
    turns: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    def find(self, name: str, namespace: str) -> SqlConnection:
        """Return the connection of that name; `SpecError` InvalidPayload if jobs of this namespace may not use it."""
        return find_given("connection", self.named, name, namespace, "spec.payload.connection")


connections = Connections()


def allow_connections(own_url: str, named: Mapping[str, Any]) -> None:
    """Set the connections of this process; `SettingsError` names the one that is wrong, never its values."""
    found = read_given(SETTING, SqlConnection, named)
    connections.own_url, connections.named, connections.turns = own_url, found, {}


def check(namespace: str, payload: BaseModel) -> None:
    """Refuse a connection that this namespace may not use, and a statement that names what is not given."""
    assert isinstance(payload, SqlPayload)  # noqa: S101 the registry has validated it
    found = connections.find(payload.connection, namespace)
    if objection := _objection(payload, found):
        raise SpecError(Reason.INVALID_PAYLOAD, f"spec.payload.statement: {objection}")


def _objection(payload: SqlPayload, connection: SqlConnection) -> str | None:
    word = first_word(payload.statement)
    if word in STEERS:
        return f"must not be {word}: it is one statement in a transaction of its own"
    if connection.role is not None and word not in UNDER_ROLE:
        return f"must begin with one of {', '.join(UNDER_ROLE)}, since {payload.connection!r} runs it under a role"
    named = set(NAMED.findall(payload.statement)) - {""}
    missing = sorted(named - payload.parameters.keys() - set(GIVEN))
    return f"names {', '.join(missing)}, which spec.payload.parameters does not give" if missing else None


@handler("sql", payload=SqlPayload, check=check)
async def sql(execution: Execution, payload: SqlPayload) -> dict[str, Any]:
    """Run the statement; on the operator's own database its effect and the completion commit together."""
    found = connections.find(payload.connection, execution.namespace)
    given = {
        "fire_time": execution.fire_time,
        "namespace": execution.namespace,
        "job": execution.job,
        "attempt": execution.attempt,
        "idempotency_key": execution.idempotency_key,
    }
    async with _turn(payload.connection):
        return await run_statement(
            await _url(payload.connection, found),
            payload.statement,
            {**payload.parameters, **given},
            role=found.role,
            claim=_claim(execution) if found.is_own else None,
        )


@asynccontextmanager
async def _turn(name: str) -> AsyncIterator[None]:
    """Wait until fewer than four statements run on this connection; its database is not to be flooded with sessions."""
    turn = connections.turns.setdefault(name, asyncio.Semaphore(MOST_AT_ONCE))
    try:
        await turn.acquire()
    except asyncio.CancelledError:
        others = f"{MOST_AT_ONCE} others ran on connection {name!r} on this replica"
        raise NotBegun(f"its statement had not begun: {others}") from None
    try:
        yield
    finally:
        turn.release()


async def _url(name: str, connection: SqlConnection) -> str:
    """Return the address of a connection, its password hidden in what the attempt leaves."""
    if connection.url_file is not None:
        what = f"connection {name!r}: its url_file"
        url = await in_secrets_thread(read_secret, connection.url_file, what)
        if not is_url(url):
            raise CredentialError(f"{what} must look like postgresql://user:password@host:5432/name")
    else:
        url = connection.url.get_secret_value() if connection.url is not None else connections.own_url
    hide(password_of(url) or "")
    return url


def _claim(execution: Execution) -> Claim:
    if execution.replica is None:
        raise Permanent("an attempt without its claim cannot be completed with its effect")
    return Claim(execution.id, execution.fire_time, execution.claim_no, execution.replica)
