"""CronJobs of the field's odd kinds become ScheduledJobs that fire when they do, and what differs is named."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.importing.robfig import Robfig

from scheduledjobs.cli.import_cronjobs import refusals
from scheduledjobs.core.plan import Judge
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.schedule import Cron, moments
from scheduledjobs.handlers import job_payload
from scheduledjobs.importing import job_template
from scheduledjobs.importing.cronjobs import read_cronjob
from scheduledjobs.importing.imported import Difference, Imported, distinct
from scheduledjobs.importing.manifest import file_name, manifest, summary

HERE = Path(__file__).parent
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
ANY = Judge(has_handler=lambda _: True, check=lambda *_: None)


def load(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((HERE / name).read_text()))


def read(name: str) -> list[Imported]:
    return distinct([read_cronjob(raw, None, NOW, refusals) for raw in load(name)])


def find(name: str, file: str = "cronjobs.yaml") -> Imported:
    (found,) = [job for job in read(file) if job.name == name]
    return found


def differences(job: Imported) -> set[Difference]:
    return {note.difference for note in job.notes}


@pytest.mark.parametrize("name", ["cronjobs", "cronjobs-of-old"])
def test_every_word_of_manifests_and_summary_is_meant(name: str) -> None:
    jobs = read(f"{name}.yaml")
    said = "---\n".join(map(manifest, jobs)) + "---\n" + "".join(f"# {line}\n" for line in summary(jobs))
    golden = HERE / f"{name}.golden.yaml"
    if os.environ.get("SCHEDULEDJOBS_TEST_GOLDEN") == "write":
        golden.write_text(said)
    assert said == golden.read_text()


@pytest.mark.parametrize("job", read("cronjobs.yaml"), ids=lambda job: job.name)
def test_what_is_imported_is_valid_as_the_mirror_sees_it(job: Imported) -> None:
    if job.spec is None:
        assert differences(job) == {Difference.NOT_IMPORTED}
        return
    written = yaml.safe_load(manifest(job))["spec"]
    assert written == job.spec
    assert ANY.verdict(written, "default").state in (JobState.ACTIVE, JobState.SUSPENDED)


@pytest.mark.parametrize("raw", load("cronjobs.yaml"), ids=lambda raw: raw["metadata"]["name"])
def test_fires_when_the_cronjob_does_but_where_a_note_names_the_change_of_clocks(raw: dict[str, Any]) -> None:
    job = read_cronjob(raw, None, NOW, refusals)
    schedule, end = job.schedule, NOW + timedelta(days=365)
    if not isinstance(schedule, Cron):
        return
    ours = set(moments(schedule, NOW, end))
    theirs = set(Robfig(raw["spec"]["schedule"], schedule.zone).fires(NOW, end))
    changes = sum(note.difference is Difference.DAYLIGHT_SAVING for note in job.notes)
    assert len(ours ^ theirs) == changes
    assert len(ours & theirs) > 0


def test_a_zone_of_the_controller_that_is_known_can_be_given() -> None:
    (raw, *_) = load("cronjobs.yaml")
    job = read_cronjob(raw, "Europe/Berlin", NOW, refusals)
    assert job.spec is not None
    assert job.spec["timeZone"] == "Europe/Berlin"


def test_an_interval_counts_on_from_the_last_run() -> None:
    raw = {**load("cronjobs.yaml")[5], "status": {"lastScheduleTime": "2026-11-27T11:40:00Z"}}
    schedule = read_cronjob(raw, None, NOW, refusals).schedule
    assert schedule is not None
    first = moments(schedule, NOW, NOW + timedelta(hours=2)).first
    assert first == datetime(2026, 11, 27, 13, 10, 10, tzinfo=UTC)


def test_defaults_are_cronjobs_and_not_ours() -> None:
    spec = find("nightly").spec
    assert spec is not None
    assert spec["concurrencyPolicy"] == "Allow"
    assert spec["payload"]["backoffLimit"] == 6


def test_labels_are_kept_but_for_those_of_the_tool_that_manages_the_cronjob() -> None:
    assert find("nightly").labels == {"team": "shop"}


def test_no_mark_by_which_a_tool_knows_what_is_its_own_is_kept() -> None:
    """Argo CD, where it tracks by label, deletes what has its label and is not in its repository."""
    raw = load("cronjobs.yaml")[0]
    theirs = {"app.kubernetes.io/instance": "shop", "argocd.argoproj.io/instance": "shop", "helm.sh/chart": "shop-1.0"}
    raw["metadata"]["labels"] = {"team": "shop", "app.kubernetes.io/managed-by": "Helm", **theirs}
    raw["metadata"]["annotations"] = {
        "argocd.argoproj.io/tracking-id": "shop:batch/CronJob:shop/nightly",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "meta.helm.sh/release-name": "shop",
    }
    written = yaml.safe_load(manifest(read_cronjob(raw, None, NOW, refusals)))
    assert written["metadata"] == {"name": "nightly", "labels": {"team": "shop"}}


def test_what_the_handler_refuses_is_named_field_by_field() -> None:
    (raw,) = [raw for raw in load("cronjobs.yaml") if raw["metadata"]["name"] == "secrets-and-the-host"]
    (container,) = raw["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    container["securityContext"] = {"privileged": True}  # which not every API server takes
    notes = read_cronjob(raw, None, NOW, refusals).notes
    refused = [note.text for note in notes if note.difference is Difference.REFUSED]
    places = {text.split(":")[0] for text in refused}
    assert places == {
        "template.spec.hostNetwork",
        "template.spec.volumes.0.hostPath",
        "template.spec.volumes.1.secret",
        "template.spec.imagePullSecrets",
        "template.spec.serviceAccountName",
        "template.spec.containers.0.securityContext.privileged",
        "template.spec.containers.0.env.1.valueFrom.secretKeyRef",
        "template.spec.containers.0.envFrom.0.secretRef",
    }


def test_the_notes_say_all_that_the_handler_refuses_and_nothing_that_it_takes() -> None:
    raw = load("cronjobs.yaml")[0]
    pod = raw["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    unconfined = {"type": "Unconfined"}
    pod |= {"automountServiceAccountToken": True, "serviceAccount": "reports", "priorityClassName": "system-a"}
    pod["securityContext"] = {
        "seLinuxOptions": {"type": "spc_t"},
        "sysctls": [{"name": "kernel.msgmax", "value": "1"}],
        "seccompProfile": unconfined,
        "windowsOptions": {"hostProcess": True},
    }
    pod["containers"][0] |= {
        "securityContext": {
            "procMount": "Unmasked",
            "appArmorProfile": unconfined,
            "capabilities": {"add": ["NET_BIND_SERVICE"]},
        },
        "livenessProbe": {"httpGet": {"host": "db", "port": 80}},
        "lifecycle": {"preStop": {"tcpSocket": {"host": "db", "port": 80}}},
    }
    found = read_cronjob(raw, None, NOW, refusals).notes
    notes = [note.text for note in found if note.difference is Difference.REFUSED]
    assert {text.split(":")[0] for text in notes} == {
        "template.spec.priorityClassName",
        "template.spec.serviceAccount",
        "template.spec.automountServiceAccountToken",
        "template.spec.securityContext.seLinuxOptions",
        "template.spec.securityContext.sysctls",
        "template.spec.securityContext.seccompProfile.type",
        "template.spec.securityContext.windowsOptions.hostProcess",
        "template.spec.containers.0.livenessProbe.httpGet.host",
        "template.spec.containers.0.lifecycle.preStop.tcpSocket.host",
        "template.spec.containers.0.securityContext.procMount",
        "template.spec.containers.0.securityContext.appArmorProfile.type",
    }
    assert sum("kubernetesJob.serviceAccounts of the chart allows more" in text for text in notes) == 2


def test_a_job_that_another_controller_was_to_begin_is_named() -> None:
    """Made suspended, with a label by which a queue knows it: without both it would begin at once, past the queue."""
    raw = load("cronjobs.yaml")[0]
    before = read_cronjob(raw, None, NOW, refusals).notes
    raw["spec"]["jobTemplate"]["spec"]["suspend"] = True
    raw["spec"]["jobTemplate"]["metadata"] = {"labels": {"kueue.x-k8s.io/queue-name": "q"}, "annotations": {"a/b": "c"}}
    added = [note for note in read_cronjob(raw, None, NOW, refusals).notes if note not in before]
    assert {note.difference for note in added} == {Difference.TEMPLATE}
    words = ("jobTemplate.spec.suspend", "labels kueue.x-k8s.io/queue-name", "annotations a/b")
    assert all(any(word in note.text for note in added) for word in words)
    raw["spec"]["jobTemplate"] = {**raw["spec"]["jobTemplate"], "metadata": {}}
    raw["spec"]["jobTemplate"]["spec"]["suspend"] = False
    assert read_cronjob(raw, None, NOW, refusals).notes == before


def test_the_marks_of_a_pod_that_are_kept_are_those_that_the_handler_takes() -> None:
    assert job_template.MARKS == job_payload.MARKS


def test_a_payload_over_the_limit_is_not_imported() -> None:
    raw = load("cronjobs.yaml")[0]
    raw["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"] = ["x" * 33_000]
    job = read_cronjob(raw, None, NOW, refusals)
    assert job.spec is None
    assert "at most 32768 are allowed" in job.notes[0].text


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("startingDeadlineSeconds", "5m", "startingDeadlineSeconds '5m' is no whole number"),
        ("jobTemplate.spec.activeDeadlineSeconds", [1], "activeDeadlineSeconds [1] is no whole number"),
        ("jobTemplate.spec.backoffLimit", float("inf"), "backoffLimit inf is no whole number"),
        ("jobTemplate.spec.ttlSecondsAfterFinished", "soon", "ttlSecondsAfterFinished 'soon' is no whole number"),
        ("schedule", f"@every {'9' * 400}h", "fixedRate is at most 8784h"),
        ("jobTemplate.spec.template.spec.priority", 2**70, "a value that JSON cannot say"),
        ("jobTemplate.spec.template.spec.nodeSelector", {1: "a"}, "a value that JSON cannot say"),
    ],
)
def test_a_cronjob_of_values_that_cannot_be_read_is_not_imported(field: str, value: object, what: str) -> None:
    raw = load("cronjobs.yaml")[0]
    *parents, last = ["spec", *field.split(".")]
    inner = raw
    for name in parents:
        inner = inner[name]
    inner[last] = value
    job = read_cronjob(raw, None, NOW, refusals)
    assert job.spec is None
    assert what in job.notes[0].text


def test_seconds_of_more_than_time_has_are_held_to_the_longest_that_is_allowed() -> None:
    raw = load("cronjobs.yaml")[0]
    raw["spec"]["startingDeadlineSeconds"] = raw["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] = 10**14
    job = read_cronjob(raw, None, NOW, refusals)
    assert job.spec is not None
    assert (job.spec["startingDeadline"], job.spec["timeout"]) == ("8784h", "168h")
    assert {Difference.DEADLINE, Difference.TIMEOUT} <= differences(job)


def test_marks_that_are_no_text_are_named_and_left_out() -> None:
    raw = load("cronjobs.yaml")[0]
    template = raw["spec"]["jobTemplate"]
    template["metadata"] = {"labels": {1: "a", "b": "c"}}
    template["spec"]["template"]["metadata"] = {"annotations": {2: "a", "b": "c"}}
    job = read_cronjob(raw, None, NOW, refusals)
    assert job.spec is not None
    assert "labels 1, b" in str(job.notes)
    assert "the handler refuses: 2, b" in str(job.notes)


def test_a_namespace_of_a_file_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    good, bad = load("cronjobs.yaml")[:2]
    bad["metadata"]["namespace"] = "../outside/x"
    (tmp_path / "outside").mkdir()
    source = tmp_path / "jobs.yaml"
    source.write_text(yaml.safe_dump_all([good, bad]))
    words = ["import", "cronjobs", "--file", str(source), "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "scheduledjobs", *words]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 1, said.stderr
    assert "berlin-in-the-gap: metadata.namespace '../outside/x' is no name that a namespace can have" in said.stderr
    assert sorted(path.name for path in tmp_path.rglob("*.yaml")) == ["jobs.yaml", "nightly.yaml"]


@pytest.mark.parametrize("namespace", ["/etc/x", "a.b", "A", "-a", "a" * 64, "a\n", 5, ["a"]])
def test_a_namespace_that_cannot_be_is_not_imported(namespace: object) -> None:
    raw = load("cronjobs.yaml")[0]
    raw["metadata"]["namespace"] = namespace
    (job,) = distinct([read_cronjob(raw, None, NOW, refusals)])
    assert (job.spec, job.namespace) == (None, None)
    assert differences(job) == {Difference.NOT_IMPORTED}


def test_names_that_meet_are_told_apart() -> None:
    raw = load("cronjobs.yaml")[0]
    jobs = distinct([read_cronjob(raw, None, NOW, refusals), read_cronjob(raw, None, NOW, refusals)])
    assert [file_name(job) for job in jobs] == ["nightly.yaml", "nightly-2.yaml"]


def test_a_name_or_a_note_cannot_break_out_of_its_comment() -> None:
    raw = load("cronjobs.yaml")[0]
    raw["metadata"]["name"] = "x\nspec: {}"
    lines = manifest(read_cronjob(raw, None, NOW, refusals)).splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "apiVersion: scheduledjobs.dev/v1"


@pytest.mark.parametrize(
    "schedule",
    [
        "0 2 */2 * 0-6", "0 2 2-31 * sun-sat", "0 2 1-31 * 0", "0 2 */2 * 1", "0 2 * * 0-6", "0 2 1-31 * */2",
        "0 2-2 *,5 * 1", "0 2 13-13 FEB-FEB ?,MON",
    ],
)  # fmt: skip
def test_day_fields_that_are_written_out_fire_on_the_same_days(schedule: str) -> None:
    raw = {"metadata": {"name": "a", "namespace": "b"}, "spec": {"schedule": schedule, "timeZone": "Etc/UTC"}}
    found = read_cronjob(raw, None, NOW, refusals).schedule
    assert isinstance(found, Cron)
    end = NOW + timedelta(days=100)
    assert set(moments(found, NOW, end)) == set(Robfig(schedule, "Etc/UTC").fires(NOW, end))


def test_a_file_is_read_as_kubectl_reads_it(tmp_path: Path) -> None:
    (raw,) = [raw for raw in load("cronjobs.yaml") if raw["metadata"]["name"] == "nightly"]
    raw["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"] = "ARGS"
    source = tmp_path / "jobs.yaml"
    source.write_text(yaml.safe_dump(raw).replace("args: ARGS", "args: [12:30, 2026-01-01, 2026-01-01T08:00:00Z, =]"))
    command = [sys.executable, "-m", "scheduledjobs", "import", "cronjobs", "--file", str(source)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    (container,) = yaml.safe_load(said.stdout)["spec"]["payload"]["template"]["spec"]["containers"]
    assert container["args"] == ["12:30", "2026-01-01", "2026-01-01T08:00:00Z", "="]
