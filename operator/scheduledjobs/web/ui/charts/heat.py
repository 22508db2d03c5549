"""The outcomes of a week by day and hour of the job's zone; a cell with failures says how many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from markupsafe import Markup

from scheduledjobs.core.zone import load_zone
from scheduledjobs.errors import SpecError
from scheduledjobs.web.models import HeatCell
from scheduledjobs.web.ui.charts.drawing import count, joined, nothing

HOURS = 24
LEFT, TOP = 74, 18
CELL, GAP = 26, 3
LEVELS = 4


def heat_map(cells: Sequence[HeatCell], zone: str) -> Markup:
    """Return a row a day, oldest first; an hour that comes twice where clocks go back is one cell.

    Where the zone is not known, or is so no more, the days are those of UTC.
    """
    if not cells:
        return nothing("No outcome in the last seven days.")
    here = _zone(zone)
    sums: dict[tuple[date, int], Counter[str]] = {}
    for cell in cells:
        local = cell.start.astimezone(here)
        tally = sums.setdefault((local.date(), local.hour), Counter())
        tally.update(succeeded=cell.succeeded, failed=cell.failed, not_run=cell.not_run)
    first, last = min(day for day, _ in sums), max(day for day, _ in sums)
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    most = max(tally.total() for tally in sums.values())
    width, height = LEFT + HOURS * (CELL + GAP), TOP + len(days) * (CELL + GAP)
    marks = [_hours(), *(_day(day, row) for row, day in enumerate(days))]
    marks += [_cell(day, hour, days.index(day), tally, most) for (day, hour), tally in sums.items()]
    total = sum(sums.values(), Counter())
    name = (
        f"Outcomes by day and hour in {here.key}: {total['succeeded']} succeeded, {total['failed']} failed, "
        f"{total['not_run']} did not run"
    )
    return Markup(
        '<figure class="chart"><figcaption>{}</figcaption><div class="chart-scroll" tabindex="0" role="group"'
        ' aria-label="Heat map, scrollable"><svg class="chart-heat" width="{}" height="{}" viewBox="0 0 {} {}"'
        ' role="group" aria-label="{}">{}</svg></div></figure>'
    ).format(name, width, height, width, height, name, joined(marks))


def _zone(name: str) -> ZoneInfo:
    try:
        return load_zone(name)
    except SpecError:  # the job is not scheduled by it either
        return load_zone("Etc/UTC")


def _hours() -> Markup:
    text = Markup('<text aria-hidden="true" x="{}" y="11">{}</text>')
    return joined(text.format(LEFT + hour * (CELL + GAP), f"{hour:02}") for hour in range(0, HOURS, 3))


def _day(day: date, row: int) -> Markup:
    """The day's name, and the empty cells as one path."""
    y = TOP + row * (CELL + GAP)
    cells = "".join(f"M{LEFT + hour * (CELL + GAP)} {y}h{CELL}v{CELL}h-{CELL}z" for hour in range(HOURS))
    return Markup('<text aria-hidden="true" x="0" y="{}">{}</text><path class="heat-none" d="{}"/>').format(
        y + CELL * 0.68, f"{day:%a} {day.day} {day:%b}", cells
    )


def _cell(day: date, hour: int, row: int, tally: Counter[str], most: int) -> Markup:
    level = max(1, round(LEVELS * tally.total() / most))
    css = "s-failed" if tally["failed"] else "s-succeeded" if tally["succeeded"] else "s-skipped"
    words = [f"{tally['succeeded']} succeeded", f"{tally['failed']} failed", f"{tally['not_run']} did not run"]
    title = f"{day:%a} {day.day} {day:%b}, {hour:02}:00: {', '.join(words)} of {count(tally.total(), 'moment')}"
    x, y = LEFT + hour * (CELL + GAP), TOP + row * (CELL + GAP)
    number = Markup('<text class="heat-count" x="{}" y="{}">{}</text>').format(
        x + CELL // 2, y + CELL * 0.68, _short(tally["failed"])
    )
    return Markup(
        '<g aria-hidden="true"><title>{}</title><rect class="heat-{} {}" x="{}" y="{}" width="{}" height="{}" rx="4"/>'
        "{}</g>"
    ).format(title, level, css, x, y, CELL, CELL, number if tally["failed"] else "")


def _short(number: int) -> str:
    return str(number) if number < 100 else "99+"
