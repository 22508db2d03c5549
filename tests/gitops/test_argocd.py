"""What Argo CD shows of a ScheduledJob and does with it, in Lua 5.1 with no more than Argo CD's sandbox has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from dev.argocd import ACTIONS, FOLDER, KIND, PAGE, page
from dev.controlplane import ControlPlane
from tests.gitops.lua import NOW, LuaError, act, merge_patch, run

from scheduledjobs.core import requests
from scheduledjobs.core.resource import Resource, ResourceMeta, our_annotations
from scheduledjobs.errors import RequestError

CASES = yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text())
OTHER = {"argocd.argoproj.io/tracking-id": "jobs:scheduledjobs.dev/ScheduledJob:default/job"}
SPEC = {"schedule": "0 2 * * *", "handler": "log", "payload": {}, "suspend": False}


def key(name: str) -> str:
    found: str = yaml.safe_load(PAGE.read_text())["data"][f"resource.customizations.{name}.{KIND}"]
    return found


def actions() -> dict[str, str]:
    return {one["name"]: one["action.lua"] for one in yaml.safe_load(key("actions"))["definitions"]}


def job(annotations: Mapping[str, str] | None = None, **status: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "job", "namespace": "default", "generation": 2}
    if annotations is not None:
        metadata["annotations"] = dict(annotations)
    kind = {"apiVersion": "scheduledjobs.dev/v1", "kind": "ScheduledJob"}
    return {**kind, "metadata": metadata, "spec": SPEC, "status": status}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_health(case: dict[str, Any]) -> None:
    obj = job(case.get("annotations"))
    obj["status"] = case["status"]
    assert run(key("health"), obj) == {"status": case["argo"], "message": case["message"]}


def test_a_failed_last_run_is_degraded_for_who_wants_it_so() -> None:
    (case,) = [case for case in CASES if case["name"] == "the last three runs failed"]
    script = key("health").replace("a_failed_run_is_degraded = false", "a_failed_run_is_degraded = true")
    found = run(script, {**job(), "status": case["status"]})
    assert found == {"status": "Degraded", "message": case["message"]}


@pytest.mark.parametrize(
    "case", [case for case in CASES if (case["status"] or {}).get("suspended")], ids=itemgetter("name")
)
def test_a_paused_job_is_suspended_only_for_who_wants_it_so(case: dict[str, Any]) -> None:
    script = key("health").replace("a_paused_job_is_suspended = false", "a_paused_job_is_suspended = true")
    found = run(script, {**job(), "status": case["status"]})
    assert (case["argo"], found) == ("Healthy", {"status": "Suspended", "message": case["message"]})


def test_the_patch_is_made_of_the_scripts() -> None:
    assert PAGE.read_text() == page()
    assert set(actions()) == set(ACTIONS) == {path.stem for path in (FOLDER / "actions").glob("*.lua")} - {"discovery"}


@pytest.mark.parametrize(
    "script", ["string.upper('x')", "('x'):upper()", "os.time()", "require('io')", "math.floor(1)"]
)
def test_the_sandbox_has_no_more_than_argo_cds(script: str) -> None:
    with pytest.raises(LuaError):
        run(f"return {script}", {})


RUN, PAYLOAD, UNTIL = (
    "scheduledjobs.dev/run-now",
    "scheduledjobs.dev/run-now-payload",
    "scheduledjobs.dev/paused-until",
)
STATES: dict[str, dict[str, Any]] = {
    "no annotation": job(),
    "only another's": job(OTHER),
    "a request that is outstanding": job({RUN: "t1"}),
    "a request that is recorded": job({**OTHER, RUN: "t1", PAYLOAD: "{}"}, lastHandledRunNow="t1"),
    "an older one is recorded": job({RUN: "t2"}, lastHandledRunNow="t1"),
    "paused": job({UNTIL: "forever", "scheduledjobs.dev/paused-by": "ana", "scheduledjobs.dev/pause-reason": "x"}),
    "paused, with another's": job({**OTHER, UNTIL: "2026-12-01T00:00:00Z"}),
    "suspended by its manifest": {**job({UNTIL: "forever"}), "spec": {**SPEC, "suspend": True}},
}


def resource(obj: Mapping[str, Any]) -> Resource:
    annotations = our_annotations(obj["metadata"].get("annotations"))
    meta = ResourceMeta(UUID(int=0), "default", "job", 2, 1, annotations)
    return Resource(meta, datetime(2026, 11, 1, tzinfo=UTC), obj["spec"], obj["status"])


def wanted(name: str, obj: Mapping[str, Any]) -> Mapping[str, str | None]:
    """The annotations that the command line would change."""
    if name == "run":
        return requests.run_now(resource(obj), f"argocd-{NOW}", None)
    if name == "pause":
        return requests.pause("forever", "argocd", "", datetime(2026, 11, 27, tzinfo=UTC))
    return requests.resume(resource(obj))


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("state", STATES)
def test_an_action_changes_and_refuses_what_the_command_line_does(name: str, state: str) -> None:
    obj = STATES[state]
    annotations = obj["metadata"].get("annotations", {})
    try:
        changes = wanted(name, obj)
    except RequestError as error:
        with pytest.raises(LuaError, match=error.reason):
            act(actions()[name], obj)
        return
    after = act(actions()[name], obj)
    expected = {key: value for key, value in {**annotations, **changes}.items() if value is not None}
    assert after["metadata"].get("annotations", {}) == expected
    assert {key: after[key] for key in ("spec", "status")} == {key: obj[key] for key in ("spec", "status")}


@pytest.mark.parametrize("state", STATES)
def test_what_would_be_refused_or_change_nothing_is_not_offered(state: str) -> None:
    obj = STATES[state]
    offered = run(yaml.safe_load(key("actions"))["discovery.lua"], obj)
    for name in ("run", "resume"):
        try:
            is_of_use = bool(wanted(name, obj))
        except RequestError:
            is_of_use = False
        assert offered[name]["disabled"] is not is_of_use, name
    assert offered["pause"]["disabled"] is (UNTIL in obj["metadata"].get("annotations", {}))
    assert all(offered[name]["displayName"] for name in ACTIONS)


def test_the_api_server_takes_what_the_actions_make(cluster: ControlPlane, namespace: str) -> None:
    body = {**job(), "metadata": {"name": "job", "namespace": namespace}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(body))

    def done(name: str) -> dict[str, str]:
        words = ("get", "sjob", "job", "-n", namespace, "-o", "json")
        before = json.loads(cluster.kubectl(*words).stdout)
        patch = json.dumps(merge_patch(before, act(actions()[name], before)))
        cluster.kubectl("patch", "sjob", "job", "-n", namespace, "--type=merge", "-p", patch)
        found = json.loads(cluster.kubectl(*words).stdout)
        assert found["spec"] == before["spec"]
        annotations: dict[str, str] = found["metadata"].get("annotations", {})
        return annotations

    assert done("pause") == {UNTIL: "forever", "scheduledjobs.dev/paused-by": "argocd"}
    assert done("resume") == {}
    assert done("run") == {RUN: f"argocd-{NOW}"}
