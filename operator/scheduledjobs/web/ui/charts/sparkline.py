"""The last outcomes of a job in 180 by 21 pixels: a step a run, as high as the run was long, coloured by its state.

Fifty of them stand on one page, so the markup is short: one path a state, equal neighbours are one step, and the gaps
between the steps are a mask in the style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import log

from markupsafe import Markup

from scheduledjobs.core.reasons import State
from scheduledjobs.web.models import Outcome
from scheduledjobs.web.ui.charts.drawing import joined, path, spell_ms, state_class

MOST = 60
HEIGHT = 7
"""Units, of three pixels each: few levels, so that neighbours are often equal, and short numbers."""

LOWEST, HIGHEST = 2, 7
NOT_A_RUN = 1
ORDER = ("s-succeeded", "s-cancelled", "s-skipped", "s-pending", "s-running", "s-missed", "s-failed")


def sparkline(outcomes: Sequence[Outcome]) -> Markup:
    """Return the newest 60 outcomes, given newest first, drawn with the newest at the right."""
    newest = list(reversed(outcomes[:MOST]))
    if not newest:
        return Markup('<span class="muted">no runs yet</span>')
    first = MOST - len(newest)
    heights = _heights(newest)
    steps = [(state_class(run.state), first + i, heights[i]) for i, run in enumerate(newest)]
    drawn: dict[str, list[str]] = {}
    for css, run in groupby(steps, key=lambda step: step[0]):
        drawn.setdefault(css, []).append(_stair([(x, height) for _, x, height in run]))
    paths = joined(path(css, "".join(drawn[css])) for css in ORDER if css in drawn)
    svg = Markup('<svg class="spark" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>')
    return svg.format(MOST, HEIGHT, _sentence(outcomes[:MOST]), paths)


def _heights(outcomes: Sequence[Outcome]) -> list[int]:
    """Steps grow with the logarithm of the duration: one very long run leaves the others visible."""
    longest = max((run.duration_ms or 0 for run in outcomes), default=0)
    if longest <= 0:
        return [HIGHEST // 2 if run.duration_ms is not None else NOT_A_RUN for run in outcomes]
    scale = (HIGHEST - LOWEST) / log(1 + longest)
    return [
        NOT_A_RUN if run.duration_ms is None else round(LOWEST + scale * log(1 + max(run.duration_ms, 0)))
        for run in outcomes
    ]


def _stair(steps: Sequence[tuple[int, int]]) -> str:
    """One closed outline of steps that touch each other: down to the floor, over the steps, back to the floor."""
    parts = [f"M{steps[0][0]} {HEIGHT}"]
    for height, equal in groupby(steps, key=lambda step: step[1]):
        parts.append(f"V{HEIGHT - height}h{len(list(equal))}")
    return "".join(parts) + f"V{HEIGHT}"


def _sentence(outcomes: Sequence[Outcome]) -> str:
    bad = sum(state_class(run.state) == "s-failed" for run in outcomes)
    durations = sorted(run.duration_ms for run in outcomes if run.duration_ms is not None)
    parts = [f"Last {len(outcomes)}: {bad} failed" if bad else f"Last {len(outcomes)}: none failed"]
    idle = sum(run.state in (State.SKIPPED, State.MISSED) for run in outcomes)
    if idle:
        parts.append(f"{idle} did not run")
    if durations:
        parts.append(f"median {spell_ms(durations[len(durations) // 2])}")
    return ", ".join(parts)
