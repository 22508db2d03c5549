"""REST is what its document says: schemathesis makes requests of it, good ones and bad ones, and checks each answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.acceptance.rest import Site

ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("SCHEDULEDJOBS_TEST_SECONDS", "90"))
SEED = int(os.environ.get("SCHEDULEDJOBS_TEST_SEED", "1"))
"""The same cases each run, so that one that turns red is about the change; another seed looks further."""


@pytest.mark.timeout(600)
def test_every_answer_is_as_the_document_says(site: Site, tmp_path: Path) -> None:
    job = site.create("fuzzed", payload={"message": "hello"})
    site.rest.ended(f"/executions/{site.run(job)['id']}")
    report = tmp_path / "report.json"
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "schemathesis.toml"), "run",
        f"http://127.0.0.1:{site.rest.port}/openapi.json", "--header", f"Authorization: Bearer {site.rest.token}",
        "--max-time", str(SECONDS), "--seed", str(SEED), "--report-json-path", str(report),
    ]  # fmt: skip
    names = {"FUZZ_NAMESPACE": site.ours, "FUZZ_JOB": job["id"]}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **names}, capture_output=True, text=True, check=False, timeout=500
    )
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    found = json.loads(report.read_text())
    cases = found["test_cases"]
    print(f"seed {SEED}: {cases['generated']} cases, {cases['unique_failures']} failures")
    assert (done.returncode, cases["unique_failures"], cases["errored"]) == (0, 0, 0)
    assert found["operations"]["tested"] == found["operations"]["total"] == 16
    assert "Traceback" not in site.log
