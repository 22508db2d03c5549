"""Tables of what was measured, best first, losers too; and in one sentence whether ours is first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.peers.observe import summarise
from benchmarks.peers.plan import Case
from benchmarks.peers.subject import Figures, Shape

COLUMNS = {
    "U1": ["rate"],
    "U3": ["first", "p50", "p99", "last"],
    "U4": ["p50", "p99", "max", "early"],
}
HEADINGS = {"rate": "executions/s", "early": "early"}
"""What is not milliseconds."""

JUDGED = {"U1": "rate", "U3": "last", "U4": "p99"}
"""By which figure rows are sorted; of a rate more is better, of a lateness less."""


@dataclass
class Row:
    """One cell and what its runs gave."""

    case: Case
    runs: list[Figures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def median(self, figure: str) -> float | None:
        """Return the median of a figure, or None if no run gave it."""
        return summarise([run[figure] for run in self.runs]).median if self.runs else None

    @property
    def is_capped(self) -> bool:
        """True if a drain had not ended at the cap: it is not made again."""
        return self.case.shape.unit == "U1" and any(run["left"] for run in self.runs)

    @property
    def title(self) -> str:
        """Name it; at its defaults that is said."""
        return f"{self.case.subject.name}{'' if self.case.mode == 'best' else ' (defaults)'}"


def ordered(rows: Sequence[Row], unit: str) -> list[Row]:
    """Return rows best first, those without figures last."""
    sign = -1 if unit == "U1" else 1

    def key(row: Row) -> tuple[bool, float]:
        value = row.median(JUDGED[unit])
        return value is None, 0.0 if value is None else sign * value

    return sorted(rows, key=key)


def shown(value: float) -> str:
    """Write a figure with as many digits as say something."""
    if math.isinf(value):
        return "not reached"
    return f"{value:,.1f}" if abs(value) < 100 and value != int(value) else f"{value:,.0f}"


def cells(row: Row, unit: str) -> list[str]:
    """Return the figures of a row as text: the median, and the range where there was more than one run."""
    found = []
    for figure in COLUMNS[unit]:
        if not row.runs:
            found.append("-")
            continue
        spread = summarise([run[figure] for run in row.runs])
        span = f" ({shown(spread.least)} to {shown(spread.most)})" if spread.runs > 1 else ""
        found.append(f"{shown(spread.median)}{span}")
    return found


def note(row: Row) -> str:
    """Say what else there is to know of the runs of a row."""
    logged = [run["p99 of the log"] for run in row.runs if "p99 of the log" in run]
    said = [f"p99 by `started_at` in the log: {shown(summarise(logged).median)} ms"] if logged else []
    if short := [run for run in row.runs if run["left"]]:
        most = max(run["left"] for run in short)
        of_runs = f" in {len(short)} of {len(row.runs)} runs" if len(row.runs) > 1 else ""
        said.append(f"{'up to ' if len(short) > 1 else ''}{most:,.0f} of {_jobs(row):,.0f} jobs had not run{of_runs}")
    return "; ".join([*said, *(f"failed: {failure}" for failure in dict.fromkeys(row.failures))])


def _jobs(row: Row) -> float:
    """Return how many executions a run should have had: of jobs that come each minute, those of all minutes."""
    return row.runs[0].get("of", row.case.shape.count) if row.runs else row.case.shape.count


def layout(shape: Shape, rows: Sequence[Row]) -> list[list[str]]:
    """Return a table as lines of cells, its headings first."""
    figures = [HEADINGS.get(each, f"{each} ms") for each in COLUMNS[shape.unit]]
    lines = [["", "release", "history", *figures, "runs", "jobs", "note"]]
    for row in ordered(rows, shape.unit):
        subject = row.case.subject
        lines.append(
            [
                row.title,
                subject.release,
                "kept" if subject.keeps_history else "none",
                *cells(row, shape.unit),
                str(len(row.runs) + len(row.failures)),
                f"{_jobs(row):,.0f}",
                note(row),
            ]
        )
    return lines


def plain(lines: Sequence[Sequence[str]]) -> str:
    """Write lines of cells as text in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Write lines of cells as a table of Markdown."""
    head, *body = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *body])


def settings(rows: Sequence[Row]) -> list[str]:
    """Say of each subject once what it is and which settings it had."""
    found: dict[str, str] = {}
    for row in rows:
        subject = row.case.subject
        modes = [f"{mode}: {text}" for mode, text in subject.settings.items() if text]
        remark = [f"note: {subject.remark}"] if subject.remark else []
        name = f"{subject.name} {subject.release} ({subject.language})"
        found.setdefault(subject.name, f"{name}. {'. '.join([*modes, *remark])}.")
    return list(found.values())


def verdict(shape: Shape, rows: Sequence[Row]) -> str:
    """Say in one sentence whether ours is first: in U1 among those that keep history, else among all."""
    unit = shape.unit
    judged = [row for row in ordered(rows, unit) if row.median(JUDGED[unit]) is not None]
    if unit == "U1":
        judged = [row for row in judged if row.case.subject.keeps_history]
    among = "those that keep history" if unit == "U1" else "all"
    ours = next((row for row in judged if row.case.subject.is_ours), None)
    if ours is None:
        return "ScheduledJobs has no figure here, so it is not first."
    if len({row.case.subject.name for row in judged}) == 1:
        return "No other was measured here, so nothing is said of who is first."
    if judged[0].case.subject.is_ours:
        return f"ScheduledJobs is first among {among}."
    unit_of = "executions/s" if unit == "U1" else f"ms {JUDGED[unit]}"
    first, own = (shown(row.median(JUDGED[unit]) or 0.0) for row in (judged[0], ours))
    place = judged.index(ours) + 1
    return (
        f"ScheduledJobs is not first among {among}: {judged[0].title} has {first} {unit_of}, ours {own} (row {place})."
    )


def report(setup: str, tables: Sequence[tuple[Shape, Sequence[Row]]], *, as_markdown: bool, quick: bool = False) -> str:
    """Write everything: setup, a table a shape of load with its verdict, and the settings of all."""
    parts = [f"Setup: {setup}.", *(["Too few jobs for the figures to mean anything."] if quick else [])]
    for shape, rows in tables:
        heading, write = ("### ", markdown) if as_markdown else ("", plain)
        parts += [f"{heading}{shape.title}", write(layout(shape, rows)), verdict(shape, rows)]
    bullet = "- " if as_markdown else "  "
    said = settings([row for _, rows in tables for row in rows])
    parts.append("\n".join(["Settings:", *([""] if as_markdown else []), *(f"{bullet}{each}" for each in said)]))
    return "\n\n".join(parts)
