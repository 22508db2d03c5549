"""The tutorial is true: followed to the letter in a checkout of its own, it ends with the output that it shows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dev.postgres import new_folder
from dev.processes import free_port
from tests.docs.shell import Command, File, open_shell, steps

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "first-job.md"
COPIED = ("Makefile", "crds", "dev")
"""The rest of a checkout that the page needs is its .venv: with one of the same programs, nothing is installed anew."""


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A checkout with its own .dev, so that the dev cluster of whoever runs this is left alone."""
    folder = new_folder("scheduledjobs-tutorial-")  # not pytest's: PostgreSQL, which is not root, runs from its .venv
    try:
        _check_out(folder)
        yield folder
    finally:
        if (folder / ".dev" / "state.json").exists():  # the page was left half-way
            subprocess.run(["make", "down"], cwd=folder, check=True)
        shutil.rmtree(folder)


def _check_out(folder: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    for name in ("pyproject.toml", "requirements"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(ROOT / ".venv" / name)
    (folder / ".venv" / "ready").touch()


@pytest.mark.timeout(240)
def test_the_tutorial_prints_what_it_shows(checkout: Path, request: pytest.FixtureRequest) -> None:
    missing = [program for program in ("curl", "make") if shutil.which(program) is None]
    if missing:
        pytest.fail(f"the page uses {' and '.join(missing)}, not installed here")
    port = str(free_port())
    followed = steps(PAGE.read_text())
    with open_shell(os.environ, checkout) as shell:
        request.addfinalizer(lambda: _stop_replica(checkout))
        for step in followed:
            if isinstance(step, File):
                (checkout / step.name).write_text(step.text)
                continue
            shell.follow(Command(step.typed.replace("8080", port), step.shown))
            if step.typed.startswith("scheduledjobs run >"):
                (checkout / "replica.pid").write_text(shell.type("echo $!"))
    assert followed[-1] == Command("make down", "scheduledjobs: is down")
    assert not (checkout / ".dev" / "state.json").exists()
    assert len([step for step in followed if isinstance(step, Command)]) > 35


def _stop_replica(checkout: Path) -> None:
    """Stop the replica of a page that was left half-way, by its own id."""
    pid = checkout / "replica.pid"
    state = Path(f"/proc/{pid.read_text()}/cmdline") if pid.exists() else None
    if state is not None and state.exists() and b"scheduledjobs" in state.read_bytes():
        os.kill(int(pid.read_text()), signal.SIGKILL)
