"""Chromium is found where it is, and where it is not, one sentence says what to do."""

from __future__ import annotations

from pathlib import Path

import dev.browser
import pytest
from dev.browser import chromium, flags


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH with nothing in it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    return tmp_path


def program(path: Path) -> Path:
    path.touch(mode=0o755)
    return path


def test_the_one_that_is_named_goes_first(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(machine / "chromium")
    named = program(machine / "mine")
    monkeypatch.setenv("CHROMIUM", str(named))
    assert chromium() == named


def test_one_that_is_named_and_not_there_is_no_reason_to_take_another(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(machine / "chromium")
    monkeypatch.setenv("CHROMIUM", str(machine / "mine"))
    with pytest.raises(SystemExit, match=r"CHROMIUM=.*mine is no program"):
        chromium()


def test_the_machines_own_is_found(machine: Path) -> None:
    found = program(machine / "chromium")
    assert chromium() == found


def test_who_may_not_install_it_is_told_what_to_install(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(machine / "apt-get")
    monkeypatch.setattr(dev.browser.os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="apt-get install chromium"):
        chromium()
    assert "--no-sandbox" not in flags()


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="as Debian has it")
def test_root_on_debian_gets_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    apt = machine / "apt-get"
    apt.write_text(f'#!/bin/sh\necho "$@" >>{machine}/said\n: >{machine}/chromium\n/bin/chmod 755 {machine}/chromium\n')
    apt.chmod(0o755)
    monkeypatch.setattr(dev.browser.os, "geteuid", lambda: 0)
    assert chromium() == machine / "chromium"
    assert [line.split()[3] for line in (machine / "said").read_text().splitlines()] == ["update", "install"]
    assert "installing Debian's chromium" in capfd.readouterr().err
