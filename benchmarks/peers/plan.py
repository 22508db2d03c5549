"""Which runs there are, in which order, and how long they will take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.peers.peer import MODES
from benchmarks.peers.subject import Shape, Subject

OUR_DRAIN, THEIR_DRAIN = 50_000, 20_000
BURST = 1_000
PER_SECOND, STEADY_SECONDS = 100, 60
QUICK, QUICK_SECONDS = 500, 5
SECONDS = {"U1": 30.0, "U3": 15.0, "U4": 15.0}
"""How long a run takes that was never made, besides the time in which jobs are due."""


@dataclass(frozen=True)
class Case:
    """One cell of the tables: a subject in a mode under a shape of load."""

    shape: Shape
    subject: Subject
    mode: str


def shapes(units: Sequence[str], *, quick: bool) -> list[Shape]:
    """Return the loads of the units, each with the number of jobs that peers are given."""
    drain, burst, seconds = (QUICK, QUICK, QUICK_SECONDS) if quick else (THEIR_DRAIN, BURST, STEADY_SECONDS)
    found: list[Shape] = []
    if "U1" in units:
        found += [Shape("U1", drain, processes=number) for number in ((1,) if quick else (1, 2))]
    if "U3" in units:
        found.append(Shape("U3", burst))
    if "U4" in units:
        found += [Shape("U4", PER_SECOND * seconds, seconds=seconds)]
    return found


def cases(shape: Shape, subjects: Sequence[Subject], *, quick: bool) -> list[Case]:
    """Return the cells of one table: all at their best, then all at their defaults, which get one process only."""
    found = []
    for mode in MODES[:1] if quick else MODES:
        for subject in subjects:
            is_too_much = shape.processes > (subject.most_processes if mode == "best" else 1)
            is_nobodys = mode != "best" and subject.with_history
            if shape.unit not in subject.units or is_too_much or is_nobodys:
                continue
            enlarged = subject.is_ours and shape.unit == "U1" and not quick
            found.append(Case(replace(shape, count=OUR_DRAIN) if enlarged else shape, subject, mode))
    return found


def wanted(case: Case, runs: int, own_runs: int) -> int:
    """Return how many runs a cell gets; ours has its own number.

    One: at the defaults, of others' second process, and of lateness with a history that was added, which is rather a
    question of throughput. With three of each the whole would take more than its two hours.
    """
    asked = own_runs if case.subject.is_ours else runs
    is_second = case.shape.processes > 1 and not case.subject.is_ours
    is_added = case.subject.with_history and case.shape.unit != "U1"
    is_once = case.mode != "best" or is_second or is_added
    return min(1 if is_once else asked, case.subject.most_runs)


def interleaved(found: Sequence[Case], runs: int, own_runs: int) -> Iterator[Case]:
    """Yield each case as often as it is wanted, ABCABC: a machine that changes meanwhile changes for all.

    The runs of one case are spread evenly over the time of all, so more runs of one are between those of the others.
    """
    places = []
    for number, case in enumerate(found):
        times = wanted(case, runs, own_runs)
        places += [((turn + 0.5) / times, number, case) for turn in range(times)]
    yield from (case for _, _, case in sorted(places, key=lambda place: place[:2]))


def seconds(case: Case, took: Mapping[Case, float]) -> float:
    """Return how long a run will take: as long as the last one of its kind, or a guess."""
    return took.get(case, SECONDS[case.shape.unit] + case.shape.seconds)
