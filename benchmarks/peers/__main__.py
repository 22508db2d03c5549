"""`make bench-peers`: ScheduledJobs beside other schedulers and job queues, on one PostgreSQL of this machine.

Every run has a fresh database; runs of all are interleaved; figures are medians with their range. Everything shares the
machine's cores, so compare figures only within one run of this program. Interrupted, it stops what it has started and
prints what it has.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from shutil import rmtree

from dev.postgres import new_folder
from dev.processes import exit_with, say

from benchmarks.peers import all as registry
from benchmarks.peers import ours
from benchmarks.peers.peer import UNITS
from benchmarks.peers.plan import Case, cases, interleaved, seconds, shapes
from benchmarks.peers.subject import Subject
from benchmarks.peers.table import Row, report
from benchmarks.postgres import Ground, ground


def subjects(only: Sequence[str]) -> list[Subject]:
    """Return whom to measure: all, or those whose name has one of the words in it."""
    found = [ours.subject(), *registry.subjects()]
    for word in only:
        if not any(word.lower() in subject.name.lower() for subject in found):
            raise SystemExit(f"scheduledjobs: there is no {word}: {', '.join(subject.name for subject in found)}")
    return [each for each in found if not only or any(word.lower() in each.name.lower() for word in only)]


class Program:
    """What is to be measured, and what was."""

    def __init__(self, words: argparse.Namespace) -> None:
        self._words = words
        self._whom = subjects(words.only)
        self._rows: dict[Case, Row] = {}
        self._took: dict[Case, float] = {}
        self._broken: dict[str, str] = {}

    def prepare(self) -> None:
        """Build what all need; who cannot be built gets rows that say so."""
        for subject in self._whom:
            try:
                subject.prepare()
            except SystemExit as error:
                say(f"{subject.name} is left out: {error}")
                self._broken[subject.name] = str(error).removeprefix("scheduledjobs: ")

    def run(self, on: Ground) -> None:
        """Make all runs, each said before."""
        runs = self._planned()
        for number, case in enumerate(runs):
            rest = [each for each in runs[number:] if not self._rows[each].is_capped]
            left = sum(seconds(each, self._took) for each in rest) / 60
            name = self._rows[case].title
            if self._rows[case].is_capped:  # its figure is a bound already, and costs two minutes each time
                say(f"run {number + 1} of {len(runs)} is left out: {name} had not ended at the cap")
                continue
            say(f"run {number + 1} of {len(runs)}, {left:.0f} min left: {name}, {case.shape.title}")
            self._run(case, on)

    def _planned(self) -> list[Case]:
        found: list[Case] = []
        for shape in shapes(self._words.units, quick=self._words.quick):
            of_shape = cases(shape, self._whom, quick=self._words.quick)
            for case in of_shape:
                self._rows[case] = Row(case)
                if broken := self._broken.get(case.subject.name):
                    self._rows[case].failures.append(broken)
            able = [case for case in of_shape if case.subject.name not in self._broken]
            found += interleaved(able, self._words.runs, self._words.own_runs)
        return found

    def _run(self, case: Case, on: Ground) -> None:
        started, row = time.monotonic(), self._rows[case]
        try:
            row.runs.append(case.subject.measure(case.shape, case.mode, on))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever one does, the others are measured
            row.failures.append(str(error) or type(error).__name__)
            say(f"  failed: {row.failures[-1]}")
        self._took[case] = time.monotonic() - started

    def report(self, setup: str) -> str:
        """Return all tables, as text and as Markdown."""
        rows = [row for row in self._rows.values() if row.runs or row.failures]
        tables = [
            (shape, found)
            for shape in shapes(self._words.units, quick=self._words.quick)
            if (found := [row for row in rows if row.case.shape.title == shape.title])
        ]
        text = report(setup, tables, as_markdown=False, quick=self._words.quick)
        return f"{text}\n\nThe same as Markdown:\n\n{report(setup, tables, as_markdown=True, quick=self._words.quick)}"


def main() -> int:
    """Measure and print."""
    words = _words()
    if words.list:
        for subject in subjects(words.only):
            print(f"{subject.name} {subject.release} ({subject.language})")
        return 0
    program = Program(words)
    program.prepare()
    folder = new_folder("scheduledjobs-peers-")
    try:
        with ground(folder) as on:
            setup = on.setup()
            print(f"setup: {setup}", flush=True)
            try:
                program.run(on)
            finally:
                print(program.report(setup), flush=True)
    finally:
        rmtree(folder, ignore_errors=True)
    return 0


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="whose names have one of these words")
    parser.add_argument("--units", nargs="+", default=list(UNITS), choices=UNITS)
    parser.add_argument("--runs", type=int, default=3, help="at the best settings; at the defaults it is one")
    parser.add_argument("--own-runs", type=int, default=5, help="of ScheduledJobs at its best settings")
    parser.add_argument("--quick", action="store_true", help="only see that each works: 500 jobs, one run")
    parser.add_argument("--list", action="store_true", help="list whom there is to measure")
    words = parser.parse_args()
    if words.quick:
        words.runs = words.own_runs = 1
    return words


if __name__ == "__main__":
    exit_with(main)
