"""A peer: one scheduler or job queue, what its worker program is, and how its end is seen in the database.

Every worker program has the same command line:

    PROGRAM create URL                make the schema in an empty database, by the peer's own migrations
    PROGRAM insert URL --count N --due MS --spread MS --mode best|default
                                      N jobs that do nothing, by the peer's own bulk API; the i-th (from 0) is due at
                                      DUE + i * SPREAD / N, in milliseconds since 1970; DUE 0: at once
    PROGRAM work URL --mode best|default [--record FILE] [--history]
                                      one worker process until SIGTERM; prints `ready` when it works. At its end it
                                      writes a line `due_ms,started_ms` for each job to FILE, if one is asked for
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dev.processes import locked, say

PROGRAMS = Path(__file__).parent / "programs"
UNITS = ("U1", "U3", "U4")
MODES = ("best", "default")


@dataclass(frozen=True)
class Peer:
    """What the harness must know of a peer; a module of a family of peers has them in its list PEERS."""

    name: str
    language: str
    """With its version: "Go 1.25"."""
    release: str
    """Of the peer, read from the file that pins it."""
    keeps_history: bool
    """Whether a row of each execution that ended is there to be queried, at these settings."""
    best: str
    """The settings that its own documentation recommends for throughput and latency, in a sentence."""
    default: str
    """The settings of its quick start, in a sentence."""
    command: Callable[[], list[str]]
    """Returns how the program is started, built first where it is not there; SystemExit if a tool is missing."""
    unfinished: str
    """SQL: the number of jobs that have not ended; 0 is drained. %(count)s in it is how many were inserted."""
    finished: str | None = None
    """SQL: `n`, `first` and `last`, the number of rows of executions that ended and their first and last instant; None
    where rows are deleted."""
    units: frozenset[str] = frozenset(UNITS)
    with_history: bool = False
    """Whether the handler writes the history that the peer does not keep itself."""
    most_processes: int = 2
    """How many workers may share a database."""
    inserts_first: bool = False
    """Whether jobs must be there before a worker starts, since it does not see what others insert."""
    inserts_per_second: float = 2000
    """How many jobs it inserts a second at least: so far ahead must be due what is inserted while a worker runs."""
    remark: str = ""
    """What a reader of the table must know, in a sentence."""


def cache() -> Path:
    """Return the folder that the programs of peers are built in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scheduledjobs" / "peers"


def pinned(requirements: Path, package: str) -> str:
    """Return the version of a package that a requirements file pins; LookupError if it pins none."""
    found = re.search(rf"^{re.escape(package)}==([^\s;\\]+)", requirements.read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"{requirements} does not pin {package}")
    return found.group(1)


def installed(folder: str, *, interpreter: str = sys.executable) -> list[str]:
    """Return how the Python program in programs/`folder` is started, in an environment of its own, made once."""
    requirements = PROGRAMS / folder / "requirements.txt"
    key = hashlib.sha256(requirements.read_bytes() + interpreter.encode()).hexdigest()[:12]
    home = cache() / f"{folder}-{key}"
    with locked(home.with_suffix(".lock")):
        if not (home / "ready").exists():
            say(f"installing {folder} into an environment of its own, once")
            shutil.rmtree(home, ignore_errors=True)
            _run(folder, [interpreter, "-m", "venv", str(home)])
            _run(folder, [str(home / "bin" / "python"), "-m", "pip", *_INSTALL, "-r", str(requirements)])
            (home / "ready").touch()
    return [str(home / "bin" / "python"), str(PROGRAMS / "python_worker.py"), folder]


_INSTALL = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes"]


def _run(folder: str, command: list[str]) -> None:
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
        raise SystemExit(f"scheduledjobs: installing {folder} failed; what was said is above")


def newer_python(minor: int) -> str | None:
    """Return a CPython of at least 3.`minor`: this one, one of PATH, or one of pyenv; None if there is none."""
    if sys.version_info >= (3, minor):
        return sys.executable
    names = [f"python3.{each}" for each in range(minor, minor + 6)]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    places = [path for name in names if (path := shutil.which(name))]
    places += [str(path) for each in names for path in sorted(pyenv.glob(f"{each[6:]}.*/bin/python3"))]
    return next((place for place in places if _runs(place)), None)


def _runs(program: str) -> bool:
    """Return whether an interpreter really starts: pyenv puts programs in PATH that only say they are not chosen."""
    done = subprocess.run([program, "-c", "import venv"], check=False, capture_output=True)
    return done.returncode == 0
