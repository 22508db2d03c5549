"""What the benchmarks make of what they have measured: verdicts, percentiles, slopes, tables."""

from __future__ import annotations

import math

import pytest
from benchmarks.figures import Figure, Lateness, at_least, at_most, percentile, shown, slope, table
from benchmarks.floor import Floor, best
from benchmarks.floor_sql import WAYS, job_id
from benchmarks.replica import total
from benchmarks.units.__main__ import UNITS, changed, parser, report
from benchmarks.units.load import length
from benchmarks.units.u6 import VERDICT
from benchmarks.units.watch import Seen, Windows, split


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(16_000, "met goal"), (15_999, "met gate"), (8_000, "met gate"), (7_999, "missed"), (math.nan, "missed")],
)
def test_a_rate_must_reach_its_gate_and_should_reach_its_goal(value: float, verdict: str) -> None:
    assert at_least(8_000, 16_000).verdict(value) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(10, "met goal"), (10.5, "met gate"), (20, "met gate"), (21, "missed"), (math.nan, "missed")]
)
def test_a_time_must_not_exceed_its_gate_and_should_not_its_goal(value: float, verdict: str) -> None:
    assert at_most(20, 10).verdict(value) == verdict


def test_one_bound_is_gate_and_goal_at_once() -> None:
    assert [at_most(0).verdict(early) for early in (0, 1)] == ["met goal", "missed"]


def test_the_median_of_the_runs_is_judged_and_their_range_shown() -> None:
    figure = Figure("drained", (7_000.0, 9_000.0, 17_000.0), "/s", at_least(8_000, 16_000), floor=18_000.0)
    row = ("drained", "9,000 /s", "7,000 to 17,000", ">= 8,000", ">= 16,000", "met gate", "50%")
    assert figure.cells() == row


def test_a_figure_without_a_value_is_a_miss_and_says_none() -> None:
    assert Figure("p99", (), "ms", at_most(20)).cells()[1:6] == ("none ms", "", "<= 20", "<= 20", "missed")


def test_a_figure_that_is_held_against_nothing_has_no_verdict() -> None:
    assert Figure("RSS", (98.2,), "MB").cells() == ("RSS", "98.2 MB", "", "", "", "", "")


def test_numbers_have_three_digits_that_count() -> None:
    assert [shown(value) for value in (0, 0.08113, 3.05, 98.24, 1234567.8, -250.0)] == [
        "0",
        "0.0811",
        "3.05",
        "98.2",
        "1,234,568",
        "-250",
    ]


def test_a_table_has_columns_of_one_width_and_none_that_is_empty() -> None:
    assert table(("a", "none", "b"), [("long", "", "1"), ("x", "", "22")]) == "a     b\nlong  1\nx     22"


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, part) for part in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0
    assert math.isnan(percentile([], 0.5))


def test_lateness_counts_what_began_early() -> None:
    assert Lateness.of([3.0, -1.0, 5.0, 4.0]) == Lateness(n=4, first=-1.0, p50=3.0, p99=5.0, last=5.0, early=1)


def test_lateness_of_nothing_is_no_number() -> None:
    found = Lateness.of([])
    assert (found.n, found.early) == (0, 0)
    assert all(math.isnan(value) for value in (found.first, found.p50, found.p99, found.last))


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    assert slope([(0.0, 98.0), (1.0, 100.0), (2.0, 102.0)]) == pytest.approx(2.0)
    assert slope([(1.0, 98.0), (1.0, 99.0)]) == slope([]) == 0.0


@pytest.mark.parametrize(("seconds", "windows"), [(600, (60.0, 10)), (150, (60.0, 2)), (90, (45.0, 2)), (5, (2.5, 2))])
def test_a_run_is_split_into_minutes_or_halves(seconds: float, windows: tuple[float, int]) -> None:
    assert split(seconds) == windows


def test_windows_add_up() -> None:
    seen = (Seen(98.0, 10.0, 1.0), Seen(99.0, 20.0, 2.0))
    found = Windows(60.0, (800.0, 790.0), (5.0, 6.0), seen, ((0.0, 98.0), (0.5, 99.0)))
    assert found.executions == 95_400.0
    assert found.growth == pytest.approx(2.0)
    assert found.table().splitlines()[2].split() == ["2", "790", "6", "99", "20", "2"]


def test_the_floor_is_the_best_of_each_phase_and_the_least_of_what_it_costs() -> None:
    found = best([Floor(fire=2.0, claim=1.0, python_us=9.0), Floor(fire=1.0, claim=3.0, python_us=8.0)])
    assert (found.fire, found.claim, found.python_us) == (2.0, 3.0, 8.0)


def test_the_floor_of_all_three_is_the_better_way_to_claim() -> None:
    assert Floor(together=2.0, on_insert=3.0).whole == 3.0
    assert Floor(together=2.0, on_insert=1.0).whole == 2.0


@pytest.mark.parametrize("way", WAYS)
def test_what_is_inserted_for_the_floor_is_inserted_once(way: str) -> None:
    assert len({job_id(worker, job) for worker in range(2) for job in range(1000)}) == 2000
    first, second = (WAYS[way].fire_params(0, number, 2, is_claimed=True) for number in range(2))
    assert first != second


def test_a_metric_is_summed_over_those_of_its_labels_that_are_asked_for() -> None:
    text = '# HELP x y\nx{a="1"} 2.0\nx{a="2"} 3.0\nx_total 5.0\nx_other{a="1"} 7.0'
    assert [total(text, "x"), total(text, "x", 'a="1"'), total(text, "x_total"), total(text, "y")] == [5, 2, 5, 0]


def test_the_words_of_verify_are_read() -> None:
    found = VERDICT.search("0 lost, 1 doubled, 618 moments (20 jobs, ...)")
    assert found
    assert found.groups() == ("0", "1", "618")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_run_by_its_own_options_is_run_as_the_goals_mean_it(unit: str) -> None:
    words = parser().parse_args([unit])
    assert changed(words) == []
    assert "say little" not in report(words, [])
    assert report(words, []).startswith(f"{unit}: ")


def test_the_command_line_explains_each_unit() -> None:
    said = " ".join(parser().format_help().split())
    assert [unit for unit in UNITS if f"{unit}: " not in said] == []


def test_a_unit_made_small_says_so() -> None:
    words = parser().parse_args(["U4", "--rate", "100", "--seconds", "5", "--runs", "2"])
    assert changed(words) == ["--seconds 5.0"]
    assert "the verdicts say little" in report(words, [])
    assert length(words) == 5.0
    assert length(parser().parse_args(["U4"])) == 600.0
