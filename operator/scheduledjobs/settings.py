"""Settings: environment variables `SCHEDULEDJOBS_*`, read once at the start, wrong ones named in one line."""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PostgresDsn,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from scheduledjobs.core.lease import LEAST_LEASE_SECONDS
from scheduledjobs.core.namespaces import EVERYBODY, is_namespace
from scheduledjobs.core.notices import Rule, Webhook, is_http, read_rules, read_webhooks
from scheduledjobs.core.quota import FORM, Quotas, read_quotas
from scheduledjobs.errors import SettingsError
from scheduledjobs.store.sessions import is_url

CommaList = Annotated[tuple[str, ...], NoDecode]


ANY = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 compared with, not listened on


def is_loopback(host: str) -> bool:
    """Return whether a name or address stands for this machine itself, and can for no other."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


class Settings(BaseSettings):
    """Settings of one replica; every field is the environment variable SCHEDULEDJOBS_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="SCHEDULEDJOBS_", frozen=True, extra="ignore")

    database_url: SecretStr = Field(description="PostgreSQL 15 or newer, as postgresql://user:password@host:5432/name")
    migrate_url: SecretStr | None = Field(
        default=None,
        description="Address for `scheduledjobs migrate`, where the user of DATABASE_URL may not change the schema: "
        "that user is then granted what it needs",
    )
    migrate: bool = Field(
        default=True, description="Bring the schema up to date at the start; false: wait until somebody has"
    )
    hostname: str = Field(default_factory=socket.gethostname, min_length=1, description="How this replica is called")
    slots: int = Field(default=32, ge=1, le=10_000, description="How many handlers run at once on this replica")
    handlers: CommaList = Field(default=(), description="Python modules with handlers, comma-separated")
    watch_namespaces: CommaList = Field(
        default=(), description="Namespaces to watch by name, comma-separated; none: all"
    )
    lease_namespace: str = Field(default="default", min_length=1, description="Namespace of the leader's Lease")
    lease_name: str = Field(default="scheduledjobs", min_length=1, description="Name of the leader's Lease")
    lease_seconds: float = Field(
        default=5.0,
        ge=LEAST_LEASE_SECONDS,
        le=60,
        description="How long a Lease is good for. Renewed a second after each answer, which may take a second; trust "
        "ends a second before the Lease: a shorter one could not be trusted from one renewal to the next",
    )
    metrics_host: str = Field(default="0.0.0.0", description="Address of probes and metrics")  # noqa: S104 pods are probed
    metrics_port: int = Field(default=9090, ge=0, le=65535, description="Port of /livez, /readyz and /metrics; 0: any")
    web: bool = Field(default=True, description="Serve REST and the dashboard")
    host: str = Field(default="0.0.0.0", min_length=1, description="Address of REST and the dashboard")  # noqa: S104 a pod's port
    port: int = Field(
        default=8080, ge=0, le=65535, validate_default=True, description="Port of REST and the dashboard; 0: any"
    )
    auth: Literal["token", "none", "none-for-everybody"] = Field(
        default="token",
        description="Who may: token (the caller's own), none (everybody, on loopback only) or none-for-everybody",
    )
    retention_days: int = Field(default=30, ge=1, le=3650, description="Days that executions are kept")
    max_running: int = Field(
        default=0, ge=0, le=1_000_000, description="Most executions that run at once, on all replicas; 0: no limit"
    )
    max_running_per_namespace: int = Field(
        default=0, ge=0, le=1_000_000, description="Most executions of one namespace that run at once; 0: no limit"
    )
    quotas: Annotated[Quotas, NoDecode, BeforeValidator(read_quotas)] = Field(
        default=Quotas(), description=f"What each namespace may ask for, JSON: {FORM}; * is every other; 0: no limit"
    )
    drain_seconds: float = Field(
        default=25.0, ge=0, le=3600, description="How long running handlers may finish at stop"
    )
    log_format: Literal["json", "console"] = Field(default="json", description="Form of log lines")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged")
    http_allow: CommaList = Field(
        default=(), description="CIDRs the http handler may call besides public and private ones"
    )

    kubernetes_job: bool = Field(default=False, description="Have the handler kubernetes-job, which makes Jobs")
    kubernetes_job_service_accounts: CommaList = Field(
        default=(), description="Service accounts that its pods may have besides default, which gets no token"
    )
    sql_connections: Annotated[dict[str, dict[str, Any]], NoDecode] = Field(
        default={},
        repr=False,
        description='Databases of the sql handler, JSON: {"NAME": {"url": "postgresql://...", "namespaces": ["*"]}}; '
        "without url the operator's own",
    )
    credentials: Annotated[dict[str, dict[str, Any]], NoDecode] = Field(
        default={},
        description='Credentials that jobs name, JSON: {"NAME": {"namespaces": ["finance"], "path": "/folder/of/keys", '
        '"hosts": ["api.example.com"], "secret": "name"}}; the secret, beside the job, is for kubernetes-job',
    )
    webhooks: Annotated[dict[str, Webhook], NoDecode] = Field(
        default={},
        repr=False,
        description='Where notices go, JSON: {"NAME": {"url": "https://...", "format": "slack", "namespaces": ["*"]}}; '
        "url_file instead of url, format cloudevents, collect 10s, every 1m",
    )
    notices: Annotated[tuple[Rule, ...], NoDecode] = Field(
        default=(),
        description='Whose notices, JSON: [{"webhook": "NAME", "namespaces": ["*"], "on": ["failure", "recovery", '
        '"miss", "longRun"], "longRun": "30m"}]',
    )
    public_url: str = Field(default="", description="Address under which people reach the dashboard, for links to it")

    @field_validator("handlers", "watch_namespaces", "http_allow", "kubernetes_job_service_accounts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("watch_namespaces")
    @classmethod
    def _are_namespaces(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:  # one that matches nothing would have every job taken for gone
            if not is_namespace(name):
                hint = "; leave it empty for all of them" if name == EVERYBODY else ""
                raise ValueError(f"{name!r} is not the name of a namespace{hint}")
        return value

    @field_validator("sql_connections", "credentials", mode="before")
    @classmethod
    def _read_json(cls, value: object) -> object:
        return _json(value, 'must be a JSON object: {"NAME": {"namespaces": ["..."], ...}}')

    @field_validator("webhooks", mode="before")
    @classmethod
    def _read_webhooks(cls, value: object) -> object:
        return read_webhooks(_json(value))

    @field_validator("notices", mode="before")
    @classmethod
    def _read_rules(cls, value: object, info: ValidationInfo) -> object:
        return read_rules(_json(value), info.data.get("webhooks", {})) if "webhooks" in info.data else ()

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value and not is_http(value):
            raise ValueError("must begin with https:// or http://, such as https://jobs.example")
        return value

    @field_validator("port")
    @classmethod
    def _is_a_port_of_its_own(cls, value: int, info: ValidationInfo) -> int:
        hosts = {info.data.get("host"), info.data.get("metrics_host")}
        if (
            info.data.get("web")
            and value
            and value == info.data.get("metrics_port")
            and (len(hosts) == 1 or hosts & ANY)
        ):
            raise ValueError(f"{value} is the port of SCHEDULEDJOBS_METRICS_PORT; they must differ")
        return value

    @field_validator("auth")
    @classmethod
    def _is_open_on_loopback_only(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and info.data.get("web") and not is_loopback(info.data.get("host", "localhost")):
            raise ValueError(
                "none is only for a SCHEDULEDJOBS_HOST that nobody else reaches, such as 127.0.0.1; "
                "none-for-everybody gives whoever reaches it the operator's own rights"
            )
        return value

    @field_validator("database_url", "migrate_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            TypeAdapter(PostgresDsn).validate_python(value.get_secret_value())
        except ValidationError:
            raise ValueError("must look like postgresql://user:password@host:5432/name") from None
        if not is_url(value.get_secret_value()):
            raise ValueError("must look like postgresql://user:password@host:5432/name, its parts percent-encoded")
        return value

    @property
    def running_limits(self) -> dict[str, int]:
        """Most executions of each namespace that run at once; `*` is every other; 0: no limit."""
        return {EVERYBODY: self.max_running_per_namespace, **self.quotas.running}

    @property
    def lease(self) -> timedelta:
        """How long a Lease is good for."""
        return timedelta(seconds=self.lease_seconds)


def _json(value: object, sentence: str = "must be JSON") -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise ValueError(sentence) from None


def load() -> Settings:
    """Read the settings from the environment; raise `SettingsError` naming each wrong variable, never its value."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = (f"SCHEDULEDJOBS_{str(e['loc'][0]).upper()}: {_sentence(e['type'], e['msg'])}" for e in error.errors())
        raise SettingsError("; ".join(wrong)) from None


def _sentence(kind: str, message: str) -> str:
    return (
        "is not set" if kind == "missing" else message.removeprefix("Value error, ").replace("Input should", "should")
    )
