"""What every process that checks or runs payloads is told by the settings, before it reads its first one."""

from __future__ import annotations

from scheduledjobs.handlers import kubernetes_job
from scheduledjobs.handlers.credentials import allow_credentials
from scheduledjobs.handlers.http import allow
from scheduledjobs.handlers.kubernetes_job import allow_jobs
from scheduledjobs.handlers.registry import Registry, load_registry
from scheduledjobs.handlers.sql import allow_connections
from scheduledjobs.settings import Settings


def set_up_handlers(settings: Settings) -> Registry:
    """Tell the built-in handlers what they may reach, and return all handlers; `SettingsError` names what is wrong."""
    allow(settings.http_allow)
    allow_credentials(settings.credentials)
    allow_connections(settings.database_url.get_secret_value(), settings.sql_connections)
    registry = load_registry(settings.handlers)
    if settings.kubernetes_job:
        allow_jobs(settings.kubernetes_job_service_accounts, settings.watch_namespaces)
        registry.add_module(kubernetes_job)
    return registry
