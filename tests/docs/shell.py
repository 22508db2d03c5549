"""Pages that are followed to the letter: their commands are typed into a shell, which must print what stands there.

Of a page are taken, in order: `console` blocks, in which `$ ` begins a command and what follows is what it prints; and
blocks whose info string names a file after the language, as in `python greeting.py`, which are saved under that name.
What differs from run to run: `...` is anything; times in RFC 3339 or as PostgreSQL prints them, UUIDs and ages in a
column of their own (`12s`) are any of their kind; runs of spaces, and rules of three dashes or more, are as wide as
they like: PostgreSQL draws the rule under a time as long as its milliseconds need.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MARK = "-- next --"
OF_MAKE = frozenset({"MAKEFLAGS", "MAKELEVEL", "MFLAGS"})
"""Under `make test` these would let a make of a page say which folder it enters."""
KINDS = {
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::\d\d)?)": "time",
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|0f5c7a52-\.\.\.": "uuid",
    r"(?<=  )\d+(?:m\d+)?s(?=  |$)": "age",
}
FOUND = {
    "time": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::\d\d)?)",
    "uuid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "age": r"\d+(?:m\d*s?|s)",
}


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed, and what stands after it on the page."""

    typed: str
    shown: str


@dataclass(frozen=True, slots=True)
class File:
    """A file that the page says to save."""

    name: str
    text: str


def steps(page: str) -> list[Command | File]:
    """Return what a page says to do, in order."""
    found: list[Command | File] = []
    for info, block in re.findall(r"^```(\w[^\n]*)\n(.*?)^```", page, re.S | re.M):
        language, _, name = info.partition(" ")
        if language == "console":
            found.extend(_commands(block))
        elif name:
            found.append(File(name, block))
    return found


def _commands(block: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        lines = part.splitlines()
        end = next(number for number, line in enumerate(lines) if not line.endswith("\\")) + 1
        yield Command("\n".join(lines[:end]), "\n".join(lines[end:]))


def pattern(shown: str) -> str:
    """Return the expression of what may be printed where a page shows this."""
    shown = shown.strip()
    for expression, kind in KINDS.items():
        shown = re.sub(expression, f"<{kind}>", shown, flags=re.M)
    text = re.sub(r"(?:\\ )*\\\n(?:\\ )*|(?:\\ ){2,}", r"\\s*", re.escape(shown))
    text = re.sub(r"(?:\\-){3,}", "-{3,}", text)
    for kind, expression in FOUND.items():
        text = text.replace(f"<{kind}>", expression)
    return text.replace(r"\.\.\.", ".*?")


def is_as_shown(printed: str, shown: str) -> bool:
    """Return whether a command printed what the page shows."""
    return re.fullmatch(pattern(shown), printed, re.S) is not None


class Shell:
    """A bash that reads commands one by one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout

    def type(self, command: str) -> str:
        """Type a command; return what it prints."""
        self._input.write(f"{command}\necho '{MARK}'\n")
        self._input.flush()
        lines = []
        while not (line := self._output.readline()).endswith(f"{MARK}\n"):
            assert line, f"the shell has ended at: {command}"
            lines.append(line)
        lines.append(line.removesuffix(f"{MARK}\n"))
        return "".join(lines).replace("\r", "").strip()

    def follow(self, command: Command) -> None:
        """Type a command of a page, and hold what it prints against what stands there."""
        printed = self.type(command.typed)
        assert is_as_shown(printed, command.shown), (
            f"$ {command.typed}\n{printed}\n-- but the page shows\n{command.shown}"
        )


@contextmanager
def open_shell(environment: Mapping[str, str], folder: Path | None = None) -> Iterator[Shell]:
    """Start a shell in a folder; it ends with the block. A make that is typed there is nobody's child."""
    environment = {name: value for name, value in environment.items() if name not in OF_MAKE}
    process = subprocess.Popen(
        ["bash"], stdin=-1, stdout=-1, stderr=subprocess.STDOUT, env=environment, text=True, cwd=folder
    )
    try:
        yield Shell(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
