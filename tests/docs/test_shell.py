"""The runner of pages is strict: it lets differ what the page says differs, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.docs.shell import Command, File, is_as_shown, open_shell, steps

AT = "2026-11-27T10:00:05Z"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ('{"a":1,"x":[],"b":"y"}', '{"a":1,...\n "b":"..."}'),
        ("", "..."),
        (f"due at {AT}", "due at 2026-01-02T03:04:05.678+01:00"),
        ("2026-11-27 10:00:05.12+00 | x", "2026-01-02 03:04:05+00 | x"),
        ("at   | n\n------+---\n2 | 1", "at    | n\n-------+---\n2 | 1"),
        ("id 6b7c6a4e-8f9c-4c53-9a0e-0d9c1a7f2b11", "id 0f5c7a52-..."),
        ("NAME  AGE\nhello    3m4s", "NAME   AGE\nhello  12s"),
    ],
)
def test_lets_differ_what_differs_from_run_to_run(printed: str, shown: str) -> None:
    assert is_as_shown(printed, shown)


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ('{"a":2,"x":[],"b":"y"}', '{"a":1,...\n "b":"..."}'),
        ("something", ""),
        ("due at noon", f"due at {AT}"),
        ("every 6s", "every 5s"),
        ("hello  Failed  12s", "hello  Succeeded  12s"),
        ("id 6b7c6a4e", "id 0f5c7a52-..."),
    ],
)
def test_refuses_everything_else(printed: str, shown: str) -> None:
    assert not is_as_shown(printed, shown)


def test_takes_commands_and_files_in_their_order() -> None:
    page = "```yaml a.yaml\nb: c\n```\n```console\n$ a \\\n  b\nc\n$ d\n```\n```sh\nnot run\n```\n"
    assert steps(page) == [File("a.yaml", "b: c\n"), Command("a \\\n  b", "c"), Command("d", "")]


def test_a_command_that_prints_something_else_is_told() -> None:
    with open_shell(os.environ) as shell:
        shell.follow(Command("echo one; echo two >&2", "one\ntwo"))
        with pytest.raises(AssertionError, match="but the page shows"):
            shell.follow(Command("echo one", "two"))


def test_a_make_of_a_page_prints_the_same_under_a_make(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("up:\n\t@echo is up\n")
    with open_shell({**os.environ, "MAKELEVEL": "1", "MAKEFLAGS": "w", "MFLAGS": "-w"}, tmp_path) as shell:
        assert shell.type("make up") == "is up"
