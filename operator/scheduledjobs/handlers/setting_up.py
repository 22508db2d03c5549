"""What every process that checks or runs payloads is told by the settings, before it reads its first one."""

from __future__ import annotations

from scheduledjobs.handlers.credentials import allow_credentials
from scheduledjobs.handlers.http import allow
from scheduledjobs.handlers.registry import Registry, load_registry
from scheduledjobs.handlers.sql import allow_connections
from scheduledjobs.settings import Settings


def set_up_handlers(settings: Settings) -> Registry:
    """Tell the built-in handlers what they may reach, and return all handlers; `SettingsError` names what is wrong."""
    allow(settings.http_allow)
    allow_credentials(settings.credentials)
    allow_connections(settings.database_url.get_secret_value(), settings.sql_connections)
    return load_registry(settings.handlers)
