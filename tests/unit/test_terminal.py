"""What others wrote steers no terminal."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from scheduledjobs.cli import why
from scheduledjobs.core.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zürich 東京 🙂", "Zürich 東京 🙂"),
        ("a\nb\r\x1b[31m\x9b2J", "a\\nb\\r\\x1b[31m\\x9b2J"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("a\tb", "a\\tb"),
    ],
)
def test_a_character_that_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_kept_is_kept() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_a_command_shows_the_message_of_a_handler_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(*_: object) -> list[str]:
        return ["FAILED: no\x1b[2J\nSUCCEEDED"]

    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    monkeypatch.setattr(why, "why", found)
    done = CliRunner().invoke(why.command, ["default/job", "--at", "2026-11-24T02:00:00Z"])
    assert done.output == "FAILED: no\\x1b[2J\\nSUCCEEDED\n"
