"""What is measured: a shape of load, given to a subject in one of its modes, gives figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.postgres import Ground

Figures = Mapping[str, float]
"""What a run gave. U1: `rate` in executions a second. U3: `first`, `p50`, `p99`, `last`; U4: `p50`, `p99`, `max` in
milliseconds after the due moment, and `early`, how many were before it."""


class RunFailed(Exception):
    """A run gave no figures; the text says why, in a few words."""


@dataclass(frozen=True)
class Shape:
    """A load. U1: `count` jobs that wait already. U3: `count` due at one moment. U4: `count` spread over `seconds`."""

    unit: str
    count: int
    processes: int = 1
    seconds: int = 0

    @property
    def title(self) -> str:
        """Say what it is; the same for every subject, whatever number of jobs it is given."""
        if self.unit == "U1":
            return f"U1: drain of waiting jobs by {self.processes} process{'es' if self.processes > 1 else ''}"
        if self.unit == "U3":
            return f"U3: {self.count:,} jobs due at one moment"
        return f"U4: {self.count / self.seconds:g} jobs due a second, for {self.seconds} s"


@dataclass(frozen=True, eq=False)
class Subject:
    """One row of the tables."""

    name: str
    language: str
    release: str
    keeps_history: bool
    settings: Mapping[str, str]
    """A sentence for each mode."""
    measure: Callable[[Shape, str, Ground], Figures]
    """Measure one run of a shape in a mode on a fresh database; RunFailed where there is nothing to say."""
    prepare: Callable[[], object]
    """Build what it needs; SystemExit with a sentence where that cannot be."""
    units: frozenset[str]
    most_processes: int = 2
    most_runs: int = 100
    """Of which more would take too long."""
    with_history: bool = False
    """Whether it writes a history that it does not have of itself; nobody has that at the defaults."""

    is_ours: bool = False
    remark: str = ""
