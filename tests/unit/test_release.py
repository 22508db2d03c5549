"""A release is one version, wherever it is said; what an audit says is read as it was meant."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from dev import audit, sbom
from dev.build import KUBERNETES, OLDER, apiserver
from dev.compat import PAIRS
from dev.postgres import binaries

import scheduledjobs

ROOT = Path(__file__).parents[2]
VERSION = scheduledjobs.__version__


def test_every_place_says_the_same_version() -> None:
    chart = yaml.safe_load((ROOT / "charts/scheduledjobs/Chart.yaml").read_text())
    (label,) = re.findall(r"^ARG VERSION=(.+)$", (ROOT / "Dockerfile").read_text(), re.M)
    said = {
        "wheel": version("scheduledjobs"),
        "chart": chart["version"],
        "app": chart["appVersion"],
        "image label": label,
        "sbom": sbom.version(),
    }
    assert said == dict.fromkeys(said, VERSION)


def test_every_page_that_names_an_image_names_this_version() -> None:
    pages = [ROOT / "README.md", ROOT / "Dockerfile", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*")]
    named = {
        (page.relative_to(ROOT).as_posix(), tag)
        for page in pages
        if page.is_file()
        for tag in re.findall(r"(?:/|\s|=)scheduledjobs:(\d[\w.]*)", page.read_text())
    }
    assert len(named) >= 3
    assert {(page, tag) for page, tag in named if tag != VERSION} == set()


def test_the_changelog_has_a_heading_for_it_once_it_is_released() -> None:
    """Above the newest release there is only what is not released; before the first there is no other heading."""
    headings = re.findall(r"^## (?:\[?([^\]\s]+)\]?)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "Unreleased"
    assert len(headings) == 1 or headings[1] == VERSION


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


GOOD = {"name": "good", "version": "1", "vulns": []}
SILENT = {"name": "silent", "skip_reason": "Dependency not found on PyPI and could not be audited: silent (1)"}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}]}


def test_an_index_that_knows_no_package_is_no_clean_bill() -> None:
    verdict = audit.judge(report(SILENT, SILENT))
    assert verdict.text == "audit skipped: the vulnerability service knows none of the packages"


def test_an_audit_says_what_it_found_and_what_it_could_not_ask() -> None:
    verdict = audit.judge(report(GOOD, BAD, SILENT))
    assert verdict.found == ("bad 2: CVE-1, PYSEC-1; mended in 3",)
    assert verdict.text == "audited 2 packages, 1 known vulnerabilities, nothing is known of 1 more"


def test_an_accepted_vulnerability_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ACCEPTED", {"CVE-1": "a reason"})
    assert audit.judge(report(BAD)).found == ()


def test_a_report_that_cannot_be_read_is_no_answer() -> None:
    assert audit.judge("", "a\nConnectionError: no").text == "audit skipped: ConnectionError: no"


def test_the_tests_run_on_the_api_server_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = KUBERNETES[1:].rpartition(".")[0]
    for asked, name in (
        ("", "kube-apiserver"),
        (newest, "kube-apiserver"),
        ("1.34", f"kube-apiserver-{OLDER['1.34']}"),
    ):
        monkeypatch.setenv("SCHEDULEDJOBS_TEST_KUBERNETES", asked)
        assert apiserver() == name
    monkeypatch.setenv("SCHEDULEDJOBS_TEST_KUBERNETES", "1.2")
    with pytest.raises(SystemExit, match="not one of"):
        apiserver()


def test_a_postgresql_that_is_not_there_is_said_with_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULEDJOBS_TEST_POSTGRES", "99")
    with pytest.raises(
        SystemExit, match=r"no /usr/lib/postgresql/99/bin/initdb; Debian: apt-get install postgresql-99"
    ):
        binaries()


def test_the_modules_of_an_older_api_server_are_of_its_version() -> None:
    for minor, patch in OLDER.items():
        module = (ROOT / f"dev/controlplane/kubernetes-{minor}/go.mod").read_text()
        assert f"require k8s.io/kubernetes {patch}\n" in module
    assert {kubernetes for _, kubernetes in PAIRS} == set(OLDER)


def test_the_chart_asks_for_the_oldest_that_the_tests_can_run_on() -> None:
    chart = yaml.safe_load((ROOT / "charts/scheduledjobs/Chart.yaml").read_text())
    oldest = min(OLDER, key=lambda minor: tuple(map(int, minor.split("."))))
    assert chart["kubeVersion"] == f">={oldest}.0-0"
