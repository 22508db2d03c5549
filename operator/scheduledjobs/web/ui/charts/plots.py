"""How long a job's runs took and how late they began: a dot a run, oldest at the left.

Runs that failed, and the largest values, say what they are and lead to their execution; the others are one path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log10

from markupsafe import Markup

from scheduledjobs.web.models import Execution
from scheduledjobs.web.ui.charts.drawing import (
    WIDTH,
    clock,
    count,
    described,
    group,
    joined,
    labels,
    linked,
    nothing,
    path,
    spell_ms,
    state_class,
    state_word,
)

HEIGHT = 120
TOP, FLOOR = 6, HEIGHT - 6
NAMED = 20
"""So many of the largest values have words of their own."""

SPREAD = 50
"""From so many times the median on, the largest value would press the others to the floor: the scale is logarithmic."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From milliseconds to the height in the drawing."""

    high: float
    is_logarithmic: bool

    def y(self, value: float) -> float:
        """Return where a value lies, from the top."""
        share = log10(1 + value) / log10(1 + self.high) if self.is_logarithmic else value / self.high
        return FLOOR - (FLOOR - TOP) * min(1.0, max(0.0, share))

    def ticks(self) -> list[float]:
        """Return the values at the top, the middle and the floor."""
        middle = 10 ** (log10(1 + self.high) / 2) - 1 if self.is_logarithmic else self.high / 2
        return [self.high, middle, 0]


def duration_plot(runs: Sequence[Execution]) -> Markup:
    """Return how long the runs took, given oldest first."""
    return _plot("Duration", runs, lambda run: run.duration_ms)


def lateness_plot(runs: Sequence[Execution]) -> Markup:
    """Return how long after their due moment the runs began, given oldest first."""
    return _plot("Lateness", runs, lambda run: run.lateness_ms)


def _plot(name: str, runs: Sequence[Execution], value_of: Callable[[Execution], int | None]) -> Markup:
    points = [(run, max(0, value)) for run in runs if (value := value_of(run)) is not None]
    if not points:
        return nothing("No run has ended yet.")
    values = sorted(value for _, value in points)
    median, p95 = values[len(values) // 2], values[min(len(values) - 1, len(values) * 95 // 100)]
    scale = Scale(_nice(values[-1]), values[-1] > SPREAD * max(1, median))
    sentence = f"{name} of {count(len(points), 'run')}: median {spell_ms(median)}, p95 {spell_ms(p95)}"
    lines = path("chart-line", f"M0 {TOP}H{WIDTH}M0 {(TOP + FLOOR) / 2:.0f}H{WIDTH}M0 {FLOOR}H{WIDTH}")
    middle = path("chart-median", f"M0 {scale.y(median):.0f}H{WIDTH}")
    drawing = group("chart-plot", HEIGHT, sentence, joined([lines, middle, *_dots(points, scale)]))
    figure = Markup('<figure class="chart"><figcaption>{}{}</figcaption><div class="chart-frame">{}{}</div>{}</figure>')
    return figure.format(
        sentence,
        " (logarithmic scale)" if scale.is_logarithmic else "",
        labels("chart-y", [spell_ms(tick) for tick in scale.ticks()]),
        drawing,
        labels("chart-x", dict.fromkeys(f"{clock(run.fire_time)} UTC" for run in (points[0][0], points[-1][0]))),
    )


def _dots(points: Sequence[tuple[Execution, int]], scale: Scale) -> list[Markup]:
    """A dot is a stroke without length and with round ends, so that it stays round when the drawing is stretched."""
    slow = {id(run) for run, _ in sorted(points, key=lambda point: point[1])[-NAMED:]}
    step = (WIDTH - 20) / max(1, len(points) - 1)
    plain, named = [], []
    for i, (run, value) in enumerate(points):
        css, d = state_class(run.state), f"M{10 + i * step:.0f} {scale.y(value):.0f}h0"
        if css == "s-succeeded" and id(run) not in slow:
            plain.append(d)
        else:
            words = f"{clock(run.fire_time)} UTC: {state_word(run.state).lower()}, {spell_ms(value)}"
            named.append(linked(run.id, described(f"chart-dot {css}", d, words)))
    return [path("chart-dot s-succeeded", "".join(plain)), *named] if plain else named


def _nice(value: float) -> float:
    """The next of 1, 2, 5, 10, 20... that is not smaller."""
    size = 1.0
    while True:
        for factor in (1, 2, 5):
            if factor * size >= value:
                return factor * size
        size *= 10
