"""The comparison with peers: figures, the order of runs, tables and verdicts, as pure functions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.peers.all import peers
from benchmarks.peers.observe import (
    LAST_SECONDS,
    POLL_SECONDS,
    Poll,
    lateness,
    pause,
    percentile,
    rate,
    read_record,
    summarise,
)
from benchmarks.peers.peer import PROGRAMS, UNITS, pinned
from benchmarks.peers.plan import Case, cases, interleaved, seconds, shapes
from benchmarks.peers.programs.python_worker import dues
from benchmarks.peers.subject import Figures, RunFailed, Shape, Subject
from benchmarks.peers.table import Row, layout, markdown, ordered, plain, report, settings, verdict

U1, U3, U4 = Shape("U1", 20_000), Shape("U3", 1_000), Shape("U4", 6_000, seconds=60)


def subject(name: str, *, history: bool = True, processes: int = 2, ours: bool = False) -> Subject:
    return Subject(
        name=name,
        language="Python 3.11",
        release="1.0",
        keeps_history=history,
        settings={"best": "many", "default": "few"},
        measure=lambda *_: {},
        prepare=lambda: None,
        units=frozenset({"U1", "U3", "U4"}),
        most_processes=processes,
        is_ours=ours,
    )


OURS, RIVER, QUARTZ = subject("ScheduledJobs", ours=True), subject("River"), subject("Quartz", history=False)


def row(who: Subject, shape: Shape, *figures: Figures, mode: str = "best", failed: str = "") -> Row:
    return Row(Case(shape, who, mode), [{"left": 0, **each} for each in figures], [failed] if failed else [])


def rates(who: Subject, *values: float) -> Row:
    return row(who, U1, *({"rate": value} for value in values))


@pytest.mark.parametrize(("part", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(part: float, expected: int) -> None:
    assert percentile(range(1, 101), part) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_median_and_range_of_runs() -> None:
    spread = summarise([3.0, 1.0, 2.0])
    assert (spread.median, spread.least, spread.most, spread.runs) == (2.0, 1.0, 3.0, 3)


def test_lateness_counts_what_was_early() -> None:
    found = lateness([5.0, -1.0, 2.0])
    assert found == {"first": -1.0, "p50": 2.0, "p99": 5.0, "last": 5.0, "max": 5.0, "early": 1}


def test_reads_how_late_a_worker_was_from_its_record(tmp_path: Path) -> None:
    (tmp_path / "record").write_text("1000.000,1002.500\n2000,1999\n")
    assert read_record(tmp_path / "record") == [2.5, -1.0]
    assert read_record(tmp_path / "none") == []


def test_what_was_due_before_the_stretch_or_after_it_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "record").write_text("999,1005\n1000,1003\n1999,2001\n2000,2004\n")
    assert read_record(tmp_path / "record", 1.0, 2.0) == [3.0, 2.0]


def test_what_has_not_started_is_later_than_all_that_has() -> None:
    found = lateness([1.0, 2.0], missing=1)
    assert (found["first"], found["p50"], found["p99"], found["last"]) == (1.0, 2.0, math.inf, math.inf)
    text = layout(U3, [row(RIVER, U3, {**found, "left": 1})])[1]
    assert text[3:7] == ["1", "2", "not reached", "not reached"]


def test_a_rate_is_taken_from_the_first_progress_to_the_end() -> None:
    polls = [Poll(0.0, 100), Poll(1.0, 100), Poll(2.0, 80), Poll(3.0, 40), Poll(4.0, 0)]
    assert rate(polls, 100) == 40.0


def test_a_rate_at_the_cap_counts_what_has_ended_by_then() -> None:
    assert rate([Poll(0.0, 100), Poll(1.0, 90), Poll(11.0, 40)], 100) == 5.0


def test_a_rate_of_jobs_that_all_end_between_two_polls_is_the_least_that_it_can_be() -> None:
    assert rate([Poll(0.0, 100), Poll(0.5, 0)], 100) == 200.0


def test_there_is_no_rate_of_jobs_that_had_all_ended_before_the_first_poll() -> None:
    with pytest.raises(RunFailed, match="before it was looked at"):
        rate([Poll(9.0, 0)], 100)


def test_there_is_no_rate_without_progress() -> None:
    assert rate([Poll(0.0, 100), Poll(120.0, 100)], 100) == 0.0


def test_polls_come_closer_before_the_end() -> None:
    assert pause([Poll(0.0, 100)]) == POLL_SECONDS
    assert pause([Poll(0.0, 100), Poll(0.1, 90)]) == POLL_SECONDS
    assert pause([Poll(0.0, 100), Poll(0.1, 33)]) == pytest.approx(0.1 * 33 / 67)
    assert pause([Poll(0.0, 100), Poll(0.1, 1)]) == LAST_SECONDS


def test_jobs_are_due_spread_over_the_stretch_or_at_once() -> None:
    assert dues(4, 1000, 400) == [1000, 1100, 1200, 1300]
    assert dues(2, 1000, 0) == [1000, 1000]
    assert dues(2, 0, 400) == [0, 0]


def test_runs_are_interleaved() -> None:
    found = cases(U3, [OURS, RIVER, QUARTZ], quick=False)
    order = [f"{case.subject.name[0]}{case.mode[0]}" for case in interleaved(found, runs=2, own_runs=3)]
    assert order == ["Sb", "Rb", "Qb", "Sb", "Sd", "Rd", "Qd", "Rb", "Qb", "Sb"]


def test_ours_drains_more() -> None:
    assert [case.shape.count for case in cases(U1, [OURS, RIVER], quick=False)] == [50_000, 20_000] * 2


def test_every_table_has_others_in_it() -> None:
    found = shapes(UNITS, quick=False)
    assert [shape.title.partition(":")[0] for shape in found] == ["U1", "U1", "U3", "U4"]
    assert all({OURS, RIVER} <= {case.subject for case in cases(shape, [OURS, RIVER], quick=False)} for shape in found)


def test_two_processes_are_for_those_that_may_share_a_database_and_not_for_defaults() -> None:
    alone = subject("APScheduler", processes=1)
    assert [(c.subject, c.mode) for c in cases(Shape("U1", 9, processes=2), [RIVER, alone], quick=False)] == [
        (RIVER, "best")
    ]


def test_others_drain_once_with_two_processes() -> None:
    found = cases(Shape("U1", 9, processes=2), [OURS, RIVER], quick=False)
    assert [case.subject for case in interleaved(found, runs=3, own_runs=2)] == [OURS, RIVER, OURS]


def test_a_case_with_more_runs_has_them_between_those_of_the_others() -> None:
    order = interleaved(cases(U1, [OURS, RIVER], quick=False), runs=3, own_runs=5)
    assert [case.subject.name[0] for case in order if case.mode == "best"] == list("SRSSRSRS")


def test_a_history_that_somebody_adds_is_no_default() -> None:
    added = replace(RIVER, name="River + history", with_history=True)
    assert [(c.subject, c.mode) for c in cases(U4, [RIVER, added], quick=False)] == [
        (RIVER, "best"),
        (added, "best"),
        (RIVER, "default"),
    ]


def test_lateness_with_a_history_that_was_added_is_measured_once() -> None:
    added = replace(RIVER, name="River + history", with_history=True)
    assert len(list(interleaved(cases(U1, [added], quick=False), runs=3, own_runs=5))) == 3
    assert len(list(interleaved(cases(U4, [added], quick=False), runs=3, own_runs=5))) == 1


def test_a_drain_that_had_not_ended_at_the_cap_is_not_made_again() -> None:
    assert row(QUARTZ, U1, {"rate": 5, "left": 1}).is_capped
    assert not row(QUARTZ, U1, {"rate": 5}).is_capped
    assert not row(QUARTZ, U3, {"last": 5, "left": 1}).is_capped


def test_quick_is_five_hundred_jobs_at_the_best_settings_only() -> None:
    quick = shapes(["U1", "U3", "U4"], quick=True)
    assert [shape.count for shape in quick] == [500, 500, 500]
    assert [case.mode for case in cases(quick[0], [OURS, RIVER], quick=True)] == ["best", "best"]


def test_a_run_is_expected_to_take_as_long_as_the_last_of_its_kind() -> None:
    case = Case(U4, RIVER, "best")
    assert seconds(case, {case: 12.0}) == 12.0
    assert seconds(case, {}) > U4.seconds


def test_rows_are_sorted_best_first_and_those_without_figures_last() -> None:
    rows = [rates(QUARTZ, 262), row(OURS, U1, failed="no job had ended"), rates(RIVER, 15_000, 16_000, 9_000)]
    assert [each.case.subject for each in ordered(rows, "U1")] == [RIVER, QUARTZ, OURS]
    late = [row(RIVER, U3, {"last": 238.0}), row(OURS, U3, {"last": 90.0})]
    assert [each.case.subject for each in ordered(late, "U3")] == [OURS, RIVER]


def test_ours_is_first_in_a_drain_among_those_that_keep_history() -> None:
    rows = [rates(OURS, 16_000), rates(RIVER, 15_500), rates(QUARTZ, 20_000)]
    assert verdict(U1, rows) == "ScheduledJobs is first among those that keep history."


def test_the_verdict_says_who_is_ahead() -> None:
    assert verdict(U1, [rates(OURS, 8_000), rates(RIVER, 15_500)]) == (
        "ScheduledJobs is not first among those that keep history: River has 15,500 executions/s, ours 8,000 (row 2)."
    )
    rows = [row(OURS, U4, {"p99": 20.0}), row(QUARTZ, U4, {"p99": 9.5})]
    assert verdict(U4, rows) == "ScheduledJobs is not first among all: Quartz has 9.5 ms p99, ours 20 (row 2)."


def test_the_verdict_claims_nothing_without_others_or_without_ours() -> None:
    assert "nothing is said" in verdict(U1, [rates(OURS, 8_000)])
    assert "not first" in verdict(U1, [rates(RIVER, 8_000), row(OURS, U1, failed="it ended")])


def test_a_table_has_the_median_the_range_and_why_a_run_failed() -> None:
    lines = layout(U1, [rates(RIVER, 15_000, 16_000, 9_000), row(QUARTZ, U1, mode="default", failed="no Java")])
    assert lines[1] == ["River", "1.0", "kept", "15,000 (9,000 to 16,000)", "3", "20,000", ""]
    assert lines[2] == ["Quartz (defaults)", "1.0", "none", "-", "1", "20,000", "failed: no Java"]


def test_a_table_says_what_had_not_run_at_the_cap() -> None:
    assert layout(U1, [row(RIVER, U1, {"rate": 10.0, "left": 400})])[1][-1] == "400 of 20,000 jobs had not run"
    minutes = row(RIVER, U1, {"rate": 10.0, "left": 1_488, "of": 3_000})  # of jobs that come more than once
    assert layout(U1, [minutes])[1][-2:] == ["3,000", "1,488 of 3,000 jobs had not run"]
    runs = row(RIVER, U1, {"rate": 10.0, "left": 3}, {"rate": 11.0}, {"rate": 12.0, "left": 7})
    assert layout(U1, [runs])[1][-1] == "up to 7 of 20,000 jobs had not run in 2 of 3 runs"


def test_tables_as_text_and_as_markdown() -> None:
    lines = [["", "a"], ["longer", "b|c"]]
    assert plain(lines) == "        a\nlonger  b|c"
    assert markdown(lines) == "|  | a |\n| --- | --- |\n| longer | b\\|c |"


def test_a_report_has_the_setup_each_verdict_and_the_settings_of_all_once() -> None:
    rows = [rates(OURS, 16_000), rates(RIVER, 15_500)]
    text = report("2 cores", [(U1, rows), (U1, rows)], as_markdown=False)
    assert text.startswith("Setup: 2 cores.\n\nU1: drain of waiting jobs by 1 process\n\n")
    assert text.count("is first among those") == 2
    assert text.count("River 1.0 (Python 3.11). best: many. default: few.") == 1
    assert len(settings(rows)) == 2


def test_a_release_is_read_from_the_file_that_pins_it(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("six==1.17.0 \\\n    --hash=sha256:00\nsix-more==2.0 ; python_version > '3'\n")
    assert (pinned(file, "six"), pinned(file, "six-more")) == ("1.17.0", "2.0")
    with pytest.raises(LookupError):
        pinned(file, "seven")


@pytest.mark.parametrize("peer", peers(), ids=lambda peer: peer.name)
def test_a_peer_that_keeps_history_says_where_it_is(peer: object) -> None:
    assert not peer.keeps_history or peer.finished  # type: ignore[attr-defined]
    assert peer.best.strip(".") == peer.best  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", sorted(PROGRAMS.glob("*/requirements.txt")), ids=lambda file: file.parent.name)
def test_what_peers_are_installed_from_is_pinned_by_hash(file: Path) -> None:
    text = file.read_text()
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text
