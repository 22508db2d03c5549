"""`scheduledjobs run`: one replica of the operator."""

from __future__ import annotations

import asyncio
import logging
import os
import threading

import click

from scheduledjobs import interpreter
from scheduledjobs.app import run
from scheduledjobs.core.quota import Quotas
from scheduledjobs.handlers import tracing
from scheduledjobs.logs import set_up_logs
from scheduledjobs.settings import Settings, load

NOTHING: tuple[object, ...] = (None, "", (), {}, Quotas())
"""Defaults that say nothing."""


class SettingsHelp(click.Command):
    """A command whose help lists the settings."""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write every setting, its default and what it is for."""
        with formatter.section("Settings (environment variables)"):
            formatter.write_dl([(_variable(name), _about(name)) for name in Settings.model_fields])


def _variable(name: str) -> str:
    return f"SCHEDULEDJOBS_{name.upper()}"


def _about(name: str) -> str:
    field = Settings.model_fields[name]
    if field.is_required():
        return f"{field.description}  [required]"
    default = field.default if field.default_factory is None else "this machine's"
    shown = ",".join(default) if isinstance(default, tuple) else default
    return f"{field.description}  [default: {'none' if shown in NOTHING else shown}]"


@click.command(cls=SettingsHelp)
def command() -> None:
    """Run one replica of the operator until SIGTERM; start as many as you like.

    The cluster is the one of KUBECONFIG, or the one whose pod this is. The database is migrated at the start. Traces go
    to the collector of OTEL_EXPORTER_OTLP_ENDPOINT, such as http://collector:4318, if it is set.
    """
    settings = load()
    set_up_logs(settings.log_format, settings.log_level, settings.hostname)
    tracing.set_up(settings.hostname)
    interpreter.set_up()
    asyncio.run(run(settings))
    tracing.shut_down()
    leave()


def leave() -> None:
    """End now: a thread that still runs job code cannot be stopped, and Python would wait for it beyond every grace.

    Executors wait for their threads at the end even where these are daemons.
    """
    if threading.active_count() > 1:
        logging.shutdown()
        os._exit(0)
