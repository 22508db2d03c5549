"""When robfig/cron fires, by brute force over minutes: an oracle that shares nothing with our cron or zones.

A minute of real time fires if its local time matches: so a fixed time in a gap never comes, and in an overlap twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

MACROS = {"@hourly": "0 * * * *", "@weekly": "0 0 * * 0"}
MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
BOUNDS = ((0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, MONTHS), (0, 6, DAYS))


class Robfig:
    """A CronJob's schedule; `ValueError` for one that no CronJob could have."""

    def __init__(self, text: str, zone: str) -> None:
        fields = MACROS.get(text, text).split()
        read = [_field(field, *bounds) for field, bounds in zip(fields, BOUNDS, strict=True)]
        self.minutes, self.hours, self.days, self.months, self.weekdays = (values for values, _ in read)
        self.is_either = not (read[2][1] or read[4][1])
        self.zone = ZoneInfo(zone)

    def fires(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the moments in (after, until], both at a whole quarter of an hour: offsets change at such only."""
        quarter = after
        while quarter < until:
            local = quarter.astimezone(self.zone)
            if self._matches(local):
                minutes = (quarter + timedelta(minutes=k) for k in range(15))
                yield from (at for at in minutes if at > after and at.astimezone(self.zone).minute in self.minutes)
            quarter += timedelta(minutes=15)
        if self._matches(until.astimezone(self.zone)) and until.astimezone(self.zone).minute in self.minutes:
            yield until

    def _matches(self, local: datetime) -> bool:
        return local.hour in self.hours and self.fires_on(local)

    def fires_on(self, local: date) -> bool:
        """Whether the day fields and the month match."""
        if local.month not in self.months:
            return False
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return day or weekday if self.is_either else day and weekday


def _field(field: str, low: int, high: int, names: dict[str, int]) -> tuple[set[int], bool]:
    """Return the values of a field, and whether it is a star."""
    found: set[int] = set()
    is_star = False
    for part in field.lower().split(","):
        body, slash, text = part.partition("/")
        step = int(text) if slash else 1
        first, _, last = body.partition("-")
        if first in ("*", "?"):
            found |= set(range(low, high + 1, step))
            is_star = is_star or step == 1
            continue
        begin = names[first] if first in names else int(first)
        end = (names[last] if last in names else int(last)) if last else (high if slash else begin)
        if not low <= begin <= end <= high:
            raise ValueError(f"{part!r} is no range of robfig/cron's")
        found |= set(range(begin, end + 1, step))
    return found, is_star
