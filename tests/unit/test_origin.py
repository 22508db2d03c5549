"""Where a credential may be sent: scheme, host and port all count."""

from __future__ import annotations

import pytest
from yarl import URL

from scheduledjobs.core.origin import read_origin

SAME = [
    ("api.example.com", "https://api.example.com/"),
    ("API.example.com", "https://api.EXAMPLE.com:443/x?y"),
    ("https://api.example.com", "https://api.example.com/"),
    ("api.example.com:8443", "https://api.example.com:8443/"),
    ("*.example.com", "https://a.example.com/"),
    ("*.example.com", "https://a.b.example.com/"),
    ("http://reports.finance.svc", "http://reports.finance.svc/"),
    ("http://reports.finance.svc:8080", "http://reports.finance.svc:8080/run"),
    ("10.0.0.7", "https://10.0.0.7/"),
    ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080/"),
]
OTHER = [
    ("api.example.com", "http://api.example.com/"),
    ("api.example.com", "http://api.example.com:443/"),
    ("api.example.com", "https://api.example.com:8443/"),
    ("api.example.com", "https://api.example.com.evil.example/"),
    ("api.example.com", "https://evil.example/api.example.com"),
    ("api.example.com", "https://evil.example/#@api.example.com"),
    ("api.example.com", "https://api.example.com./"),
    ("api.example.com", "https://xapi.example.com/"),
    ("*.example.com", "https://example.com/"),
    ("*.example.com", "https://evilexample.com/"),
    ("*.example.com", "https://.example.com/"),
    ("http://reports.finance.svc:8080", "http://reports.finance.svc/"),
    ("http://reports.finance.svc", "https://reports.finance.svc/"),
]


def has(entry: str, address: str) -> bool:
    url = URL(address)
    return read_origin(entry).has(url.scheme, url.raw_host or "", url.port)


@pytest.mark.parametrize(("entry", "url"), SAME, ids=str)
def test_an_entry_stands_for_its_scheme_host_and_port(entry: str, url: str) -> None:
    assert has(entry, url)


@pytest.mark.parametrize(("entry", "url"), OTHER, ids=str)
def test_and_for_no_other_server(entry: str, url: str) -> None:
    assert not has(entry, url)


WRONG = ["", "*", "*.", "https://", "ftp://a.example", "a.example/path", "a b", "user@a.example", "a.*.example", "a..b"]


@pytest.mark.parametrize("entry", [*WRONG, "a.example:0", "a.example:65536", "a.example:x", "a\n", "x" * 254, "*.*.a"])
def test_what_stands_for_no_server_is_refused_with_a_sentence(entry: str) -> None:
    with pytest.raises(ValueError, match=r"api\.example\.com|a port that there is not"):
        read_origin(entry)
