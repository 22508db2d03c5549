"""`scheduledjobs notices`: try the webhooks of SCHEDULEDJOBS_WEBHOOKS."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import click

from scheduledjobs.core.notice_forms import trial_body
from scheduledjobs.core.notices import Webhook
from scheduledjobs.errors import WebhookError
from scheduledjobs.settings import load
from scheduledjobs.webhooks.post import post


@click.group()
def command() -> None:
    """Try the webhooks that notices of failures, recoveries, misses and long runs go to."""


@command.command()
@click.argument("name")
def test(name: str) -> None:
    """Send a message to the webhook NAME that says that it arrives; waits at most 5 s.

    Takes the settings of `scheduledjobs run`: call it in a pod of the operator. Exits with 1 if it did not arrive.
    """
    settings = load()
    webhook = settings.webhooks.get(name)
    if webhook is None:
        known = ", ".join(sorted(settings.webhooks)) or "none"
        raise click.BadParameter(f"SCHEDULEDJOBS_WEBHOOKS has no {name!r}; known are: {known}", param_hint="NAME")
    source = f"/scheduledjobs/{settings.lease_namespace}/{settings.lease_name}"
    began = time.monotonic()
    try:
        status = asyncio.run(_send(name, webhook, source))
    except WebhookError as error:
        raise click.ClickException(f"{name}: {error}") from None
    click.echo(f"{name} ({webhook.format}) answered {status} after {(time.monotonic() - began) * 1000:.0f} ms")


async def _send(name: str, webhook: Webhook, source: str) -> int:
    now = datetime.now(UTC)
    return await post(webhook, trial_body(webhook.format, name, source, now), now)
