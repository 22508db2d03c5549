"""One execution from its due moment to its end: what it waited, each attempt, and the pauses between attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup

from scheduledjobs.core.reasons import State
from scheduledjobs.web.models import ExecutionDetail
from scheduledjobs.web.ui.charts.drawing import WIDTH, clock, image, joined, path, spell_ms, state_class, state_word

HEIGHT = 24
TOP, FLOOR = 4, 20
LEAST = 6
"""Units: what took no time at all still has a width that can be seen."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the execution's life."""

    css: str
    words: str
    began_at: datetime
    ended_at: datetime


def execution_timeline(detail: ExecutionDetail, now: datetime | None = None) -> Markup:
    """Return the drawing and a list that says the same in words; `now` ends what still goes on."""
    parts = _parts(detail, now)
    if not parts:
        return Markup('<p class="empty">{}</p>').format(f"It was never started: {state_word(detail.state).lower()}.")
    whole = sum(map(_length, parts))
    bars, x = [], 0.0
    room = WIDTH - LEAST * len(parts)
    for part in parts:
        share = _length(part) / whole if whole > 0 else 0
        width = LEAST + room * share
        inset = 5 if part.css == "run-wait" else 0
        bars.append(path(part.css, f"M{x:.0f} {TOP + inset}h{width:.0f}V{FLOOR - inset}h-{width:.0f}z"))
        x += width
    name = f"{spell_ms(whole)} from due to {'now' if detail.finished_at is None else 'finished'}"
    items = [_item("run-due", "Due", f"{clock(parts[0].began_at)} UTC")]
    items += [_item(part.css, part.words, spell_ms(_length(part))) for part in parts]
    if detail.finished_at is not None:
        items.append(_item(state_class(detail.state), state_word(detail.state), f"{clock(detail.finished_at)} UTC"))
    return Markup('<figure class="chart"><figcaption>{}</figcaption>{}<ol class="run-parts">{}</ol></figure>').format(
        name, image("chart-run", HEIGHT, name, joined(bars)), joined(items)
    )


def _item(css: str, what: str, value: str) -> Markup:
    key = Markup('<svg class="key" width="10" height="10" aria-hidden="true"><path class="{}" d="M1 1h8v8h-8z"/></svg>')
    item = Markup('<li>{}<span>{}</span> <span class="run-value">{}</span></li>')
    return item.format(key.format(css), what, value)


def _length(part: Part) -> float:
    return max(0.0, (part.ended_at - part.began_at) / timedelta(milliseconds=1))


def _parts(detail: ExecutionDetail, now: datetime | None) -> list[Part]:
    """Waits and attempts in turn; a time that is not known (a lost attempt's end) is where the next part begins."""
    starts = [(a.attempt, a.state, a.started_at, a.finished_at) for a in detail.attempts if a.started_at]
    if detail.started_at is not None and (not starts or starts[-1][0] < detail.attempt):
        starts.append((detail.attempt, detail.state, detail.started_at, detail.finished_at))
    parts: list[Part] = []
    at = detail.due_at or detail.fire_time  # its jitter is no wait: lateness counts from then, too
    for i, (attempt, state, started_at, finished_at) in enumerate(starts):
        if started_at is None:
            continue
        wait = "Waited to start" if i == 0 else "Waited to try again"
        parts.append(Part("run-wait", wait, at, max(at, started_at)))
        following = starts[i + 1][2] if i + 1 < len(starts) else None
        ended_at = finished_at or following or now or started_at
        word = state_word(state).lower()
        parts.append(Part(state_class(state), f"Attempt {attempt}: {word}", started_at, max(started_at, ended_at)))
        at = parts[-1].ended_at
    if detail.state is State.PENDING and now is not None:
        parts.append(Part("run-wait", "Waits", at, max(at, now)))
    return parts
