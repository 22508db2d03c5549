"""What looks like a secret is not shown."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduledjobs.core.masking import MASK, masked


@pytest.mark.parametrize(
    "key",
    [
        "password", "PASSWORD", "db_password", "dbPassword", "passwd", "secret", "client-secret", "token",
        "X-Auth-Token", "Authorization", "api key", "api_key", "API-Key", "apiKey", "apikey", "accessKey",
        "AWS_ACCESS_KEY_ID", "credential", "credentials", "Cookie", "Set-Cookie", "privateKey", "private_key",
    ],
)  # fmt: skip
def test_a_key_that_names_a_secret_hides_its_value(key: str) -> None:
    assert masked({key: "s3cret"}) == {key: MASK}


@pytest.mark.parametrize("key", ["user", "url", "key", "pass", "message", "access", "monkey"])
def test_other_keys_are_shown(key: str) -> None:
    assert masked({key: "shown"}) == {key: "shown"}


def test_secrets_are_found_at_any_depth_and_hidden_whole() -> None:
    value = {
        "headers": {"Authorization": "Bearer x", "Accept": "*/*"},
        "list": [{"token": ["a"]}, 1],
        "secret": {"a": 1},
    }
    assert masked(value) == {
        "headers": {"Authorization": MASK, "Accept": "*/*"},
        "list": [{"token": MASK}, 1],
        "secret": MASK,
    }


def test_an_entry_that_is_named_like_a_secret_hides_its_value() -> None:
    assert masked([{"name": "API_KEY", "value": "x"}, {"name": "LEVEL", "value": "info"}]) == [
        {"name": "API_KEY", "value": MASK},
        {"name": "LEVEL", "value": "info"},
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ana:s3cret@example.com:8443/a?b=c#d", f"https://{MASK}@example.com:8443/a?b=c#d"),
        ("postgresql://ana:p@ss@db/x", f"postgresql://{MASK}@db/x"),
        ("https://only-a-token@example.com/", f"https://{MASK}@example.com/"),
        ("see http://a:b@c/ and HTTPS://d:e@f", f"see http://{MASK}@c/ and HTTPS://{MASK}@f"),
        ("https://example.com/?q=1&access_token=abc&x=2", f"https://example.com/?q=1&access_token={MASK}&x=2"),
        ("https://example.com/a@b", "https://example.com/a@b"),
        ("https://example.com/?to=ana@example.com", "https://example.com/?to=ana@example.com"),
        ("ana@example.com", "ana@example.com"),
        ("password=x", "password=x"),
    ],
)
def test_the_login_in_a_url_is_hidden_and_the_rest_kept(text: str, shown: str) -> None:
    assert masked({"url": text}) == {"url": shown}
    assert masked(text) == shown


@pytest.mark.parametrize("value", [None, "", [], {}, True, False])
def test_where_there_is_nothing_to_hide_nothing_is_hidden(value: Any) -> None:
    assert masked({"password": value}) == {"password": value}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("token"), inner),
    max_leaves=20,
)


@given(JSON)
def test_masking_again_changes_nothing_more(value: Any) -> None:
    assert masked(masked(value)) == masked(value)


def test_long_text_costs_little() -> None:
    text = "a." * 50_000 + "://" + "b" * 100_000 + "?&=" * 50_000
    started = time.process_time()
    assert masked(text) == text
    assert time.process_time() - started < 1.0
