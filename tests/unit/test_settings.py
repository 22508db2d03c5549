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


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("*", "'*' is not the name of a namespace; leave it empty for all of them"),
        ("a,*", "'*' is not the name of a namespace; leave it empty for all of them"),
        ("a,team-*", "'team-*' is not the name of a namespace"),
        ("Team", "'Team' is not the name of a namespace"),
        ("-a", "'-a' is not the name of a namespace"),
        ("a.b", "'a.b' is not the name of a namespace"),
        ("a" * 64, f"'{'a' * 64}' is not the name of a namespace"),
    ],
)
def test_a_watched_name_that_no_namespace_can_have_is_refused_at_the_start(
    names: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    monkeypatch.setenv("SCHEDULEDJOBS_WATCH_NAMESPACES", names)
    with pytest.raises(SettingsError) as caught:
        load()
    assert str(caught.value) == f"SCHEDULEDJOBS_WATCH_NAMESPACES: {sentence}"


def test_every_name_that_a_namespace_can_have_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a", "0", "a-b", "1" * 63)
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    monkeypatch.setenv("SCHEDULEDJOBS_WATCH_NAMESPACES", ",".join(names))
    assert load().watch_namespaces == names
