"""What ran and what comes, a lane a job: strokes in the colour of the outcome before now, hollow ones after it."""

from __future__ import annotations

from datetime import datetime, timedelta

from markupsafe import Markup

from scheduledjobs.core.reasons import State
from scheduledjobs.web.models import Lane, Outcome, Timeline
from scheduledjobs.web.ui.charts.drawing import (
    MINUS,
    WIDTH,
    clock,
    count,
    described,
    group,
    joined,
    labels,
    linked,
    path,
    spell_ms,
    state_class,
    state_word,
)

HEIGHT = 28
TOP, FLOOR = 5, 23
LABELS = 9


def lanes(timeline: Timeline) -> list[tuple[Lane, Markup]]:
    """Return each lane with its drawing."""
    return [(one, lane(one, timeline.since, timeline.until, timeline.now)) for one in timeline.lanes]


def axis(timeline: Timeline) -> Markup:
    """Return the labels above the lanes: hours before and after now."""
    span = timeline.until - timeline.since
    return labels("chart-x", [_ago(timeline.since + span * i / (LABELS - 1), timeline.now) for i in range(LABELS)])


def lane(one: Lane, since: datetime, until: datetime, now: datetime) -> Markup:
    """Return one job's drawing; runs that did not simply succeed, or still run, lead to their execution."""
    span = until - since

    def x(moment: datetime) -> int:
        return round(WIDTH * min(1.0, max(0.0, (moment - since) / span)))

    quarter = [f"M{WIDTH * i // (LABELS - 1)} 0V{HEIGHT}" for i in range(LABELS)]
    marks = [path("chart-line", "".join(quarter)), path("lane-floor", f"M0 {HEIGHT / 2:.0f}H{WIDTH}")]
    plain = dict.fromkeys(f"M{x(run.fire_time)} {TOP}V{FLOOR}" for run in one.past if _is_plain(run))
    if plain:
        marks.append(path("lane-mark s-succeeded", "".join(plain)))
    coming = dict.fromkeys(f"M{x(moment)} {TOP + 4}V{FLOOR - 4}" for moment in one.coming)
    if coming:
        marks.append(path("lane-coming", "".join(coming)))
    marks += [_mark(run, x(run.fire_time)) for run in one.past if not _is_plain(run)]
    marks.append(path("lane-now", f"M{x(now)} 0V{HEIGHT}"))
    return group("chart-lane", HEIGHT, _sentence(one), joined(marks))


def _is_plain(run: Outcome) -> bool:
    return run.state is State.SUCCEEDED


def _mark(run: Outcome, x: int) -> Markup:
    words = f"{clock(run.fire_time)} UTC: {state_word(run.state).lower()}"
    if run.duration_ms is not None:
        words += f", {spell_ms(run.duration_ms)}"
    css = state_class(run.state)
    top, floor = (TOP + 4, FLOOR - 4) if css in ("s-skipped", "s-cancelled") else (TOP - 2, FLOOR + 2)
    return linked(run.id, described(f"lane-mark {css}", f"M{x} {top}V{floor}", words))


def _sentence(one: Lane) -> str:
    bad = sum(state_class(run.state) == "s-failed" for run in one.past)
    missed = sum(run.state is State.MISSED for run in one.past)
    text = f"{count(len(one.past), 'execution')} before now, {bad} failed, {missed} missed; {len(one.coming)} to come"
    return f"{text}; there are more than are drawn" if one.is_cut else text


def _ago(moment: datetime, now: datetime) -> str:
    hours = round((moment - now) / timedelta(hours=1))
    return f"{hours:+} h".replace("-", MINUS) if hours else "now"
