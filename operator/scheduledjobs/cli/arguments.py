"""What several commands take: a job, a moment, and the database."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from scheduledjobs.core.duration import parse_duration
from scheduledjobs.core.schedule import YEARS, is_askable


def job_argument(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, str] | None:
    """Read NAMESPACE/NAME."""
    if value is None:
        return None
    namespace, slash, name = value.partition("/")
    if not slash or not namespace or not name or "/" in name:
        raise click.BadParameter("must be NAMESPACE/NAME, such as finance/nightly-report")
    return namespace, name


def moment(value: str, *, needs_offset: bool = True) -> datetime:
    """Read RFC 3339; without `needs_offset` a time without one is returned as it is."""
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        raise click.BadParameter("must be RFC 3339, such as 2026-12-24T18:00:00Z") from None
    if not is_askable(found):
        raise click.BadParameter(f"must lie in the years {YEARS[0]} to {YEARS[-1]}")
    if found.tzinfo is not None:
        return found.astimezone(UTC)
    if needs_offset:
        raise click.BadParameter("must say its offset, such as 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00")
    return found


def since(value: str, now: datetime) -> datetime:
    """Return the beginning of a range that ends now: RFC 3339, or a duration such as 10m."""
    try:
        return now - parse_duration(value)
    except ValueError:
        return moment(value)
