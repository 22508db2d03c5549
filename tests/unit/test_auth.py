"""Who may: where a request comes from, what a browser keeps, and where it is sent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from starlette.requests import Request

from scheduledjobs.errors import SettingsError
from scheduledjobs.settings import is_loopback, load
from scheduledjobs.web.auth import COOKIE, LONGEST_COOKIE, bearer, is_own, local_path, sign_in, sign_out, to_login
from scheduledjobs.web.problems import ProblemError


def request(verb: str = "GET", url: str = "/ui/jobs", scheme: str = "http", **headers: str) -> Request:
    path, _, query = url.partition("?")
    sent: Mapping[str, str] = {"host": "jobs.example", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return Request(
        {
            "type": "http",
            "method": verb,
            "scheme": scheme,
            "path": path,
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(key.encode(), value.encode()) for key, value in sent.items()],
            "server": ("127.0.0.1", 80),
        }
    )


OWN = [
    {"origin": "http://jobs.example"},
    {"origin": "https://jobs.example"},
    {"origin": "https://JOBS.example"},
    {"origin": "https://jobs.example", "host": "jobs.example:443"},
    {"origin": "http://localhost:8080", "host": "localhost:8080"},
    {"origin": "http://[::1]:8080", "host": "[::1]:8080"},
    {"origin": "https://jobs.example", "host": "10.0.0.7:8080", "x_forwarded_host": "jobs.example, inner"},
    {"sec_fetch_site": "same-origin"},
]
FORGED = [
    {},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "https://evil.example"},
    {"origin": "https://jobs.example.evil.example"},
    {"origin": "https://jobs.example:8443"},
    {"origin": "https://jobs.example:80"},
    {"origin": "http://jobs.example@evil.example"},
    {"origin": "ftp://jobs.example"},
    {"origin": "jobs.example"},
    {"origin": "http://[bad"},
    {"origin": "https://evil.example", "sec_fetch_site": "same-origin"},
    {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "none"},
]


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_a_page_of_this_server_is_known_by_its_origin(headers: dict[str, str]) -> None:
    assert is_own(request("POST", **headers))


@pytest.mark.parametrize("headers", FORGED, ids=str)
def test_any_other_origin_is_forged(headers: dict[str, str]) -> None:
    assert not is_own(request("POST", **headers))


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Bearer", ""), ("Basic abc", None), ("", None), ("abc", None)],
)
def test_the_token_is_read_from_a_bearer_header_only(header: str, token: str | None) -> None:
    assert bearer(request(authorization=header)) == token


@pytest.mark.parametrize("path", ["/ui/", "/ui/jobs?q=a&state=ACTIVE", "/ui/jobs/default/hello%2F", "/ui/?x=//y"])
def test_a_path_of_ours_is_gone_on_to(path: str) -> None:
    assert local_path(path) == path


ELSEWHERE = [None, "", "/", "/jobs", "ui/", "//evil.example/ui/", "https://evil.example/ui/", "/\\evil.example", "/ui"]
ELSEWHERE += [
    "/ui/\\..\\x",
    "/ui/\n/x",
    "/ui/\x00",
    "/ui/\u202e",
    "/ui/login?next=/ui/",
    "/ui/logout",
    "/ui/" + "x" * 2000,
]


@pytest.mark.parametrize("path", ELSEWHERE, ids=ascii)
def test_any_other_path_is_not(path: str | None) -> None:
    assert local_path(path) == "/ui/"


def test_the_cookie_is_for_this_server_and_no_script() -> None:
    headers = sign_in(request(), "abc.def")
    assert headers["Set-Cookie"] == f"{COOKIE}=abc.def; HttpOnly; SameSite=Strict; Path=/"
    assert headers["Cache-Control"] == "no-store"
    assert "Max-Age=0" in sign_out(request())["Set-Cookie"]


@pytest.mark.parametrize(
    "how", [{"scheme": "https"}, {"x_forwarded_proto": "https"}, {"x_forwarded_proto": "HTTPS, http"}]
)
def test_the_cookie_is_secure_where_the_request_came_by_https(how: dict[str, str]) -> None:
    assert sign_in(request(**how), "abc")["Set-Cookie"].endswith("; Secure")
    assert "; Secure" in sign_out(request(**how))["Set-Cookie"]


def test_a_token_too_long_for_a_cookie_is_refused_with_a_sentence() -> None:
    assert sign_in(request(), "x" * LONGEST_COOKIE)
    with pytest.raises(ProblemError, match="3800 bytes"):
        sign_in(request(), "x" * (LONGEST_COOKIE + 1))


def test_who_is_not_signed_in_comes_back_to_the_page_asked_for() -> None:
    response = to_login(request(url="/ui/jobs?q=a&state=FAILED"))
    assert response.status_code == 303
    assert response.headers["location"] == "/ui/login?next=/ui/jobs%3Fq%3Da%26state%3DFAILED"
    assert to_login(request("POST", "/ui/jobs/x/pause")).headers["location"] == "/ui/login?next=/ui/"


def test_who_follows_a_link_from_elsewhere_is_led_to_the_same_page_again_with_the_cookie() -> None:
    response = to_login(request(url="/ui/jobs?q=<&x=1", sec_fetch_site="cross-site"))
    assert response.status_code == 200
    assert b'content="0;url=/ui/jobs?q=&lt;&amp;x=1"' in response.body
    assert b'url=/ui/"' in to_login(request(url="//evil.example", sec_fetch_site="cross-site")).body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "x.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "jobs.example", "127.0.0.1.x", "localhost.x"])
def test_any_other_host_is_not(host: str) -> None:
    assert not is_loopback(host)


WRONG = [
    ({"AUTH": "none"}, "SCHEDULEDJOBS_AUTH: none is only for a SCHEDULEDJOBS_HOST that nobody else reaches"),
    ({"AUTH": "none", "HOST": "10.0.0.1"}, "SCHEDULEDJOBS_AUTH: none is only for"),
    ({"AUTH": "nobody"}, "SCHEDULEDJOBS_AUTH: should be 'token', 'none' or 'none-for-everybody'"),
    ({"PORT": "9090"}, "SCHEDULEDJOBS_PORT: 9090 is the port of SCHEDULEDJOBS_METRICS_PORT"),
    ({"METRICS_PORT": "8080"}, "SCHEDULEDJOBS_PORT: 8080 is the port of SCHEDULEDJOBS_METRICS_PORT"),
    ({"PORT": "70000"}, "SCHEDULEDJOBS_PORT: should be less than or equal to 65535"),
    ({"HOST": ""}, "SCHEDULEDJOBS_HOST: "),
]
RIGHT = [
    {},
    {"AUTH": "none", "HOST": "127.0.0.1"},
    {"AUTH": "none", "HOST": "localhost", "PORT": "0"},
    {"AUTH": "none-for-everybody"},
    {"AUTH": "none", "WEB": "false"},
    {"PORT": "9090", "WEB": "false"},
    {"PORT": "0", "METRICS_PORT": "0"},
    {"PORT": "9090", "HOST": "127.0.0.1", "METRICS_HOST": "127.0.0.2"},
]


@pytest.mark.parametrize(("settings", "sentence"), WRONG, ids=str)
def test_settings_that_cannot_be_together_are_named(
    settings: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(settings, monkeypatch)
    with pytest.raises(SettingsError) as caught:
        load()
    assert sentence in str(caught.value)


@pytest.mark.parametrize("settings", RIGHT, ids=str)
def test_settings_that_can_be_are_taken(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    give(settings, monkeypatch)
    assert load()


def give(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    for key, value in settings.items():
        monkeypatch.setenv(f"SCHEDULEDJOBS_{key}", value)
