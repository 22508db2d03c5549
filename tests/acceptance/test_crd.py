"""The CRD on a real API server: what it takes, what it refuses, and that it says what is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dev.controlplane import ControlPlane

GOOD: list[dict[str, Any]] = [
    {"fixedRate": "10s", "jitter": "10s", "misfire": {"policy": "FireAll", "grace": "5m", "limit": 7}},
    {"fixedRate": "10s", "concurrencyPolicy": "Queue", "retry": {"limit": 2, "backoff": "1m", "maxBackoff": "1h"}},
    {"fixedDelay": "1m", "concurrencyPolicy": "Replace", "jitter": "1m"},
    {"schedule": "0 2 * * *"},
    {"schedule": "*/15 9-17 * * MON-FRI", "timeZone": "Europe/Berlin"},
    {"schedule": "30 0 0 1 1 *"},
    {"schedule": "@hourly"},
    {"schedule": "@annually"},
    {"schedule": "0 0 L * *"},
    {"schedule": "0 0 * * L5"},
    {"schedule": "0 0 * * 5#3"},
    {"schedule": "0 0 1,15 * *", "timeZone": "America/Argentina/Buenos_Aires"},
    {"schedule": "0 0 * JAN-MAR sun", "timeZone": "Etc/GMT+5"},
    {"fixedRate": "1s"},
    {"fixedRate": "1h30m"},
    {"fixedRate": "8784h"},
    {"fixedDelay": "90s"},
    {"fixedRate": "1500ms"},
    {"runAt": "2026-12-24T18:00:00+01:00"},
    {"fixedRate": "1s", "concurrencyPolicy": "Allow"},
    {"fixedRate": "1s", "suspend": True},
    {"fixedRate": "1s", "timeout": "100ms"},
    {"fixedRate": "1s", "startingDeadline": "1s"},
    {"fixedRate": "1s", "payload": {"any": {"thing": [1, None]}}},
    {"fixedRate": "1s", "startTime": "2026-01-01T00:00:00Z", "endTime": "2027-01-01T00:00:00Z"},
    {"fixedRate": "1s", "handler": "kubernetes-job"},
    {"fixedRate": "1s", "handler": "team.report-2"},
]

DURATION = "must be a duration such as 30s, 5m or 1h30m"
FIELDS = "must have 5 fields"
NOT_CRON = "has a field that is not cron"
ZONE = "must be a name of the IANA time zone database"
ONE = "set exactly one of schedule (cron), fixedRate, fixedDelay and runAt"
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, ONE),
    ({"schedule": "0 2 * * *", "fixedRate": "1s"}, ONE),
    ({"fixedRate": "1s", "fixedDelay": "1s"}, ONE),
    ({"schedule": "0 2 * *"}, FIELDS),
    ({"schedule": ""}, FIELDS),
    ({"schedule": "0 0 0 0 2 * *"}, FIELDS),
    ({"schedule": "60 * * * *"}, NOT_CRON),
    ({"schedule": "* 24 * * *"}, NOT_CRON),
    ({"schedule": "* * 32 * *"}, NOT_CRON),
    ({"schedule": "* * * 13 *"}, NOT_CRON),
    ({"schedule": "* * * * 8"}, NOT_CRON),
    ({"schedule": "*/0 * * * *"}, NOT_CRON),
    ({"schedule": "a b c d e"}, NOT_CRON),
    ({"schedule": "0 0 * * MON;DROP"}, NOT_CRON),
    ({"schedule": "TZ=Europe/Berlin 0 2 * * *"}, "must not name a zone"),
    ({"schedule": "@reboot"}, "must be one of @hourly"),
    ({"schedule": "@every 5m"}, "use fixedRate"),
    ({"schedule": "0 0 * * *", "timeZone": "Mars/Base"}, ZONE),
    ({"schedule": "0 0 * * *", "timeZone": "europe/berlin"}, ZONE),
    ({"schedule": "0 0 * * *", "timeZone": "Local"}, ZONE),
    ({"schedule": "0 0 * * *", "timeZone": "+05:30"}, ZONE),
    ({"schedule": "0 0 * * *", "timeZone": "../etc/passwd"}, ZONE),
    ({"schedule": "0 0 * * *", "timeZone": ""}, ZONE),
    ({"fixedRate": "0s"}, DURATION),
    ({"fixedRate": "500ms"}, DURATION),
    ({"fixedRate": "5"}, DURATION),
    ({"fixedRate": "1d"}, DURATION),
    ({"fixedRate": "-1s"}, DURATION),
    ({"fixedRate": "1.5s"}, DURATION),
    ({"fixedRate": "8785h"}, DURATION),
    ({"fixedRate": 30}, "Invalid value"),
    ({"fixedDelay": "soon"}, DURATION),
    ({"fixedDelay": "1s", "concurrencyPolicy": "Allow"}, "fixedDelay never overlaps"),
    ({"fixedRate": "1s", "timeout": "1ms"}, DURATION),
    ({"fixedRate": "1s", "timeout": "169h"}, DURATION),
    ({"fixedRate": "1s", "startingDeadline": "0s"}, DURATION),
    ({"fixedRate": "1s", "concurrencyPolicy": "Both"}, 'supported values: "Forbid", "Allow", "Replace", "Queue"'),
    ({"fixedRate": "10s", "jitter": "11s"}, "must not be longer than fixedRate"),
    ({"fixedDelay": "10s", "jitter": "11s"}, "must not be longer than fixedDelay"),
    ({"fixedRate": "10s", "jitter": "some"}, DURATION),
    ({"fixedRate": "1s", "misfire": {"policy": "FireTwice"}}, "supported values"),
    ({"fixedRate": "1s", "misfire": {"limit": 0}}, "greater than or equal to 1"),
    ({"fixedRate": "1s", "misfire": {"grace": "25h"}}, DURATION),
    ({"fixedRate": "1s", "retry": {"limit": -1}}, "greater than or equal to 0"),
    ({"fixedRate": "1s", "retry": {"backoff": "1ms"}}, DURATION),
    ({"fixedRate": "1s", "retry": {"backoff": "20m"}}, "must not be shorter than backoff"),
    ({"schedule": "* * * * *", "fixedRate": "1s"}, "set exactly one of"),
    ({"runAt": "tomorrow"}, "Invalid value"),
    ({"runAt": "2026-12-24T18:00:00Z", "startTime": "2026-01-01T00:00:00Z"}, "a one-shot takes no startTime"),
    ({"fixedRate": "1s", "startTime": "2027-01-01T00:00:00Z", "endTime": "2026-01-01T00:00:00Z"}, "after startTime"),
    ({"fixedRate": "1s", "handler": "Http"}, "must be lowercase letters"),
    ({"fixedRate": "1s", "handler": ""}, "must be lowercase letters"),
    ({"fixedRate": "1s", "handler": None}, "Required value"),
    ({"fixedRate": "1s", "handler": "x" * 64}, "Too long"),
    ({"fixedRate": "1s", "suspend": "yes"}, "Invalid value"),
    ({"fixedRate": "1s", "payload": "text"}, "Invalid value"),
]


def apply(cluster: ControlPlane, namespace: str, spec: dict[str, Any], name: str = "job") -> str:
    body = {
        "apiVersion": "scheduledjobs.dev/v1",
        "kind": "ScheduledJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"handler": "log", **spec},
    }
    done = cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(body), check=False)
    return done.stderr


@pytest.mark.parametrize("spec", GOOD, ids=lambda spec: json.dumps(spec)[:60])
def test_takes_what_is_good(cluster: ControlPlane, spec: dict[str, Any]) -> None:
    assert apply(cluster, "default", spec) == ""


@pytest.mark.parametrize(("spec", "sentence"), BAD, ids=lambda value: json.dumps(value)[:60])
def test_refuses_what_is_bad_and_says_what_is_allowed(
    cluster: ControlPlane, spec: dict[str, Any], sentence: str
) -> None:
    said = apply(cluster, "default", spec)
    assert sentence in said
    assert "(?i)^" not in said  # no regular expression is shown to a person


def test_refuses_a_name_that_is_no_label_value(cluster: ControlPlane) -> None:
    assert "at most 63 characters" in apply(cluster, "default", {"fixedRate": "1s"}, name="x" * 64)


def test_explain_lists_every_field(cluster: ControlPlane) -> None:
    said = cluster.kubectl("explain", "scheduledjob.spec", "--recursive").stdout
    crd = json.loads(cluster.kubectl("get", "crd", "scheduledjobs.scheduledjobs.dev", "-o", "json").stdout)
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert spec.keys() - set(said.split()) == set()


STATUS = {
    "observedGeneration": 1,
    "schedule": "*/15 * * * *",
    "suspended": False,
    "active": 1,
    "lastScheduleTime": "2026-11-23T21:30:00Z",
    "nextScheduleTime": "2026-11-23T21:35:00Z",
    "lastExecution": {"id": "918273", "outcome": "Succeeded"},
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Scheduled",
            "message": "",
            "lastTransitionTime": "2026-11-23T21:00:00Z",
        }
    ],
}


def test_a_status_in_a_manifest_is_dropped(cluster: ControlPlane, namespace: str) -> None:
    """So the export of a one-shot that has run, applied elsewhere, is a one-shot that has yet to run."""
    spec = {"handler": "log", "runAt": "2026-11-23T21:30:00Z"}
    body = {"apiVersion": "scheduledjobs.dev/v1", "kind": "ScheduledJob", "metadata": {"name": "once"}, "spec": spec}
    for status in ({"lastScheduleTime": spec["runAt"]}, STATUS):  # created, then changed
        cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps({**body, "status": status}))
        found = json.loads(cluster.kubectl("get", "sjob", "once", "-n", namespace, "-o", "json").stdout)
        assert "status" not in found


def test_the_table_fits_120_columns_with_names_of_20_characters(cluster: ControlPlane, namespace: str) -> None:
    name = "nightly-report-20chr"
    assert len(name) == 20
    body = {
        "apiVersion": "scheduledjobs.dev/v1",
        "kind": "ScheduledJob",
        "metadata": {"name": name},
        "spec": {"handler": "log", "schedule": "*/15 * * * *"},
    }
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(body))
    patch = json.dumps({"status": STATUS})
    cluster.kubectl("patch", "sjob", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    table = cluster.kubectl("get", "scheduledjobs", "-n", namespace).stdout
    assert "2026-11-23T21:35:00Z" in table
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 120, table
    wide = cluster.kubectl("get", "sjobs", "-n", namespace, "-o", "wide").stdout
    assert "Etc/UTC" in wide
    found = cluster.kubectl(
        "get", "sjob", "-n", namespace, "--field-selector=spec.handler=log,spec.suspend=false", "-o", "name"
    )
    assert name in found.stdout
    outcome = "--field-selector=status.lastExecution.outcome=Succeeded"
    assert name in cluster.kubectl("get", "sjob", "-n", namespace, outcome, "-o", "name").stdout
