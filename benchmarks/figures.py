"""Figures and what they are held against: pure, so that a verdict can be tested without measuring anything."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MET_GOAL, MET_GATE, MISSED = "met goal", "met gate", "missed"
HEAD = ("figure", "value", "range", "gate", "goal", "verdict", "of the floor")


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure must reach (`gate`) and should reach (`goal`): at least, or at most where `is_limit`."""

    gate: float
    goal: float
    is_limit: bool

    def verdict(self, value: float) -> str:
        """Return whether the value met the goal, only the gate, or neither; a value that is not there is a miss."""
        for word, bound in ((MET_GOAL, self.goal), (MET_GATE, self.gate)):
            if value <= bound if self.is_limit else value >= bound:
                return word
        return MISSED


def at_least(gate: float, goal: float | None = None) -> Goal:
    """Return what a rate is held against; one bound where gate and goal are the same."""
    return Goal(gate, gate if goal is None else goal, is_limit=False)


def at_most(gate: float, goal: float | None = None) -> Goal:
    """Return what a time or a size is held against; one bound where gate and goal are the same."""
    return Goal(gate, gate if goal is None else goal, is_limit=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a unit: its values, one a run, and what their median is held against.

    `floor` is the same figure of bare SQL in the same run, for rates.
    """

    name: str
    values: tuple[float, ...]
    unit: str = ""
    goal: Goal | None = None
    floor: float | None = None

    @property
    def value(self) -> float:
        """The median of the runs; not a number where there are none."""
        return statistics.median(self.values) if self.values else math.nan

    @property
    def verdict(self) -> str:
        """What came of it: `met goal`, `met gate`, `missed`, or nothing where it is not held against anything."""
        return self.goal.verdict(self.value) if self.goal else ""

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        goal = self.goal
        several = len(self.values) > 1
        return (
            self.name,
            f"{shown(self.value)} {self.unit}".strip(),
            f"{shown(min(self.values))} to {shown(max(self.values))}" if several else "",
            f"{'<=' if goal.is_limit else '>='} {shown(goal.gate)}" if goal else "",
            f"{'<=' if goal.is_limit else '>='} {shown(goal.goal)}" if goal else "",
            self.verdict,
            f"{self.value / self.floor:.0%}" if self.floor else "",
        )


def shown(value: float) -> str:
    """Return a number as a person reads it: three digits that count, thousands apart."""
    if not math.isfinite(value):
        return "none"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as lines of text, its columns as wide as they must be; an empty column is left out."""
    listed = [tuple(row) for row in rows]
    kept = [at for at in range(len(head)) if any(row[at] for row in listed)]
    lines = [[line[at] for at in kept] for line in (head, *listed)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(kept))]
    return "\n".join(
        "  ".join(cell.ljust(wide) for cell, wide in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the smallest of the rising values that `part` of them do not exceed; not a number where there are none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how much y rises with each unit of x, by least squares; 0 where the points say nothing of it."""
    if len({x for x, _ in points}) < 2:
        return 0.0
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late executions began, in milliseconds: of how many, the first, the middle, and the last of them."""

    n: int
    first: float
    p50: float
    p99: float
    last: float
    early: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Lateness:
        """Return what these values come to."""
        ordered = sorted(values)
        ends = (ordered[0], ordered[-1]) if ordered else (math.nan, math.nan)
        p50, p99 = percentile(ordered, 0.5), percentile(ordered, 0.99)
        return cls(len(ordered), ends[0], p50, p99, ends[1], sum(value < 0 for value in ordered))
