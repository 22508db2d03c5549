"""Alerts, runbooks, dashboard and per-job series: each is raised by what it is for, and names only what there is."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dev.metrics_docs import PAGE, exported, own, page
from dev.prometheus import promtool
from prometheus_client import REGISTRY

from scheduledjobs import metrics
from scheduledjobs.core import decide
from scheduledjobs.core.reasons import Reason
from scheduledjobs.kube.refusals import Refusals

ROOT = Path(__file__).parents[2]
FILES = ROOT / "charts" / "scheduledjobs" / "files"
RUNBOOKS = ROOT / "docs" / "runbooks"
OURS = re.compile(r"\b(?:scheduledjobs|leader_election)_[a-z_]+\b")
SELECTOR = re.compile(r"((?:scheduledjobs|leader_election)_[a-z_]+)\{([^}]*)\}")
OF_PROMETHEUS = {"instance", "pod", "namespace", "cluster", "le"}


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def expressions() -> dict[str, str]:
    """Every expression of alerts and dashboard, by what it is for."""
    panels = json.loads((FILES / "dashboard.json").read_text())["panels"]
    shown = {f"{panel['title']} {one['refId']}": one["expr"] for panel in panels for one in panel["targets"]}
    return {**{rule["alert"]: rule["expr"] for rule in alerts()}, **shown}


def labels_of() -> dict[str, set[str]]:
    """The labels of every series that is served."""
    found: dict[str, set[str]] = {}
    for metric, labels in own():
        name = exported(metric)
        for end in ("", "_bucket", "_sum", "_count") if metric.type == "histogram" else ("",):
            found[name + end] = {*labels, *(["version"] if metric.type == "info" else [])}
    return found


def test_each_alert_is_raised_by_what_it_is_for_and_silent_where_all_is_well() -> None:
    tool = promtool()
    if tool is None:
        pytest.skip("there is no promtool on this machine (Debian: apt-get install prometheus)")
    for words in (["check", "rules", str(FILES / "alerts.yaml")], ["test", "rules", "rules_test.yaml"]):
        done = subprocess.run(
            [str(tool), *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout
    tests = yaml.safe_load((Path(__file__).parent / "rules_test.yaml").read_text())["tests"]
    raised = {one["alert_rule_test"][0]["alertname"] for one in tests if one["alert_rule_test"][0]["exp_alerts"]}
    silent = {one["alert_rule_test"][0]["alertname"] for one in tests if not one["alert_rule_test"][0]["exp_alerts"]}
    assert raised == silent == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("name", expressions())
def test_every_metric_and_label_of_alerts_and_dashboard_is_served(name: str) -> None:
    served, expression = labels_of(), expressions()[name]
    names = set(OURS.findall(expression))
    assert names
    assert names <= served.keys()
    for metric, selector in SELECTOR.findall(expression):
        assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= served[metric] | OF_PROMETHEUS
    grouped = {label.strip() for words in re.findall(r"by \(([^)]*)\)", expression) for label in words.split(",")}
    assert grouped <= set().union(*(served[each] for each in names)) | OF_PROMETHEUS


@pytest.mark.parametrize("name", expressions())
def test_no_alert_or_panel_looks_at_what_other_controllers_serve_too(name: str) -> None:
    assert "leader_election_master_status" not in expressions()[name]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_tells_the_releases_and_clusters_of_one_prometheus_apart(rule: dict[str, Any]) -> None:
    aggregations = r"\b(?:sum|min|max|avg|count)\b(?: by \(([^)]*)\))?|\bon \(([^)]*)\)"
    grouped = [set((by or on).split(", ")) for by, on in re.findall(aggregations, rule["expr"])]
    assert grouped
    assert all({"cluster", "namespace"} <= labels for labels in grouped)


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    pages = {page.name: page.read_text() for page in RUNBOOKS.glob("*.md")}
    named = {rule["annotations"]["runbook_url"].removeprefix("docs/runbooks/"): rule for rule in alerts()}
    assert pages.keys() == named.keys()
    for name, rule in named.items():
        assert f"Alert `{rule['alert']}`, severity {rule['labels']['severity']}" in pages[name]
        assert rule["expr"] in pages[name]
        assert all(f"\n## {head}\n" in pages[name] for head in ("What it means for jobs", "Look", "Do"))


def test_the_reference_of_metrics_is_current() -> None:
    assert PAGE.read_text() == page(), "make docs"


def test_every_metric_says_what_it_is_and_none_is_by_job() -> None:
    for metric, labels in own():
        assert metric.documentation
        assert not set(labels) & {"job", "namespace", "uid"}
        assert metric.name.startswith(("scheduledjobs_", "leader_election_"))


def test_what_an_alert_takes_the_increase_of_is_served_as_0_from_the_start() -> None:
    """In a process of its own: the tests of this one have counted."""
    code = (
        "from prometheus_client import generate_latest as served; from scheduledjobs import metrics;"
        "metrics.begin(['http']); print(served().decode())"
    )
    served = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    begun = set(re.findall(r'scheduledjobs_fires_total{reason="(\w+)",state="MISSED"} 0[.]0', served))
    decided = set(re.findall(r"State[.]MISSED, (?:change or )?Reason[.](\w+)", inspect.getsource(decide)))
    changes = {Reason.EDITED, Reason.SUSPENDED, Reason.DELETED, Reason.RESTORED}
    assert len(decided) == 5
    assert begun == {Reason[name] for name in decided} | changes
    assert "scheduledjobs_mirror_drift_total 0.0" in served
    outcomes = re.findall(r'scheduledjobs_executions_total{handler="http",outcome="(\w+)"} 0[.]0', served)
    assert sorted(outcomes) == ["Cancelled", "Failed", "Lost", "Succeeded", "TimedOut"]
    assert 'scheduledjobs_lateness_seconds_bucket{handler="http",le="5.0"} 0.0' in served


def test_what_only_the_leader_knows_is_not_served_by_who_leads_no_more() -> None:
    metrics.BACKLOG.set(7)
    Refusals().refuse("a", "watch", "403")
    metrics.JOBS.labels(state="ACTIVE").set(3)
    metrics.follow()
    assert REGISTRY.get_sample_value("scheduledjobs_backlog") == 0
    assert REGISTRY.get_sample_value("scheduledjobs_namespaces_refused") == 0
    assert next(iter(metrics.JOBS.collect())).samples == []


def test_who_leads_says_its_term_by_the_name_of_the_lease_and_who_does_not_says_0() -> None:
    for term in (0, 7, 0):
        metrics.lead("of-a-test", term)
        served = [
            REGISTRY.get_sample_value(name, {"name": "of-a-test"})
            for name in ("scheduledjobs_term", "leader_election_master_status")
        ]
        assert served == [term, term > 0]


def test_every_path_of_kube_state_metrics_is_a_field_of_the_resource() -> None:
    crd = yaml.safe_load((ROOT / "crds" / "scheduledjobs.dev_scheduledjobs.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    (resource,) = yaml.safe_load((FILES / "kube-state-metrics.yaml").read_text())["spec"]["resources"]
    for metric in resource["metrics"]:
        for path in _paths(metric["each"]):
            found = schema
            for part in path:
                found = found["properties"][part]
            assert found["type"]


def _paths(each: Any) -> list[list[str]]:
    (kind,) = [value for key, value in each.items() if key != "type"]
    return [kind["path"]] if "path" in kind else list(kind["labelsFromPath"].values())
