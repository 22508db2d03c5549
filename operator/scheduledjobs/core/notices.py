"""Notices: which webhook is told of what became of an execution.

A webhook is the operator's, with the namespaces that may use it. A rule of the operator's names a webhook for the jobs
of some namespaces; a job names more by its annotations, of those its namespace may use, or `none`. What is told:

- failure: an execution ended FAILED, TIMED_OUT or LOST, and no attempt follows.
- recovery: the first success, of a later fire time, of a job whose failure was noticed.
- miss: a moment that was due and will never run (MISSED). Not Coalesced, since another run stands for it and its
  outcome is told; not Deleted, since there is no job any more. A range of such moments is one notice.
- longRun: the code of an attempt still runs after the time that the rule or the job names, also where the attempt has
  ended at its timeout; once an execution to each webhook, at its own time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from scheduledjobs.core.duration import parse_duration
from scheduledjobs.core.namespaces import EVERYBODY, is_namespace_or_all
from scheduledjobs.core.reasons import FAILURE_STATES, Reason, State
from scheduledjobs.core.resource import GROUP

NOTIFY = f"{GROUP}/notify"
NOTIFY_ON = f"{GROUP}/notify-on"
NOTIFY_LONG_RUN = f"{GROUP}/notify-long-run"
NONE = "none"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MOST_WEBHOOKS, MOST_RULES, MOST_NAMED = 50, 500, 10
QUIET_MISSES = frozenset({Reason.COALESCED, Reason.DELETED})
T = TypeVar("T", bound=BaseModel)


class Kind(StrEnum):
    """What a notice tells of."""

    FAILURE = "failure"
    RECOVERY = "recovery"
    MISS = "miss"
    LONG_RUN = "longRun"


USUAL = frozenset({Kind.FAILURE, Kind.RECOVERY})
"""What a job is told of where it names a webhook only."""


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _namespace(name: str) -> str:
    if not is_namespace_or_all(name):  # a pattern would match nothing, and nobody would be told of those failures
        raise ValueError(f"must be the name of a namespace, or {EVERYBODY} for all of them")
    return name


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Namespace = Annotated[str, AfterValidator(_namespace)]


class Webhook(BaseModel):
    """Where messages go. Its URL is a secret: given as it is, or as a file that is read at each message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr | None = None
    url_file: Path | None = None
    format: Literal["slack", "cloudevents"]
    namespaces: tuple[Namespace, ...] = Field(min_length=1)
    collect: Duration = Field(default=timedelta(seconds=10), ge=timedelta(0), le=timedelta(hours=1))
    every: Duration = Field(default=timedelta(minutes=1), ge=timedelta(0), le=timedelta(hours=24))

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_http(value.get_secret_value()):
            raise ValueError("must begin with https:// or http://, and a host")
        return value

    @model_validator(mode="after")
    def _has_one_url(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("set one of url and url_file")
        return self

    def may_use(self, namespace: str) -> bool:
        """Return whether jobs of this namespace may use it; `*` is all of them."""
        return EVERYBODY in self.namespaces or namespace in self.namespaces


class Rule(BaseModel):
    """Which webhook is told of the jobs of some namespaces; `longRun` is how long an attempt may take unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    webhook: str
    namespaces: tuple[Namespace, ...] = Field(default=(EVERYBODY,), min_length=1)
    on: frozenset[Kind] = Field(default=USUAL, min_length=1)
    long_run: Duration | None = Field(default=None, alias="longRun", ge=timedelta(seconds=1))

    @model_validator(mode="after")
    def _has_its_time(self) -> Self:
        if (Kind.LONG_RUN in self.on) != (self.long_run is not None):
            raise ValueError("longRun in `on` and the duration longRun go together")
        return self


def is_http(url: str) -> bool:
    """Return whether a text is a URL that a message can go to."""
    return re.fullmatch(r"https?://[^\s/?#]+([/?#]\S*)?", url) is not None


def read_webhooks(raw: Any) -> dict[str, Webhook]:
    """Return the webhooks of the setting; `ValueError` names what is wrong, never a value."""
    if not isinstance(raw, Mapping) or len(raw) > MOST_WEBHOOKS:
        raise ValueError(f"must be a JSON object of at most {MOST_WEBHOOKS} webhooks by their name")
    for name in raw:
        if not NAME.fullmatch(str(name)) or name == NONE:
            raise ValueError("the name of a webhook is of lower-case letters, digits and -, at most 63, and not `none`")
    return {name: _read(Webhook, name, value) for name, value in raw.items()}


def read_rules(raw: Any, webhooks: Mapping[str, Webhook]) -> tuple[Rule, ...]:
    """Return the rules of the setting; `ValueError` names what is wrong."""
    if not isinstance(raw, list | tuple) or len(raw) > MOST_RULES:
        raise ValueError(f"must be a JSON array of at most {MOST_RULES} rules")
    rules = tuple(_read(Rule, str(number), value) for number, value in enumerate(raw))
    for number, rule in enumerate(rules):
        if rule.webhook not in webhooks:
            raise ValueError(f"{number}.webhook: SCHEDULEDJOBS_WEBHOOKS has none of this name")
        for namespace in rule.namespaces:
            if namespace != EVERYBODY and not webhooks[rule.webhook].may_use(namespace):
                raise ValueError(f"{number}.namespaces: {namespace} may not use the webhook {rule.webhook}")
    return rules


def _read(model: type[T], root: str, value: Any) -> T:
    if isinstance(value, model):
        return value
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join([root, *(str(part) for part in first["loc"])])
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job's annotations ask for; `wrong` says what of them cannot be read, the rest holds."""

    webhooks: tuple[str, ...] = ()
    on: frozenset[Kind] = USUAL
    long_run: timedelta | None = None
    is_silent: bool = False
    wrong: str = ""


NO_WISH = Wish()


def read_wish(annotations: Mapping[str, str]) -> Wish:
    """Return what a job asks for by its annotations."""
    if NOTIFY not in annotations:
        return NO_WISH
    wrong = []
    names = _parts(annotations[NOTIFY])
    if NONE in names:
        return Wish(is_silent=True, wrong="" if len(names) == 1 else f"{NOTIFY}: `none` stands alone")
    if len(names) > MOST_NAMED:
        wrong.append(f"{NOTIFY}: at most {MOST_NAMED} webhooks")
    on, long_run = set(USUAL), None
    if NOTIFY_ON in annotations:
        asked = _parts(annotations[NOTIFY_ON])
        on = {kind for kind in Kind if kind.value in asked}
        if unknown := [one for one in asked if one not in set(Kind)]:
            wrong.append(f"{NOTIFY_ON}: {unknown[0][:40]!r} is none of {', '.join(Kind)}")
    try:
        long_run = parse_duration(annotations[NOTIFY_LONG_RUN]) if NOTIFY_LONG_RUN in annotations else None
    except ValueError as error:
        wrong.append(f"{NOTIFY_LONG_RUN}: {error}")
    if long_run is not None:
        on.add(Kind.LONG_RUN)
    elif Kind.LONG_RUN in on and not wrong:
        wrong.append(f"{NOTIFY_ON}: longRun needs {NOTIFY_LONG_RUN}, a duration such as 30m")
    return Wish(tuple(names[:MOST_NAMED]), frozenset(on), long_run, wrong="; ".join(wrong))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text[:2000].split(",") if part.strip()]


@dataclass(frozen=True, slots=True)
class Recipients:
    """The webhooks and the rules of the operator."""

    webhooks: Mapping[str, Webhook]
    rules: tuple[Rule, ...] = ()

    def of(self, kind: Kind, namespace: str, annotations: Mapping[str, str]) -> list[str]:
        """Return the names of the webhooks that are told of `kind` for a job, sorted; longRun has `late_for`."""
        return sorted(name for name, wanted, _ in self._asked(namespace, annotations) if kind in wanted)

    def late_for(self, ran: timedelta, namespace: str, annotations: Mapping[str, str]) -> list[str]:
        """Return the names of the webhooks that are told that an attempt of a job has run for so long."""
        asked = self._asked(namespace, annotations)
        return sorted({name for name, _, limit in asked if limit is not None and ran >= limit})

    @property
    def shortest_run(self) -> timedelta | None:
        """The shortest duration that a rule calls a long run, None where no rule does."""
        return min((rule.long_run for rule in self.rules if rule.long_run is not None), default=None)

    def problem(self, namespace: str, annotations: Mapping[str, str]) -> str:
        """Return a sentence about what a job asks for in vain, empty if there is nothing."""
        wish = read_wish(annotations)
        refused = [name for name in wish.webhooks if not self._may_use(name, namespace)]
        if not refused:
            return wish.wrong
        allowed = sorted(name for name, webhook in self.webhooks.items() if webhook.may_use(namespace))
        names = f"allowed are {', '.join(allowed)}" if allowed else "the operator was given none for it"
        text = f"{NOTIFY}: unknown webhook {refused[0][:63]!r} in namespace {namespace}: {names}"
        return f"{text}; {wish.wrong}" if wish.wrong else text

    def _may_use(self, name: str, namespace: str) -> bool:
        return name in self.webhooks and self.webhooks[name].may_use(namespace)

    def _asked(
        self, namespace: str, annotations: Mapping[str, str]
    ) -> Iterable[tuple[str, frozenset[Kind], timedelta | None]]:
        """Yield each webhook once, with the kinds it is told of and the shortest long run."""
        wish = read_wish(annotations)
        if wish.is_silent:
            return []
        asked = [(name, wish.on, wish.long_run) for name in wish.webhooks]
        asked += [
            (rule.webhook, rule.on, rule.long_run)
            for rule in self.rules
            if EVERYBODY in rule.namespaces or namespace in rule.namespaces
        ]
        found: dict[str, tuple[frozenset[Kind], timedelta | None]] = {}
        for name, on, long_run in asked:
            if self._may_use(name, namespace):
                known, limit = found.get(name, (frozenset(), None))
                found[name] = known | on, min((one for one in (limit, long_run) if one is not None), default=None)
        return [(name, on, limit) for name, (on, limit) in found.items()]


def kind_of(state: State, reason: str | None) -> Kind | None:
    """Return what an ended row is told as, None if it is not."""
    if state in FAILURE_STATES:
        return Kind.FAILURE
    if state is State.SUCCEEDED:
        return Kind.RECOVERY
    if state is State.MISSED and reason not in QUIET_MISSES:
        return Kind.MISS
    return None


@dataclass(frozen=True, slots=True)
class Notice:
    """What one webhook is told of one execution."""

    kind: Kind
    execution_id: int
    job_id: UUID
    namespace: str
    job_name: str
    fire_time: datetime
    occurred_at: datetime
    state: str
    reason: str | None
    message: str | None
    attempt: int
    moment_count: int = 1

    @property
    def id(self) -> str:
        """The same for every telling of it."""
        return f"{self.execution_id}-{self.kind}"
