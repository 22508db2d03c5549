"""A known vulnerability fails `make check`; a service that does not answer is said in a line, and does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from dev.audit import PROGRAM, ROOT, audit

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="needs .venv/release: make .venv/release/ready")

HOLE = {
    "id": "PYSEC-2099-1",
    "summary": "a hole",
    "details": "a hole",
    "modified": "2099-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


@contextmanager
def osv(*holes: dict[str, Any], hang: threading.Event | None = None) -> Iterator[str]:
    """An OSV service that knows these vulnerabilities; with `hang` it answers once that is set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if hang is not None:
                hang.wait()
            found = [hole for hole in holes if hole["affected"][0]["package"]["name"] == asked["package"]["name"]]
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        if hang is not None:
            hang.set()
        server.shutdown()
        thread.join()
        server.server_close()


def make_check(url: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> subprocess.CompletedProcess[str]:
    """Run what `make check` runs, against a service of ours."""
    monkeypatch.setenv("AUDIT_OSV", url)
    monkeypatch.setenv("AUDIT_SECONDS", "120")
    command = [sys.executable, "-m", "dev.audit", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_known_vulnerability_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with osv(HOLE) as url:
        done = make_check(url, monkeypatch, "check")
    assert done.returncode == 1, done.stderr
    assert re.search(r"jinja2 [\d.]+: PYSEC-2099-1; mended in 99.1", done.stderr)
    assert re.search(r"audited \d\d packages, 1 known vulnerabilities", done.stderr)


def test_without_one_it_passes_and_says_how_many_it_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with osv() as url:
        done = make_check(url, monkeypatch, "check")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert re.search(r"audited \d\d packages, 0 known vulnerabilities$", done.stderr.strip())


def test_where_nobody_answers_the_check_passes_in_a_line_and_the_audit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for words, code in ((["check"], 0), ([], 1)):
        done = make_check("http://127.0.0.1:9/", monkeypatch, *words)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1)
        assert done.stderr.startswith("scheduledjobs: audit skipped: ")


def test_a_service_that_hangs_is_given_up() -> None:
    with osv(hang=threading.Event()) as url:
        verdict = audit(0.5, [ROOT / "requirements" / "build.txt"], "--vulnerability-service", "osv", "--osv-url", url)
    assert verdict.text == "audit skipped: the vulnerability service took longer than 0.5 s"
