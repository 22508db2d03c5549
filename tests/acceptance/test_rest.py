"""Every call of REST, against a real API server and a real database, by people with tokens of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.acceptance.conftest import until
from tests.acceptance.rest import Site


def stamp(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def test_a_job_is_created_as_a_resource_by_the_person_who_called(site: Site) -> None:
    spec = {"schedule": "0 2 * * *", "timeZone": "Europe/Berlin", "handler": "log"}
    made = site.rest.post("/jobs", {"namespace": site.ours, "name": "born", "labels": {"team": "a"}, "spec": spec})
    assert made.status == 201
    job = made.json
    assert made.headers["location"] == f"/jobs/{job['id']}"
    assert made.headers["etag"] == f'"{job["id"]}-1"'
    assert (job["state"], job["isMirrored"], job["version"], job["handler"]) == ("ACTIVE", True, 1, "log")
    assert job["nextFireTimes"][0]["fireTime"] == job["nextFireTime"]
    assert len(job["nextFireTimes"]) == 10
    assert job["words"].startswith("At 02:00")
    resource = site.replicas.get("born")
    assert resource["metadata"]["uid"] == job["id"]
    assert resource["metadata"]["labels"] == {"team": "a"}
    assert resource["spec"]["schedule"] == "0 2 * * *"
    assert "a person changed a job" in site.log
    assert f"system:serviceaccount:{site.ours}:ana" in site.log
    again = site.rest.post("/jobs", {"namespace": site.ours, "name": "born", "spec": spec})
    assert (again.status, again.reason) == (409, "Conflict")
    assert site.rest.get(f"/jobs/{site.ours}.born").json["id"] == job["id"]


def test_a_dry_run_creates_nothing(site: Site) -> None:
    body = {"namespace": site.ours, "name": "dry", "spec": {"fixedRate": "5m", "handler": "log"}}
    made = site.rest.post("/jobs?dryRun=true", body)
    assert (made.status, made.json["isMirrored"], made.json["name"]) == (200, False, "dry")
    assert len(made.json["nextFireTimes"]) == 10
    assert "location" not in made.headers
    assert site.rest.get(f"/jobs/{site.ours}.dry").status == 404
    assert site.replicas.cluster.kubectl("get", "sjob", "dry", "-n", site.ours, check=False).returncode == 1


def test_jobs_are_listed_in_pages_with_filters(site: Site) -> None:
    for number in range(5):
        site.create(f"page-{number}", **({"suspend": True} if number == 4 else {}))
    seen: list[str] = []
    path = f"/jobs?q=page-&limit=2&namespace={site.ours}"
    cursor = None
    while True:
        page = site.rest.get(path + (f"&cursor={cursor}" if cursor else "")).json
        seen += [job["name"] for job in page["items"]]
        assert len(page["items"]) <= 2
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == [f"page-{number}" for number in range(5)]

    def names(query: str) -> list[str]:
        return [job["name"] for job in site.rest.get(f"/jobs?q=page-&{query}").json["items"]]

    assert names("state=SUSPENDED") == ["page-4"]
    assert names("handler=http") == []
    assert names("outcome=FAILED") == []
    assert names("state=&handler=&cursor=") == seen  # as a form sends what was not chosen
    assert names("managedBy=scheduledjobs-web") == seen
    assert site.rest.get("/jobs?q=PAGE-3%20log").json["items"][0]["name"] == "page-3"


def test_a_job_is_replaced_and_says_what_changed(site: Site) -> None:
    job = site.create("edited", schedule="0 2 * * *")
    path = f"/jobs/{job['id']}"
    spec = {"schedule": "30 3 * * *", "handler": "log", "payload": {"message": "new"}}
    changed = site.rest.put(path, {"spec": spec})
    assert (changed.status, changed.json["version"], changed.json["isMirrored"]) == (200, 2, True)
    assert changed.headers["etag"] == f'"{job["id"]}-2"'
    assert changed.json["schedule"] == "30 3 * * *"
    versions = site.rest.get(f"{path}/versions").json["items"]
    assert [version["version"] for version in versions] == [2, 1]
    assert {change["field"] for change in versions[0]["changes"]} >= {"schedule"}
    assert versions[0]["by"] == "scheduledjobs-web"


def test_a_dry_replacement_changes_nothing(site: Site) -> None:
    job = site.create("dry-edit", schedule="0 2 * * *")
    tried = site.rest.put(f"/jobs/{job['id']}?dryRun=true", {"spec": {"fixedRate": "5m", "handler": "log"}})
    assert (tried.status, tried.json["schedule"], tried.json["isMirrored"]) == (200, "every 5m", False)
    assert site.rest.get(f"/jobs/{job['id']}").json["version"] == 1


def test_a_dry_replacement_keeps_the_grid_and_the_history_of_its_job(site: Site) -> None:
    job = site.create("dry-grid", fixedRate="1h")
    run = site.run(job)
    site.rest.ended(f"/executions/{run['id']}")
    known = site.rest.get(f"/jobs/{job['id']}").json
    spec = {**known["spec"], "payload": {"message": "another"}}
    tried = site.rest.put(f"/jobs/{job['id']}?dryRun=true", {"spec": spec}).json
    assert (tried["isMirrored"], tried["version"]) == (False, 2)
    assert [tried[name] for name in ("nextFireTimes", "createdAt")] == [
        known[n] for n in ("nextFireTimes", "createdAt")
    ]
    assert [each["id"] for each in tried["executions"]] == [run["id"]]
    delayed = site.rest.put(f"/jobs/{job['id']}?dryRun=true", {"spec": {**spec, "startingDeadline": "5m"}}).json
    assert delayed["nextFireTimes"] == known["nextFireTimes"]


def test_a_deleted_job_keeps_its_history(site: Site) -> None:
    job = site.create("gone")
    run = site.run(job)
    site.rest.ended(f"/executions/{run['id']}")
    path = f"/jobs/{job['id']}"
    assert site.rest.delete(path).status == 204
    assert site.rest.get(path).json["state"] == "DELETED"
    assert site.rest.get(path).json["nextFireTime"] is None
    assert [each["id"] for each in site.rest.get(f"{path}/logs").json["items"]] == [run["id"]]
    assert [each["name"] for each in site.rest.get("/jobs?state=DELETED&q=gone").json["items"]] == ["gone"]
    assert site.rest.get("/jobs?q=gone").json["items"] == []
    again = site.rest.delete(path)
    assert (again.status, again.reason) == (404, "JobDeleted")
    assert site.rest.post(f"{path}/run-now").reason == "JobDeleted"


def test_a_pause_says_who_and_until_when_and_resume_ends_it(site: Site) -> None:
    path = f"/jobs/{site.create('paused')['id']}"
    until_ = stamp((datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0))
    paused = site.rest.post(f"{path}/pause", {"until": until_, "reason": "migration"}).json
    assert (paused["state"], paused["pausedUntil"], paused["pauseReason"]) == ("SUSPENDED", until_, "migration")
    assert paused["pausedBy"] == f"system:serviceaccount:{site.ours}:ana"
    assert paused["nextFireTime"] is None
    assert datetime.fromisoformat(paused["nextFireTimes"][0]["fireTime"]) >= datetime.fromisoformat(until_)
    resumed = site.rest.post(f"{path}/resume").json
    assert (resumed["state"], resumed["pausedUntil"]) == ("ACTIVE", None)
    assert resumed["nextFireTime"]
    forever = site.rest.post(f"{path}/pause", {}).json
    assert (forever["state"], forever["nextFireTimes"]) == ("SUSPENDED", [])
    assert site.rest.post(f"{path}/resume").json["state"] == "ACTIVE"
    assert site.rest.post(f"{path}/resume").status == 200  # it runs: nothing to end


def test_a_run_now_has_an_execution_with_its_own_payload_and_output(site: Site) -> None:
    job = site.create("asked", payload={"message": "as ever"})
    answer = site.rest.post(f"/jobs/{job['id']}/run-now", {"payload": {"message": "hello you"}})
    assert answer.status == 200
    run = answer.json["execution"]
    assert (run["trigger"], run["runKey"]) == ("MANUAL", answer.json["token"])
    found = site.rest.ended(f"/executions/{run['id']}")
    assert found["state"] == "SUCCEEDED"
    assert found["durationMs"] >= 0
    assert (found["payload"], found["hasOwnPayload"]) == ({"message": "hello you"}, True)
    assert "hello you" in found["outputs"][0]["output"]
    assert (found["namespace"], found["job"], found["replica"]) == (site.ours, "asked", "one")
    assert site.rest.get(f"/jobs/{job['id']}").json["executions"][0]["id"] == run["id"]


def test_history_is_filtered_and_paged(site: Site) -> None:
    job = site.create("history")
    for number in range(3):
        run = site.run(job, {"fail": "on purpose"} if number == 1 else {"message": str(number)})
        site.rest.ended(f"/executions/{run['id']}")
    path = f"/jobs/{job['id']}/logs"
    everything = site.rest.get(path).json["items"]
    assert [each["state"] for each in everything] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert all(each["durationMs"] is not None for each in everything)
    assert everything[1]["message"].endswith("on purpose")
    assert [each["state"] for each in site.rest.get(f"{path}?state=FAILED&state=LOST").json["items"]] == ["FAILED"]
    assert site.rest.get(f"{path}?trigger=SCHEDULE").json["items"] == []
    middle = everything[1]["fireTime"]
    assert [each["fireTime"] for each in site.rest.get(f"{path}?until={middle}").json["items"]] == [
        everything[2]["fireTime"]
    ]
    assert len(site.rest.get(f"{path}?since={middle}").json["items"]) == 2
    first = site.rest.get(f"{path}?limit=2").json
    second = site.rest.get(f"{path}?limit=2&cursor={first['nextCursor']}").json
    assert [*first["items"], *second["items"]] == everything
    assert second["nextCursor"] is None


def test_why_tells_what_became_of_a_moment(site: Site) -> None:
    job = site.create("asked-why")
    run = site.rest.ended(f"/executions/{site.run(job)['id']}")
    lines = site.rest.get(f"/jobs/{job['id']}/why?at={run['fireTime']}").json["lines"]
    assert any("SUCCEEDED (Success)" in line for line in lines)
    assert any("claim     by one at" in line for line in lines)
    naive = site.rest.get(f"/jobs/{job['id']}/why?at=2026-01-01T00:00:00")
    assert naive.status == 200


def test_an_execution_that_runs_is_cancelled(site: Site) -> None:
    run = site.run(site.create("long", payload={"seconds": 60}))
    path = f"/executions/{run['id']}"
    until(lambda: site.rest.get(path).json["state"] == "RUNNING")
    assert site.rest.get(path).json["durationMs"] >= 0
    cancelled = site.rest.post(f"{path}/cancel")
    assert (cancelled.status, cancelled.json["state"]) == (200, "CANCELLED")
    assert cancelled.json["cancelRequestedBy"] == f"system:serviceaccount:{site.ours}:ana"
    again = site.rest.post(f"{path}/cancel")
    assert (again.status, again.reason) == (409, "ExecutionEnded")


def test_a_retried_execution_shows_its_attempts(site: Site) -> None:
    retry = {"limit": 1, "backoff": "1s"}
    run = site.run(site.create("retried", payload={"fail": "on purpose"}, retry=retry))
    found = site.rest.ended(f"/executions/{run['id']}")
    assert (found["state"], found["attempt"]) == ("FAILED", 2)
    (first,) = found["attempts"]
    assert (first["attempt"], first["state"], first["replica"]) == (1, "FAILED", "one")
    assert "on purpose" in first["error"]


def test_a_preview_tells_words_fires_and_what_the_clocks_do(site: Site) -> None:
    query = "schedule=30%202%20*%20*%20*&timeZone=Europe/Berlin&after=2027-03-27T12:00:00Z&count=3"
    found = site.rest.get(f"/preview?{query}").json
    assert found["words"].startswith("At 02:30")
    assert found["fires"][0]["local"] == "2027-03-28T03:00:00+02:00"
    assert "does not exist" in found["fires"][0]["note"]
    assert len(site.rest.get("/preview?fixedRate=90s").json["fires"]) == 10
    wrong = site.rest.get("/preview?schedule=61%20*%20*%20*%20*")
    assert (wrong.status, wrong.fields) == (422, ["schedule"])
    nowhere = site.rest.get("/preview?schedule=@daily&timeZone=Europe/Bonn")
    assert (nowhere.status, nowhere.fields) == (422, ["timeZone"])
    assert site.rest.get("/preview").status == 422
    assert site.rest.get("/preview?schedule=@daily&fixedRate=5m").status == 422


def test_handlers_come_with_the_schema_of_their_payload(site: Site) -> None:
    found = {each["name"]: each for each in site.rest.get("/handlers").json["items"]}
    assert {"log", "http", "sql"} <= found.keys()
    assert found["log"]["payloadSchema"]["properties"]["seconds"]["type"] == "number"
    assert (found["log"]["isAsync"], found["log"]["replicas"]) == (True, 1)


def test_replicas_say_who_leads(site: Site) -> None:
    found = site.rest.get("/replicas").json
    (replica,) = found["replicas"]
    assert (found["leader"], replica["hostname"], replica["isLeader"]) == ("one", "one", True)
    assert replica["sight"] == "Alive"
    assert replica["slots"] > 0
    assert found["terms"][0]["term"] == found["term"]
    until(lambda: site.rest.get("/replicas").json["replicas"][0]["databaseMs"] is not None)


def test_the_document_names_every_call(site: Site) -> None:
    document = site.rest.get("/openapi.json", token="").json
    assert document["openapi"].startswith("3.1")
    found = {f"{verb.upper()} {path}" for path, verbs in document["paths"].items() for verb in verbs}
    assert found == {
        "POST /jobs", "GET /jobs", "GET /jobs/{id}", "PUT /jobs/{id}", "DELETE /jobs/{id}", "POST /jobs/{id}/pause",
        "POST /jobs/{id}/resume", "POST /jobs/{id}/run-now", "GET /jobs/{id}/logs", "GET /jobs/{id}/versions",
        "GET /jobs/{id}/why", "GET /executions/{id}", "POST /executions/{id}/cancel", "GET /preview", "GET /handlers",
        "GET /replicas",
    }  # fmt: skip


def test_what_is_wrong_in_a_spec_is_named_by_its_field(site: Site) -> None:
    def refused(**spec: Any) -> tuple[list[str], str]:
        answer = site.rest.post("/jobs", {"namespace": site.ours, "name": "wrong", "spec": spec})
        assert answer.status == 422
        assert answer.reason
        return answer.fields, json.dumps(answer.json)

    assert refused(schedule="61 * * * *", handler="log")[0] == ["spec.schedule"]
    assert refused(schedule="@daily", timeZone="Europe/Bonn", handler="log")[0] == ["spec.timeZone"]
    assert refused(schedule="@daily", handler="log", payload={"seconds": -1})[0] == ["spec.payload.seconds"]
    fields, text = refused(schedule="@daily", handler="nobody")
    assert fields == ["spec.handler"]
    assert "known are http, log, sql" in text
    assert refused(schedule="@daily", fixedRate="5m", handler="log")[0]
    assert refused(fixedRate="soon", handler="log")[0] == ["spec.fixedRate"]
    assert refused(fixedRate="5m", handler="log", colour="red")[0] == ["spec.colour"]
    assert refused(fixedRate="5m", handler="log", timeout="1h", misfire={"polcy": "Skip"})[0] == ["spec.misfire.polcy"]
    assert site.rest.get(f"/jobs/{site.ours}.wrong").status == 404
