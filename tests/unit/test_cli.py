"""The command line without a server: exit codes that a script can tell apart, and moments that cannot be asked for."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, cast

import click
import pytest

from scheduledjobs.cli import asking, smoke
from scheduledjobs.cli import main as cli
from scheduledjobs.cli.main import exit_code
from scheduledjobs.kube.client import KubeClient

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, url: str = NOWHERE) -> int:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", url)
    monkeypatch.setattr(sys, "argv", ["scheduledjobs", *arguments])
    return exit_code("scheduledjobs")


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 65532"), OSError("no username")])
def test_a_user_id_that_has_no_name_cancels_as_its_number(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the operator's pod, where nobody has a name."""

    def nameless() -> str:
        raise error

    monkeypatch.setattr("getpass.getuser", nameless)
    assert asking.local_user() == f"uid {os.getuid()}"
    assert run(monkeypatch, "cancel", "1") == 3
    assert capsys.readouterr().err.startswith("scheduledjobs: connection failed")


@pytest.mark.parametrize("arguments", [["verify", "--since", "1h"], ["why", "a/b", "--at", "2026-01-01T00:00:00Z"]])
def test_a_database_that_does_not_answer_is_not_a_no(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 3
    assert capsys.readouterr().err.startswith("scheduledjobs: connection failed")


def test_an_error_that_nobody_expected_is_not_a_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "import_module", lambda _: 1 / 0)
    assert run(monkeypatch, "verify", "--since", "1h") == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "url", "sentence"),
    [
        (["verify", "--since", "soon"], NOWHERE, "must be RFC 3339"),
        (["verify", "--since", "1h"], "mysql://x", "SCHEDULEDJOBS_DATABASE_URL: must look like"),
        (["verify", "--since", "0001-01-01T00:00:00+10:00"], NOWHERE, "must lie in the years 1970 to 9000"),
        (["why", "a/b", "--at", "9999-12-31T23:59:59-10:00"], NOWHERE, "must lie in the years 1970 to 9000"),
        (["why", "a/b", "--at", "0001-01-01T00:00:00"], NOWHERE, "must lie in the years 1970 to 9000"),
        (["pause", "a/b", "--until", "9999-12-31T23:59:59-10:00"], NOWHERE, "must lie in the years 1970 to 9000"),
        (["pause", "a/b", "--by", "me", "--for", "0s"], NOWHERE, "Invalid value for --for: must lie in the future"),
        (
            ["pause", "a/b", "--by", "me", "--until", "2020-01-01T00:00:00Z"],
            NOWHERE,
            "value for --until: must lie in the",
        ),
        (["next", "* * * * *", "--after", "9999-12-31T23:59:59-10:00"], NOWHERE, "must lie in the years 1970 to 9000"),
        (["run-now", "a/b", "--payload", '{"a":NaN}'], NOWHERE, "must be a JSON object: unexpected character"),
        (["run-now", "a/b", "--payload", '{"a":"\\ud800"}'], NOWHERE, "must be a JSON object: no low surrogate"),
        (["nothing"], NOWHERE, "No such command"),
    ],
)
def test_a_wrong_argument_or_setting_is_2(
    arguments: list[str],
    url: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *arguments, url=url) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("after", ["9000-12-31T23:59:59-10:00", "1970-01-01T00:00:00+14:00"])
def test_the_first_and_the_last_year_can_be_asked_for(after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "next", "0 0 29 2 *", "--time-zone", "Asia/Tokyo", "--after", after) == 0


def test_fewer_moments_are_shown_where_time_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "next", "0 0 29 2 *", "--after", "9000-01-01T00:00:00Z", "--count", "300") == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 + 242
    assert "9996-02-29 00:00:00 UTC" in said[-1]


def test_the_exit_codes_are_in_the_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    assert "Exit codes: 0 done" in capsys.readouterr().out
    assert run(monkeypatch, "verify", "--help") == 0
    assert "3 if it could not be found" in capsys.readouterr().out


def test_a_setting_without_a_default_is_said_to_have_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "run", "--help") == 0
    said = capsys.readouterr().out
    assert "[default: none]" in " ".join(said.split())
    assert not re.search(r"default:\s+(None|\{|namespaces=|Quotas)", said)


def test_the_sql_of_roles_has_every_name_put_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "database", "roles", "--prefix", "ours") == 0
    text = capsys.readouterr().out
    assert {f"ours_{kind}" for kind in ("owner", "migrator", "runtime")} <= set(re.findall(r"\w+", text))
    assert not re.search(r"{\w+}", text)
    assert run(monkeypatch, "database", "reader", "team", "-n", "finance", "-n", "sales") == 0
    text = capsys.readouterr().out
    assert "ARRAY['finance', 'sales']" in text
    assert not re.search(r"{\w+}", text)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["roles", "--prefix", "Ours"], "must be lower-case letters"),
        (["roles", "--prefix", "pg_ours"], "must be lower-case letters"),
        (["roles", "--prefix", "a'; DROP ROLE b; --"], "must be lower-case letters"),
        (["roles", "--prefix", "a" * 60], "must be at most 54 characters"),
        (["reader", "team"], "give --namespace, once or more, or --all-namespaces"),
        (["reader", "team", "-n", "a", "--all-namespaces"], "give --namespace, once or more, or --all-namespaces"),
        (["reader", "team", "-n", "a'b"], "is not the name of a namespace"),
        (["reader", "Team", "-n", "a"], "Invalid value for ROLE: must be lower-case letters"),
        (["owner"], "No such command"),
    ],
)
def test_no_sql_is_printed_for_a_name_that_cannot_be(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "database", *arguments) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.out == ""


def test_a_wrong_address_of_the_migrator_is_named_and_its_password_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value, sentence in (("mysql://me:hunter2@host/db", "must look like"), (NOWHERE, "names the user of")):
        monkeypatch.setenv("SCHEDULEDJOBS_MIGRATE_URL", value)
        assert run(monkeypatch, "migrate") == 2
        said = capsys.readouterr().err
        assert f"SCHEDULEDJOBS_MIGRATE_URL: {sentence}" in said
        assert "hunter2" not in said


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        ({"outcome": "Missed", "reason": "TooLate"}, "smoke-1 ended Missed (TooLate)"),
        ({"outcome": "Failed", "reason": "Error", "message": "boom"}, "smoke-1 ended Failed (Error): boom"),
        ({"outcome": "Lost"}, "smoke-1 ended Lost"),
    ],
)
async def test_smoke_says_why_its_run_did_not_succeed(last: dict[str, str], sentence: str) -> None:
    class Kube:
        async def request(self, *_: str) -> dict[str, Any]:
            return {"status": {"lastExecution": last}}

    with pytest.raises(click.ClickException) as refused:
        await smoke._wait(cast("KubeClient", Kube()), "default", "smoke-1", 1)
    assert refused.value.message == sentence
