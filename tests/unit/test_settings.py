"""Settings: what is wrong is named, its value never."""

from __future__ import annotations

import pytest

from scheduledjobs.errors import SettingsError
from scheduledjobs.settings import load


def test_a_missing_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCHEDULEDJOBS_DATABASE_URL", raising=False)
    with pytest.raises(SettingsError, match="SCHEDULEDJOBS_DATABASE_URL: is not set"):
        load()


def test_a_wrong_database_is_named_and_its_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "mysql://me:hunter2@host/db")
    with pytest.raises(SettingsError) as caught:
        load()
    assert "SCHEDULEDJOBS_DATABASE_URL: must look like postgresql://" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_several_wrong_settings_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    monkeypatch.setenv("SCHEDULEDJOBS_SLOTS", "0")
    monkeypatch.setenv("SCHEDULEDJOBS_METRICS_PORT", "70000")
    with pytest.raises(SettingsError, match=r"SCHEDULEDJOBS_SLOTS.*SCHEDULEDJOBS_METRICS_PORT"):
        load()


def test_lists_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    monkeypatch.setenv("SCHEDULEDJOBS_WATCH_NAMESPACES", "a, b,")
    assert load().watch_namespaces == ("a", "b")
