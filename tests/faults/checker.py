"""The checker: holds the log, the handlers' own files and the audit of terms against each other and against an oracle.

Pure: evidence in, findings out. It shares no code with the operator: which moments were due is found by looking at
every second (tests/oracle); which attempts overlapped by the machine's monotonic clock, in the handlers' files.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from tests.oracle.ledger_oracle import SECOND, TICK, Stretch, every

Row = Mapping[str, Any]
NEVER_RUN = frozenset({"SKIPPED", "MISSED"})
ALONE = frozenset({"Forbid", "Queue", "Replace"})
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that may not be; `kind` is lost, doubled, or one of the other invariants by name."""

    kind: str
    job: str
    detail: str


@dataclass(slots=True)
class Evidence:
    """What a scenario left behind.

    `began` is when the load was under way: the longest gap is looked for from then on, and with `is_window` so is all
    else, what came before having been judged. `until` is the database's time up to which everything due must be
    decided. `died` says at which monotonic second each process ended, `frozen` which processes stood still for a while
    and may not know it, `skewed` whose clock was set. The rows are of the tables job_definition,
    job_definition_version, job_execution_log and of the audit (execution_id, term, at).
    """

    began: datetime
    until: datetime
    jobs: Sequence[Row]
    versions: Sequence[Row]
    rows: Sequence[Row]
    notes: Sequence[Row]
    audit: Sequence[Row]
    died: Mapping[int, float] = field(default_factory=dict)
    frozen: frozenset[int] = frozenset()
    skewed: frozenset[int] = frozenset()
    is_window: bool = False

    @property
    def since(self) -> datetime:
        """The first moment that is judged."""
        return self.began if self.is_window else datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Verdict:
    """What the checker found."""

    due: int = 0
    rows: int = 0
    gap: timedelta = timedelta(0)
    findings: list[Finding] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Return how many findings are of a kind."""
        return sum(finding.kind == kind for finding in self.findings)

    def after(self, before: Verdict | None) -> Verdict:
        """Return what was found in this window and in those before it."""
        if before is None:
            return self
        findings = before.findings + self.findings
        return Verdict(before.due + self.due, before.rows + self.rows, max(before.gap, self.gap), findings)


def check(evidence: Evidence) -> Verdict:
    """Return the verdict on invariants 1 (one row a moment), 2 (attempts), 3 (early), 4 (terms) and 6 (overlap)."""
    verdict = Verdict(rows=len(evidence.rows), gap=longest_gap(evidence.audit, evidence.began))
    versions, rows = _by(evidence.versions, "job_id"), _by(evidence.rows, "job_id")
    for job in evidence.jobs:
        verdict.due += _check_ledger(job, versions[job["id"]], rows[job["id"]], evidence, verdict)
    by_execution = _by(evidence.notes, "id")
    specs = {(row["job_id"], row["version"]): row["spec"] for row in evidence.versions}
    for row in evidence.rows:  # what is newer goes on while the evidence is read
        if row["fire_time"] <= evidence.until:
            spec = specs.get((row["job_id"], row["version"]), {})
            verdict.findings += _check_attempts(row, spec, by_execution[row["id"]], evidence)
    known = {row["id"] for row in evidence.rows}
    for note in evidence.notes:
        if note["id"] not in known:
            verdict.findings.append(Finding("attempts", note["job"], f"ran execution {note['id']}, which has no row"))
    verdict.findings += _check_overlaps(evidence)
    verdict.findings += _check_terms(evidence.audit)
    return verdict


def _by(rows: Iterable[Row], key: str) -> defaultdict[Any, list[Row]]:
    found: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(row)
    return found


def longest_gap(audit: Sequence[Row], since: datetime) -> timedelta:
    """Return the longest time from `since` on in which no row at all was inserted."""
    moments = sorted(row["at"] for row in audit if row["at"] >= since)
    return max((later - earlier for earlier, later in pairwise(moments)), default=timedelta(0))


def seconds(text: str) -> timedelta:
    """Read the durations that the scenarios use: `10s`, `2m`, `24h`."""
    number, unit = re.fullmatch(r"(\d+)([smh])", text).groups()  # type: ignore[union-attr]
    return timedelta(seconds=int(number) * {"s": 1, "m": 60, "h": 3600}[unit])


def stretches(job: Row, versions: Sequence[Row]) -> list[Stretch]:
    """Return which schedule was in force when; a version that moves nothing goes on with the grid before it."""
    ordered = sorted(versions, key=lambda row: row["seq"])  # not by version: a restored etcd goes back to older ones
    ends = [row["effective_from"] for row in ordered[1:]] + [job["deleted_at"]]
    anchor, rate, found = None, None, []
    for row, until in zip(ordered, ends, strict=True):
        spec = row["spec"]
        if spec.get("fixedRate") != rate:
            anchor, rate = row["effective_from"], spec.get("fixedRate")
        if until is None or until > row["effective_from"]:
            found.append(_stretch(spec, row["effective_from"], until, anchor))
    return found


def _stretch(spec: Row, since: datetime, until: datetime | None, anchor: datetime | None) -> Stretch:
    start = datetime.fromisoformat(spec["startTime"]) if spec.get("startTime") else None
    end = datetime.fromisoformat(spec["endTime"]) if spec.get("endTime") else None
    made = Stretch(since=since, until=until, start=start, end=end)
    if rate := spec.get("fixedRate"):
        made.period = seconds(rate)
        made.start = start or (anchor or since) + made.period
        while made.start < since:
            made.start += made.period
    elif cron := spec.get("schedule"):
        made.is_due = every(int(re.fullmatch(r"\*/(\d+) \* \* \* \* \*", cron).group(1)))  # type: ignore[union-attr]
        made.step = SECOND
    elif run_at := spec.get("runAt"):
        made.run_at = datetime.fromisoformat(run_at)
    else:
        made.delay = seconds(spec["fixedDelay"])
    return made


def _check_ledger(job: Row, versions: Sequence[Row], rows: Sequence[Row], evidence: Evidence, verdict: Verdict) -> int:
    """Hold the rows of one job against what was due; return how many moments that were."""
    since, until = evidence.since, evidence.until
    scheduled = [row for row in rows if row["run_key"] == ""]
    found = stretches(job, versions)
    name = f"{job['namespace']}/{job['name']}"
    if any(stretch.delay is not None for stretch in found):
        verdict.findings += _check_chain(name, scheduled, found)
        return len(scheduled)
    due = sorted({moment for each in found for moment in each.between(max(each.since, since) - TICK, until)})
    standing = dict.fromkeys(due, 0)
    for row in scheduled:
        last = row["last_fire_time"] or row["fire_time"]
        covered = due[bisect_left(due, row["fire_time"]) : bisect_right(due, last)]
        is_judged = since <= row["fire_time"] <= until and not _goes_on(row, until)
        if is_judged and len(covered) != (row["moment_count"] or 1):
            said = f"row {row['id']} of {row['fire_time']} stands for {row['moment_count'] or 1} moments"
            verdict.findings.append(Finding("not due", name, f"{said}, {len(covered)} were due"))
        for moment in covered:
            standing[moment] += 1
    for moment, count in standing.items():
        if count != 1:
            kind = "doubled" if count else "lost"
            verdict.findings.append(Finding(kind, name, f"{moment.isoformat()} has {count} rows"))
    return len(standing)


def _goes_on(row: Row, until: datetime) -> bool:
    return row["last_fire_time"] is not None and row["last_fire_time"] > until


def _check_chain(name: str, rows: Sequence[Row], found: Sequence[Stretch]) -> Iterator[Finding]:
    """A fixed delay counts from the end of the run before: no two runs are nearer, none is farther."""
    delays = {stretch.delay for stretch in found}
    if len(delays) > 1:
        return
    (delay,) = delays
    assert delay is not None
    ordered = sorted(rows, key=lambda row: row["fire_time"])
    for before, after in pairwise(ordered):
        if before["finished_at"] is None:
            yield Finding("doubled", name, f"{after['fire_time']} was fired while {before['fire_time']} was live")
        elif abs(after["fire_time"] - before["finished_at"] - delay) > MILLISECOND:
            detail = f"{after['fire_time']} does not follow {before['finished_at']} by {delay}"
            yield Finding("not due", name, detail)


@dataclass(frozen=True, slots=True)
class Span:
    """One attempt in the handlers' files: from its start to its end, or to the end of its process."""

    note: Row
    began: float
    ended: float
    is_whole: bool


def spans(notes: Iterable[Row], died: Mapping[int, float]) -> list[Span]:
    """Pair starts with ends; what has no end ended with its process, if that has ended."""
    starts: dict[tuple[int, int, int], list[Row]] = defaultdict(list)
    ends: dict[tuple[int, int, int], Row] = {}
    for note in notes:
        key = note["id"], note["claim_no"], note["pid"]
        if note["what"] == "start":
            starts[key].append(note)
        else:
            ends[key] = note
    found = []
    for key, begun in starts.items():
        for note in begun:
            end = ends.get(key)
            at = end["at"] if end is not None else died.get(note["pid"], float("inf"))
            found.append(Span(note, note["at"], at, end is not None and end["what"] == "end"))
    return sorted(found, key=lambda span: span.began)


def _check_attempts(row: Row, spec: Row, notes: Sequence[Row], evidence: Evidence) -> Iterator[Finding]:
    name = f"{row['namespace']}/{row['job_name']}"
    which = f"execution {row['id']} of {row['fire_time'].isoformat()} ({row['state']})"
    found = spans(notes, evidence.died)
    claims = [span.note["claim_no"] for span in found]
    if row["state"] in NEVER_RUN and found:
        yield Finding("attempts", name, f"{which} was run")
    if len(claims) != len(set(claims)):
        yield Finding("attempts", name, f"{which}: one claim was started twice: {claims}")
    if row["finished_at"] is not None and len(found) > row["attempt"]:
        yield Finding("attempts", name, f"{which}: {len(found)} starts, the row says {row['attempt']} attempts")
    if row["attempt"] > 1 + int(spec.get("retry", {}).get("limit", 0)):
        yield Finding("attempts", name, f"{which}: {row['attempt']} attempts are more than its retries allow")
    has_ended = any(span.is_whole and span.note["claim_no"] == row["claim_no"] for span in found)
    if row["state"] == "SUCCEEDED" and row["handler"].startswith("witness") and not has_ended:
        yield Finding("attempts", name, f"{which}: no handler says that claim {row['claim_no']} ended")
    for span in found:
        wall = datetime.fromtimestamp(span.note["wall"], UTC)
        if wall < row["fire_time"] and span.note["pid"] not in evidence.skewed:
            yield Finding("early", name, f"{which} was started {row['fire_time'] - wall} early")
    if row["started_at"] is not None and row["started_at"] < row["fire_time"]:
        yield Finding("early", name, f"{which} says it was started at {row['started_at'].isoformat()}")
    yield from _overlapping("attempts", name, found, evidence.frozen)


def _check_overlaps(evidence: Evidence) -> Iterator[Finding]:
    policies: dict[Any, set[str]] = defaultdict(set)
    for version in evidence.versions:
        policies[str(version["job_id"])].add(version["spec"].get("concurrencyPolicy", "Forbid"))
    for job_id, notes in _by(evidence.notes, "job_id").items():
        if policies[job_id] and policies[job_id] <= ALONE:
            yield from _overlapping("overlap", notes[0]["job"], spans(notes, evidence.died), evidence.frozen)


def _overlapping(kind: str, name: str, found: Sequence[Span], frozen: frozenset[int]) -> Iterator[Finding]:
    """A process that stood still may run on for a moment after it wakes, until it sees that its trust is gone."""
    before: Span | None = None
    for span in found:
        if before is not None and span.began < before.ended:
            detail = f"{_said(span)} began {before.ended - span.began:.3f} s before {_said(before)} had ended"
            yield Finding(kind, name, detail)
        if span.note["pid"] not in frozen and (before is None or span.ended > before.ended):
            before = span


def _said(span: Span) -> str:
    return f"execution {span.note['id']} claim {span.note['claim_no']} in process {span.note['pid']}"


def _check_terms(audit: Sequence[Row]) -> Iterator[Finding]:
    """No row of a term after the first row of a later one."""
    newest, since = 0, None
    for row in sorted(audit, key=lambda row: row["at"]):
        if row["term"] < newest:
            detail = f"execution {row['execution_id']} was inserted by term {row['term']} after term {newest} began"
            yield Finding("stale term", "-", f"{detail} at {since}")
        elif row["term"] > newest:
            newest, since = row["term"], row["at"]
