"""What is hostile is made visible; moments and lengths are put in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduledjobs.web.ui.text import ago, one_line, shown, span

NOW = datetime(2026, 11, 24, 17, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1b]8;;https://evil.example\x07link\x1b]8;;\x07", "link"),
        ("\x1b]0;a title\x1b\\rest", "rest"),
        ("a\x00b", "a\u2039U+0000\u203ab"),
        ("a\rb\x07", "a\u2039U+000D\u203ab\u2039U+0007\u203a"),
        ("txt.\u202eexe", "txt.\u2039U+202E\u203aexe"),
        ("\u200f\ufeff\u2066", "\u2039U+200F\u203a\u2039U+FEFF\u203a\u2039U+2066\u203a"),
        ("one\r\ntwo\tthree", "one\ntwo\tthree"),
        ("Grüße, שלום, 東京 👩\u200d🔬", "Grüße, שלום, 東京 👩\u200d🔬"),
    ],
)
def test_what_hides_or_reorders_is_made_visible(text: str, seen: str) -> None:
    assert shown(text) == seen


def test_markup_is_left_to_the_template_that_escapes_it() -> None:
    assert shown("<b>") == "<b>"


def test_an_escape_that_never_ends_hides_nothing_after_its_line_of_colour() -> None:
    assert shown("\x1b[31") == "\u2039U+001B\u203a[31"


def test_one_line_is_cut() -> None:
    assert one_line("first\nsecond") == "first"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (timedelta(0), "now"),
        (timedelta(seconds=59), "in 59 s"),
        (timedelta(seconds=-61), "1 min ago"),
        (timedelta(minutes=119), "in 119 min"),
        (timedelta(hours=-2), "2 h ago"),
        (timedelta(days=3), "in 3 d"),
        (timedelta(days=90), "2027-02-22"),
    ],
)
def test_a_moment_is_as_far_as_it_is(distance: timedelta, words: str) -> None:
    assert ago(NOW + distance, NOW) == words


def test_the_end_of_a_pause_without_end_is_forever() -> None:
    assert ago(datetime(9999, 12, 31, tzinfo=UTC), NOW) == "forever"


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (None, "\u2013"),
        (0, "0 ms"),
        (999, "999 ms"),
        (4200, "4.2 s"),
        (200_000, "3 min 20 s"),
        (3_900_000, "1 h 5 min"),
    ],
)
def test_a_length_of_time_has_its_unit(milliseconds: float | None, words: str) -> None:
    assert span(milliseconds) == words
