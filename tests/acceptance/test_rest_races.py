"""Writes that conflict, repeat or race an edit by kubectl: one effect, and a clear answer."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.acceptance.conftest import until
from tests.acceptance.rest import Answer, Site

OTHER = {"schedule": "30 3 * * *", "handler": "log"}


def kubectl_patch(site: Site, name: str, patch: dict[str, Any]) -> None:
    words = ("patch", "sjob", name, "-n", site.ours, "--type=merge", "-p", json.dumps(patch))
    site.replicas.cluster.kubectl(*words)


def runs(site: Site, job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.rest.get(f"/jobs/{job['id']}/logs?limit=200").json["items"]
    return found


def test_an_edit_by_kubectl_in_between_is_not_overwritten(site: Site) -> None:
    job = site.create("conflict", schedule="0 2 * * *")
    path = f"/jobs/{job['id']}"
    tag = site.rest.get(path).headers["etag"]
    kubectl_patch(site, "conflict", {"spec": {"schedule": "0 5 * * *"}})
    refused = site.rest.put(path, {"spec": OTHER}, if_match=tag)
    assert (refused.status, refused.reason) == (412, "VersionChanged")
    assert "version 2" in refused.json["detail"]
    assert site.replicas.get("conflict")["spec"]["schedule"] == "0 5 * * *"
    until(lambda: site.rest.get(path).json["version"] == 2)
    accepted = site.rest.put(path, {"spec": OTHER}, if_match=site.rest.get(path).headers["etag"])
    assert (accepted.status, accepted.json["schedule"]) == (200, "30 3 * * *")


def test_if_match_takes_what_http_takes(site: Site) -> None:
    job = site.create("tags", schedule="0 2 * * *")
    path = f"/jobs/{job['id']}"
    assert site.rest.put(path, {"spec": OTHER}, if_match=f'"x", "{job["id"]}-1"').status == 200
    assert site.rest.put(path, {"spec": OTHER}, if_match="*").status == 200
    assert site.rest.put(path, {"spec": OTHER}, if_match='"nonsense"').status == 412


def test_of_two_edits_with_the_same_tag_one_wins(site: Site) -> None:
    job = site.create("two-edits", schedule="0 2 * * *")
    tag = f'"{job["id"]}-1"'

    def edit(minute: int) -> Answer:
        spec = {"schedule": f"{minute} 4 * * *", "handler": "log"}
        return site.rest.put(f"/jobs/{job['id']}", {"spec": spec}, if_match=tag)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(edit, range(6)))
    assert sorted(answer.status for answer in answers) == [200, *[412] * 5]
    (won,) = (answer for answer in answers if answer.status == 200)
    until(lambda: site.rest.get(f"/jobs/{job['id']}").json["version"] == 2)
    assert site.rest.get(f"/jobs/{job['id']}").json["schedule"] == won.json["schedule"]


def test_an_edit_succeeds_while_the_status_changes_all_the_time(site: Site) -> None:
    job = site.create("restless", schedule="0 2 * * *")
    path = f"/jobs/{job['id']}"
    is_over = threading.Event()

    def disturb() -> int:
        count = 0
        while not is_over.is_set():
            patch = json.dumps({"metadata": {"annotations": {"example.com/count": str(count)}}})
            words = ("patch", "sjob", "restless", "-n", site.ours, "--type=merge", "-p", patch)
            site.replicas.cluster.kubectl(*words)
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        disturbers = [pool.submit(disturb) for _ in range(2)]
        try:
            for minute in range(1, 9):
                tag = f'"{job["id"]}-{minute}"'
                spec = {"schedule": f"{minute} 4 * * *", "handler": "log"}
                answer = site.rest.put(path, {"spec": spec}, **({"if_match": tag} if minute % 2 else {}))
                assert answer.status == 200, answer
                assert answer.json["version"] == minute + 1
        finally:
            is_over.set()
    assert sum(each.result() for each in disturbers) > 2
    assert site.replicas.get("restless")["metadata"]["generation"] == 9


def test_a_repeated_key_is_one_run(site: Site) -> None:
    job = site.create("repeated")
    path = f"/jobs/{job['id']}/run-now"
    first = site.rest.post(path, idempotency_key="deploy-7")
    assert (first.status, first.json["token"]) == (200, "deploy-7")
    again = site.rest.post(path, idempotency_key="deploy-7")
    assert again.json["execution"]["id"] == first.json["execution"]["id"]
    assert site.rest.post(path).status == 200  # another run in between
    later = site.rest.post(path, idempotency_key="deploy-7")
    assert (later.status, later.json["execution"]["id"]) == (200, first.json["execution"]["id"])
    until(lambda: site.replicas.get("repeated").get("status", {}).get("lastHandledRunNow", "").startswith("web-"))
    assert site.rest.post(path, idempotency_key="deploy-7").json["execution"]["id"] == first.json["execution"]["id"]
    assert len(runs(site, job)) == 2


def test_a_key_is_not_taken_for_another_payload(site: Site) -> None:
    job = site.create("differs")
    path = f"/jobs/{job['id']}/run-now"
    payload = {"message": "one", "seconds": 0.1}
    first = site.rest.post(path, {"payload": payload}, idempotency_key="k")
    assert first.status == 200, first
    same = site.rest.post(path, {"payload": dict(reversed(payload.items()))}, idempotency_key="k")
    assert (same.status, same.json["execution"]["id"]) == (200, first.json["execution"]["id"])
    other = site.rest.post(path, {"payload": {**payload, "message": "two"}}, idempotency_key="k")
    assert (other.status, other.reason) == (409, "RunRequestDiffers")
    assert "take another token" in other.json["detail"]
    plain = site.rest.post(path, idempotency_key="plain")
    assert plain.status == 200, plain
    refused = site.rest.post(path, {"payload": payload}, idempotency_key="plain")
    assert (refused.status, refused.reason) == (409, "RunRequestDiffers")
    assert len(runs(site, job)) == 2


def test_a_key_that_comes_many_times_at_once_is_one_run(site: Site) -> None:
    job = site.create("parallel")
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(site.rest.post, f"/jobs/{job['id']}/run-now", idempotency_key="once") for _ in range(8)]
    answers = [call.result() for call in calls]
    assert {answer.status for answer in answers} == {200}, answers
    assert len({answer.json["execution"]["id"] for answer in answers}) == 1
    assert len(runs(site, job)) == 1


def test_different_keys_at_once_are_runs_or_are_told_to_wait(site: Site) -> None:
    job = site.create("rush", concurrencyPolicy="Allow")
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(site.rest.post, f"/jobs/{job['id']}/run-now", idempotency_key=f"k{n}") for n in range(6)]
    answers = [call.result() for call in calls]
    taken = [answer for answer in answers if answer.status == 200]
    others = [answer for answer in answers if answer.status != 200]
    assert taken
    assert {(answer.status, answer.reason) for answer in others} <= {(409, "RunRequestPending"), (409, "Conflict")}
    assert len(runs(site, job)) == len(taken)


def test_a_second_run_follows_at_once(site: Site) -> None:
    job = site.create("again", concurrencyPolicy="Allow")
    for number in range(4):
        assert site.rest.post(f"/jobs/{job['id']}/run-now", idempotency_key=f"k{number}").status == 200
    assert len(runs(site, job)) == 4


def test_resume_of_a_job_that_its_spec_suspends_says_where(site: Site) -> None:
    job = site.create("suspended", suspend=True)
    refused = site.rest.post(f"/jobs/{job['id']}/resume")
    assert (refused.status, refused.reason) == (409, "SuspendedBySpec")
    assert "spec.suspend is true in the manifest: set it to false there" in refused.json["detail"]


def test_a_delete_that_repeats_deletes_no_namesake(site: Site) -> None:
    job = site.create("namesake")
    path = f"/jobs/{job['id']}"
    site.replicas.cluster.kubectl("delete", "sjob", "namesake", "-n", site.ours)
    newer = site.create("namesake")
    assert newer["id"] != job["id"]
    for refused in (site.rest.delete(path), site.rest.put(path, {"spec": OTHER}), site.rest.post(f"{path}/run-now")):
        assert refused.status == 404, refused
    assert site.rest.get(f"/jobs/{site.ours}.namesake").json["id"] == newer["id"]


def test_a_pause_is_set_on_a_job_that_kubectl_edits(site: Site) -> None:
    job = site.create("busy")
    with ThreadPoolExecutor(4) as pool:
        edits = [pool.submit(kubectl_patch, site, "busy", {"spec": {"timeout": f"{n}m"}}) for n in range(1, 5)]
        paused = site.rest.post(f"/jobs/{job['id']}/pause", {"reason": "race"})
        for edit in edits:
            edit.result()
    assert (paused.status, paused.json["state"]) == (200, "SUSPENDED"), paused
    found = site.replicas.get("busy")
    assert found["metadata"]["annotations"]["scheduledjobs.dev/paused-until"] == "forever"
    assert found["metadata"]["generation"] == 5
