"""`scheduledjobs next`: what a cron expression means, and when it fires."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from scheduledjobs.cli import arguments
from scheduledjobs.core.schedule import next_fire, parse_schedule
from scheduledjobs.core.words import words
from scheduledjobs.core.zone import load_zone


def _instant(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime:
    if value is None:
        return datetime.now(UTC)
    return arguments.moment(value)


@click.command(name="next")
@click.argument("expression", metavar="EXPR")
@click.option("--time-zone", default="Etc/UTC", show_default=True, help="IANA time zone that EXPR is read in.")
@click.option("--after", callback=_instant, metavar="TIME", help="Fires after this moment, RFC 3339.  [default: now]")
@click.option("--count", default=5, show_default=True, type=click.IntRange(1, 1000), help="How many fires to show.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of RFC 3339 strings in UTC.")
def command(expression: str, time_zone: str, after: datetime, count: int, *, as_json: bool) -> None:
    """Show cron EXPR in words and its next fires, in its zone and in UTC, exactly as the operator fires them."""
    schedule = parse_schedule(schedule=expression, time_zone=time_zone)
    fires: list[datetime] = []
    while len(fires) < count and (found := next_fire(schedule, fires[-1] if fires else after)):
        fires.append(found)
    if as_json:
        click.echo(json.dumps([f"{fire:%Y-%m-%dT%H:%M:%SZ}" for fire in fires]))
        return
    click.echo(f"{words(schedule)} ({time_zone})")
    zone = load_zone(time_zone)
    for fire in fires:
        local = fire.astimezone(zone)
        click.echo(f"{local:%a %Y-%m-%d %H:%M:%S %z %Z}".ljust(36) + f"  {fire:%Y-%m-%d %H:%M:%S} UTC")
