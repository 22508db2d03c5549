"""The http handler with a credential, against a server that says back what it was sent."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.integration.conftest import Stage, resource
from tests.integration.test_http_handler import EXECUTION

from scheduledjobs.errors import CredentialError, Permanent, SpecError
from scheduledjobs.handlers.credentials import allow_credentials
from scheduledjobs.handlers.execution import Output, captured
from scheduledjobs.handlers.http import HttpError, HttpPayload, allow, http

TOKEN = "canary-of-a-token"


@dataclass
class Echo:
    """A server that answers with the headers that it was sent, in its body and as a Location."""

    port: int = 0
    seen: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        sent = request.headers.get("Authorization", "")
        status = int(request.match_info["status"])
        text = "x" * 190 + sent + "y" * 10
        return web.Response(status=status, text=text, headers={"Location": f"http://169.254.169.254/?{sent}"})


async def serve(echo: Echo, context: ssl.SSLContext | None = None) -> web.AppRunner:
    app = web.Application()
    app.router.add_route("*", "/{status}", echo.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    echo.port = runner.addresses[0][1]
    return runner


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    found = Echo()
    runner = await serve(found)
    yield found
    await runner.cleanup()


@pytest.fixture(autouse=True)
def given(echo: Echo, tmp_path: Path) -> Iterator[Path]:
    allow(["127.0.0.0/8"])
    (tmp_path / "token").write_text(TOKEN)
    one = {"namespaces": ["default"], "path": str(tmp_path), "hosts": [f"http://127.0.0.1:{echo.port}", "127.0.0.1"]}
    allow_credentials({"reports": one})
    token = captured.set(Output())
    yield tmp_path
    captured.reset(token)
    allow_credentials({})
    allow([])


async def call(url: str, namespace: str = "default", **payload: Any) -> Any:
    execution = replace(EXECUTION, namespace=namespace)
    return await http(execution, HttpPayload.model_validate({"url": url, "credential": "reports", **payload}))


async def test_the_credential_is_sent_to_its_host_and_read_anew_each_time(echo: Echo, given: Path) -> None:
    headers = {"X-Team": "finance"}
    assert (await call(f"http://127.0.0.1:{echo.port}/200", headers=headers))["status"] == 200
    (given / "token").write_text("rotated-token\n")
    await call(f"http://127.0.0.1:{echo.port}/200")
    assert [request.headers["Authorization"] for request in echo.seen] == [f"Bearer {TOKEN}", "Bearer rotated-token"]
    assert echo.seen[0].headers["X-Team"] == "finance"


async def test_a_header_of_the_credential_goes_before_one_of_the_payload(echo: Echo, given: Path) -> None:
    (given / "header.X-Tenant").write_text("finance")
    await call(f"http://127.0.0.1:{echo.port}/200", headers={"x-tenant": "hr"})
    assert echo.seen[0].headers.getall("X-Tenant") == ["finance"]


@pytest.mark.parametrize(
    ("url", "namespace"),
    [
        ("http://localhost:{port}/200", "default"),
        ("https://127.0.0.1:{port}/200", "default"),
        ("http://127.0.0.1:{port}/200", "hr"),
    ],
)
async def test_a_credential_is_sent_to_no_other_server_and_for_no_other_namespace(
    echo: Echo, url: str, namespace: str
) -> None:
    with pytest.raises(SpecError):
        await call(url.format(port=echo.port), namespace)
    assert echo.seen == []


async def test_a_server_without_a_good_certificate_gets_no_credential(echo: Echo, tmp_path: Path) -> None:
    key, cert = tmp_path / "tls.key", tmp_path / "tls.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=127.0.0.1"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    secure = Echo()
    runner = await serve(secure, context)
    one = {"namespaces": ["default"], "path": str(tmp_path), "hosts": [f"127.0.0.1:{secure.port}"]}
    allow_credentials({"reports": one})
    with pytest.raises(HttpError, match="CertificateError"):
        await call(f"https://127.0.0.1:{secure.port}/200")
    assert secure.seen == []
    await runner.cleanup()


@pytest.mark.parametrize(("status", "error"), [(404, Permanent), (503, HttpError)])
async def test_what_a_server_says_back_is_masked_before_it_is_cut(
    echo: Echo, status: int, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        await call(f"http://127.0.0.1:{echo.port}/{status}")
    assert str(caught.value).endswith("x" * 190 + "Bearer ***")
    assert len(echo.seen) == 1


async def test_a_redirect_takes_the_credential_nowhere(echo: Echo) -> None:
    with pytest.raises(Permanent, match="redirects are not followed"):
        await call(f"http://127.0.0.1:{echo.port}/302")
    assert len(echo.seen) == 1


async def test_a_key_that_is_missing_fails_before_anything_is_sent(echo: Echo, given: Path) -> None:
    (given / "token").unlink()
    with pytest.raises(CredentialError, match="credential 'reports': its Secret is not mounted, or is empty"):
        await call(f"http://127.0.0.1:{echo.port}/200")
    assert echo.seen == []


async def test_the_mirror_says_what_a_namespace_may_not_do(stage: Stage) -> None:
    payload = {"url": "https://127.0.0.1/run", "credential": "theirs"}
    await stage.mirror(resource(handler="http", fixedRate="1h", payload=payload))
    row = stage.job()
    assert (row["state"], row["reason"]) == ("INVALID", "InvalidPayload")
    assert row["message"] == (
        "spec.payload.credential: unknown credential 'theirs' in namespace default: allowed are reports"
    )
