"""Whoever interrupts the demo, however impatiently, keeps no process of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import pytest
from dev.postgres import new_folder
from dev.processes import until

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo's servers keep their data, so that their command lines name it."""
    made = new_folder("scheduledjobs-interrupts-")
    yield made
    rmtree(made, ignore_errors=True)


def living(folder: Path) -> list[str]:
    """The command lines and environments that name the folder: servers have it in one, replicas in the other."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            texts = [(process / name).read_bytes() for name in ("cmdline", "environ")] if process.name.isdigit() else []
        except OSError:
            continue
        if any(str(folder).encode() in text for text in texts):
            found.append(texts[0].decode())
    return found


def begin(folder: Path) -> subprocess.Popen[str]:
    """Start a demo whose data is in the folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "dev.demo"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(demo: subprocess.Popen[str], folder: Path) -> None:
    """See that it ends as interrupted and that nothing is left."""
    _, said = demo.communicate(timeout=60)
    assert demo.returncode == 130, said
    assert living(folder) == []
    assert list(folder.iterdir()) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("starting PostgreSQL", signal.SIGINT),
        ("starting etcd", signal.SIGINT),
        ("applying migrations", signal.SIGTERM),
        ("applying examples", signal.SIGINT),
        ("applying examples", signal.SIGHUP),
    ],
)
def test_a_demo_interrupted_again_while_it_stops_leaves_nothing(
    folder: Path, moment: str, number: signal.Signals
) -> None:
    demo = begin(folder)
    assert demo.stderr is not None
    for line in demo.stderr:
        if moment in line:
            demo.send_signal(number)
        if "stopping" in line:
            demo.send_signal(number)
            break
    end(demo, folder)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("file", ["*/postgres/data/postmaster.pid", "*/controlplane/etcd.log"])
def test_a_demo_interrupted_while_a_server_is_getting_ready_leaves_nothing(folder: Path, file: str) -> None:
    demo = begin(folder)
    assert until(lambda: any(folder.glob(file)), 60, every=0.005)
    demo.send_signal(signal.SIGINT)
    end(demo, folder)
