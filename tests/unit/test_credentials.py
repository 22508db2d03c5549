"""Credentials: who may use one, what is read of it, and what is said where it cannot be."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from yarl import URL

from scheduledjobs.core.reasons import Reason
from scheduledjobs.errors import CredentialError, SettingsError, SpecError
from scheduledjobs.handlers.authorization import check_credential, check_headers, headers_of
from scheduledjobs.handlers.credentials import MOST_BYTES, MOST_KEYS, Credential, allow_credentials, credentials
from scheduledjobs.handlers.http import HttpPayload
from scheduledjobs.handlers.sql import allow_connections
from scheduledjobs.settings import Settings, load

CANARY = "canary-5f2b"
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "credentials.md"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    allow_credentials({})
    allow_connections("", {})


def given(folder: Path, **keys: str | bytes) -> Credential:
    for key, value in keys.items():
        path = folder / key.replace("__", ".").replace("_", "-")
        path.write_bytes(value if isinstance(value, bytes) else value.encode())
    allow_credentials({"reports": {"namespaces": ["finance"], "path": str(folder), "hosts": ["api.example.com"]}})
    return credentials.find("reports", "finance")


def test_a_namespace_finds_only_what_it_was_given() -> None:
    allow_credentials({"a": {"namespaces": ["finance"]}, "b": {"namespaces": ["*"]}, "c": {"namespaces": ["hr"]}})
    assert credentials.find("a", "finance").may_use("finance")
    assert not credentials.find("a", "finance").may_use("hr")
    for name in ("c", "d"):  # one of others is said to be unknown, like one that there is not
        with pytest.raises(SpecError) as caught:
            credentials.find(name, "finance")
        assert caught.value.reason is Reason.INVALID_PAYLOAD
        assert caught.value.message == (
            f"spec.payload.credential: unknown credential '{name}' in namespace finance: allowed are a, b"
        )
    allow_credentials({})
    with pytest.raises(SpecError, match="the operator was given none for it"):
        credentials.find("a", "finance")


@pytest.mark.parametrize(
    ("one", "words"),
    [
        ({}, "reports.namespaces: Field required"),
        ({"namespaces": []}, "reports.namespaces: "),
        ({"namespaces": ["*"], "path": "relative"}, "reports.path: must be an absolute path"),
        ({"namespaces": ["*"], "hosts": ["a/b"]}, "reports.hosts: 'a/b' must be a host such as"),
        ({"namespaces": ["*"], "token": CANARY}, "reports.token: Extra inputs are not permitted"),
        ({"namespaces": ["*"], "_name": CANARY}, "reports._name: "),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_and_its_value_is_not(one: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        allow_credentials({"reports": one})
    assert str(caught.value).startswith(f"SCHEDULEDJOBS_CREDENTIALS: {words}")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("text", [f'{{"a": "{CANARY}"', f'["{CANARY}"]', f'{{"a": "{CANARY}"}}', "[" * 100_000])
def test_a_setting_that_is_no_object_is_named_and_its_text_is_not(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    monkeypatch.setenv("SCHEDULEDJOBS_CREDENTIALS", text)
    with pytest.raises(SettingsError, match=r"^SCHEDULEDJOBS_CREDENTIALS: ") as caught:
        load()
    assert CANARY not in str(caught.value)


def test_a_secret_that_is_rotated_counts_at_the_next_use(tmp_path: Path) -> None:
    """As the kubelet does it: the keys are links through `..data`, which is changed at once."""
    for day, value in (("..1", "old"), ("..2", "new")):
        (tmp_path / day).mkdir()
        for key in ("username", "password"):
            (tmp_path / day / key).write_text(f"{value}-{key}")
    data = tmp_path / "..data"
    data.symlink_to("..1")
    for key in ("username", "password"):
        (tmp_path / key).symlink_to(f"..data/{key}")
    credential = given(tmp_path)
    before = credential.keys()
    assert before.names == {"username", "password"}
    data.unlink()
    data.symlink_to("..2")
    assert credential.read("password") == "new-password"
    assert (before.read("username"), before.read("password")) == ("old-username", "old-password")


def test_the_line_end_that_an_editor_leaves_is_not_the_value(tmp_path: Path) -> None:
    assert given(tmp_path, token="canary\r\n").read("token") == "canary"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "is missing"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"canary\nX-Forged: 1", "must be one line without control characters"),
        (b"canary\x00", "must be one line without control characters"),
        (b"canary\xff", "is not UTF-8 text"),
        (b"c" * (MOST_BYTES + 1), "is longer than 16 KiB"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_key_that_cannot_be_used_is_named_and_its_value_is_not(
    tmp_path: Path, value: bytes | None, words: str
) -> None:
    credential = given(tmp_path, other="x", **({} if value is None else {"token": value}))
    with pytest.raises(CredentialError) as caught:
        credential.read("token")
    assert str(caught.value) == f"credential 'reports': the key 'token' {words}"


def test_a_key_that_is_no_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    (tmp_path / "username").mkdir()
    credential = given(tmp_path)
    for key in ("token", "username"):
        with pytest.raises(CredentialError, match=f"'{key}' is not a file"):
            credential.read(key)


def test_a_secret_that_is_not_mounted_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="its Secret is not mounted, or is empty"):
        given(tmp_path).keys()
    with pytest.raises(CredentialError, match="its Secret cannot be read: No such file"):
        given(tmp_path / "gone").keys()
    allow_credentials({"a": {"namespaces": ["*"]}})
    with pytest.raises(CredentialError, match="given no path"):
        credentials.find("a", "x").keys()
    with pytest.raises(CredentialError, match=f"more than {MOST_KEYS} keys"):
        given(tmp_path, **{f"k{n}": "x" for n in range(MOST_KEYS + 1)}).keys()


SENT = [
    ({"token": "abc"}, {"Authorization": "Bearer abc"}),
    ({"username": "ana", "password": "p:w"}, {"Authorization": "Basic YW5hOnA6dw=="}),
    ({"header__X_Api_Key": "k"}, {"X-Api-Key": "k"}),
    ({"token": "abc", "header__X_Tenant": "t", "ca__crt": "ignored"}, {"Authorization": "Bearer abc", "X-Tenant": "t"}),
    ({"header__Authorization": "ApiKey abc"}, {"Authorization": "ApiKey abc"}),
]
UNUSABLE = [
    ({"ca__crt": "x"}, "has none of the keys that http sends: token, username and password, header.NAME"),
    ({"username": "ana"}, "the key 'password' is missing"),
    ({"password": CANARY}, "the key 'username' is missing"),
    ({"username": "a:b", "password": CANARY}, "the key 'username' must not hold a colon"),
    ({"token": CANARY, "username": "a", "password": CANARY}, "has token and username: which one is meant?"),
    ({"token": CANARY, "header__Authorization": CANARY}, "has Authorization and token: which one is meant?"),
    ({"header__Host": CANARY}, "the key 'header.Host' names no header that may be set"),
    ({"header__": CANARY}, "the key 'header.' names no header that may be set"),
]


@pytest.mark.parametrize(("keys", "headers"), SENT, ids=str)
def test_the_keys_say_what_is_sent(tmp_path: Path, keys: dict[str, str], headers: dict[str, str]) -> None:
    assert headers_of(given(tmp_path, **keys)) == headers


@pytest.mark.parametrize(("keys", "words"), UNUSABLE, ids=lambda value: str(value)[:60])
def test_keys_that_make_no_header_are_named(tmp_path: Path, keys: dict[str, str], words: str) -> None:
    with pytest.raises(CredentialError) as caught:
        headers_of(given(tmp_path, **keys))
    assert words in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("namespace", "url", "headers", "words"),
    [
        ("hr", "https://api.example.com/", {}, "unknown credential 'reports' in namespace hr"),
        ("finance", "https://evil.example/", {}, "spec.payload.url: credential 'reports' must not be sent to"),
        ("finance", "http://api.example.com/", {}, "must not be sent to http://api.example.com; it may be to"),
        ("finance", "https://api.example.com/", {"hOst": "evil"}, "spec.payload.headers: hOst must not be set"),
        ("finance", "https://api.example.com/", {"Transfer-Encoding": "x"}, "Transfer-Encoding must not be set"),
    ],
)
def test_a_credential_goes_to_its_hosts_and_to_no_other(
    tmp_path: Path, namespace: str, url: str, headers: dict[str, str], words: str
) -> None:
    given(tmp_path)
    check_credential("finance", "reports", URL("https://api.example.com/x"), {"X-Team": "a"})
    with pytest.raises(SpecError) as caught:
        check_credential(namespace, "reports", URL(url), headers)
    assert caught.value.reason is Reason.INVALID_PAYLOAD
    assert words in caught.value.message


@pytest.mark.parametrize("one", [{"hosts": ["api.example.com"]}, {"path": "/x"}, {"secret": "reports"}])
def test_a_credential_without_hosts_or_path_is_not_for_http(one: dict[str, Any]) -> None:
    allow_credentials({"a": {"namespaces": ["*"], **one}})
    with pytest.raises(SpecError, match=r"'a' is not for http: the operator was given no (path|hosts) for it"):
        check_credential("finance", "a", URL("https://api.example.com/"), {})


@pytest.mark.parametrize("name", ["Authorization", "authorization", "Proxy-Authorization", "cookie"])
def test_a_secret_in_the_payload_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(ValidationError, match=r"name a credential that the operator was given, in spec\.payload\.cred"):
        HttpPayload.model_validate({"url": "https://api.example.com", "headers": {name: CANARY}})
    with pytest.raises(ValidationError, match=r"url\n.*must not hold a user or password"):
        HttpPayload.model_validate({"url": "https://ana:canary@api.example.com"})


INJECTED = [
    ("X-A", "a\r\nX-B: b"), ("X-A", "a\nb"), ("X-A", "a\rb"), ("X-A", "a\0b"), ("X-A\r\nX-B", "b"),
    ("X-A: b\nX-C", "c"),    ("X A", "b"), ("X-A:", "b"), ("", "b"), ("Authorization ", "b"), ("\tCookie", "b"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), INJECTED, ids=ascii)
def test_a_header_cannot_break_out_of_its_line(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"is not the name of a header|must be one line"):
        check_headers({name: value})


def test_a_connection_whose_address_is_in_a_file_says_only_where(tmp_path: Path) -> None:
    for one, words in (
        ({"url": f"postgresql://a:{CANARY}@b/c", "url_file": "/x"}, "w: has url and url_file: which one is meant?"),
        ({"url_file": "x"}, "w.url_file: must be an absolute path"),
    ):
        with pytest.raises(SettingsError) as caught:
            allow_connections("", {"w": {"namespaces": ["*"], **one}})
        assert str(caught.value) == f"SCHEDULEDJOBS_SQL_CONNECTIONS: {words}"


def test_the_setting_says_every_field_of_a_credential() -> None:
    said = Settings.model_fields["credentials"].description or ""
    assert [name for name in Credential.model_fields if f'"{name}":' not in said] == []


def test_the_page_gives_a_credential_in_each_form() -> None:
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.S)]
    found = [block for block in blocks if "url_file" not in str(block)]  # that one is a connection
    for block in found:
        allow_credentials(block)
    assert {name for block in found for one in block.values() for name in one} == set(Credential.model_fields)
