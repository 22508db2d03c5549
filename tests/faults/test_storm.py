"""Too much of everything: edits, suspensions and run requests of one job by the hundred, and resources that are bad."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import time
from collections.abc import Coroutine
from contextlib import suppress
from random import Random
from typing import Any

import yaml
from dev.controlplane import CRDS
from tests.acceptance.conftest import job, until
from tests.faults.changes import HEALED_SECONDS, lateness, load, logged, seconds_until
from tests.faults.stage import Stage, figures

from scheduledjobs.errors import KubeError, KubeUnavailable
from scheduledjobs.kube.client import KubeClient, open_client
from scheduledjobs.kube.listing import collection_path

LATEST_MS = 1000
"""For p99: the API server, etcd and PostgreSQL share two cores with the replicas, and maybe with another run."""

MERGE = {"Content-Type": "application/merge-patch+json"}
BAD = 1000
REASONS = {"InvalidSchedule", "InvalidSpec", "UnknownTimeZone", "HandlerNotFound", "InvalidPayload", "InvalidPause"}


def as_admin(stage: Stage, work: Coroutine[Any, Any, Any]) -> Any:
    """Run something with the admin's kubeconfig."""
    os.environ["KUBECONFIG"] = str(stage.cluster.kubeconfig)
    try:
        return asyncio.run(work)
    finally:
        del os.environ["KUBECONFIG"]


async def storm(stage: Stage, name: str, seconds: float) -> int:
    """Patch one job a hundred times a second; return how often."""
    random, path = stage.random, f"{collection_path(stage.namespace)}/{name}"
    taken, turns = 0, asyncio.Semaphore(8)
    async with open_client() as kube, asyncio.TaskGroup() as group:
        began = time.monotonic()

        async def patch(body: dict[str, Any]) -> None:
            nonlocal taken
            async with turns:
                with suppress(KubeError):  # a conflict, at that pace
                    await kube.request("PATCH", path, body=body, headers=MERGE)
                    taken += 1

        for number in range(int(seconds * 100)):
            await asyncio.sleep(max(0.0, began + number / 100 - time.monotonic()))
            spec = {"fixedRate": random.choice(["1s", "2s", "3s"]), "suspend": random.random() < 0.3}
            body: dict[str, Any] = {"spec": {**spec, "payload": {"seconds": round(random.random() / 5, 2)}}}
            if number % 5 == 0:
                body["metadata"] = {"annotations": {"scheduledjobs.dev/run-now": f"token-{number}"}}
            group.create_task(patch(body))
    return taken


def test_one_job_is_edited_suspended_and_run_a_hundred_times_a_second(stage: Stage) -> None:
    """The others are on time, the last spec is mirrored, and each request that was seen ends in a row."""
    stage.start_all()
    load(stage)
    stage.create([job("storm", handler="witness", fixedRate="1s", concurrencyPolicy="Allow")])
    until(lambda: stage.count("job_name = 'storm'"))
    since = stage.now()
    sent = as_admin(stage, storm(stage, "storm", 10))
    upto = stage.now()
    took = stage.check_mirror()
    stage.cluster.kubectl(  # the moments of a suspended job are written in a sweep each ten seconds
        "patch", "sjob", "storm", "-n", stage.namespace, "--type=merge", "-p", '{"spec": {"suspend": false}}'
    )
    late = lateness(stage, since, upto)
    unanswered = """
        SELECT count(*) FILTER (WHERE e.id IS NULL) AS n, count(*) AS requests
        FROM run_request AS r LEFT JOIN job_execution_log AS e ON e.id = r.execution_id AND e.run_key = r.token
    """
    stage.run_for(2)
    answered = stage.row(unanswered)
    versions = stage.row("SELECT count(*) AS n FROM job_definition_version AS v WHERE v.version > 3")["n"]
    said = {"sent": sent, "versions_seen": versions, "requests_seen": answered["requests"]}
    stage.judge(figures(**said, lateness_ms_of_others=late, mirrored_after=took, gap=stage.gap(since)), 60)
    assert sent > 500
    assert answered["n"] == 0
    assert answered["requests"] > 5
    assert late["p99"] < LATEST_MS
    assert stage.gap(since) < 1


def text(random: Random) -> str:
    """Return a string that nobody meant."""
    pool = [
        "",
        "\u200b",
        "ÄÖÜ€😀",
        "\u202e",
        "'; DROP TABLE job_definition; --",
        "%s %(x)s {} \\",
        "0" * 300,
        "\t\n",
        "NaN",
    ]
    return random.choice([*pool, "".join(chr(random.randrange(32, 0x2FFF)) for _ in range(random.randrange(1, 60)))])


def deep(random: Random, levels: int) -> Any:
    """Return a nested value."""
    value: Any = random.choice([text(random), 1e308, -(2**62), True, None, []])
    for _ in range(levels):
        value = {text(random)[:20] or "k": value} if random.random() < 0.5 else [value]
    return value


def cron(random: Random) -> str:
    """Return something like cron: some come often, some never, some are no cron."""
    fields = ["*", "*/7", "61", "0", "31", "2", "L", "5#3", "1-5", "5-1", "*/0", "MON", "JAN", "a", "-1", "1,2,99", "?"]
    made = " ".join(random.choice(fields) for _ in range(random.choice([4, 5, 5, 5, 6, 7])))
    return random.choice([made, made, "0 0 31 2 *", "@reboot", "@every 5s", "TZ=UTC * * * * *", text(random)])


def spec(random: Random) -> dict[str, Any]:
    """Return a random spec that begins in the far future, if it begins at all; about a third can work."""
    durations = ["1s", "0s", "-1s", "1d", "99999h", "1h30m", "5", "1.5s", "1ms", text(random)]
    times = [
        "2090-01-01T00:00:00Z",
        "2090-13-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2090-01-01T00:00:00+05:30",
        "soon",
    ]
    zones = ["Europe/Berlin", "Mars/Base", "Local", "", "../etc/passwd", "+05:30", "UTC", "America/Argentina/Ushuaia"]
    made: dict[str, Any] = {"handler": random.choice(["log", "witness", "http", "sql", "nobody", text(random)])}
    kinds = {"schedule": cron(random), "fixedRate": random.choice(durations), "fixedDelay": random.choice(durations)}
    for kind in random.sample([*kinds, "runAt"], random.choice([0, 1, 1, 1, 1, 2])):
        made[kind] = kinds.get(kind, "2090-01-01T00:00:00Z")
    if "runAt" not in made:
        made["startTime"] = random.choice([times[0], times[0], *times])
    maybe = {
        "endTime": random.choice(times),
        "timeZone": random.choice(zones),
        "jitter": random.choice(durations),
        "suspend": random.choice([True, "yes", None]),
        "payload": random.choice([{}, {"seconds": "x"}, {"url": text(random)}, deep(random, 40), []]),
        "concurrencyPolicy": random.choice(["Allow", "Queue", "Replace", "Sometimes", 3]),
        "misfire": random.choice([{"policy": "FireAll", "limit": 0}, {"grace": "-5s"}, {"policy": "Never"}, "x"]),
        "startingDeadline": random.choice(durations),
        "timeout": random.choice(durations),
        "retry": random.choice(
            [{"limit": -1}, {"limit": 2**40}, {"backoff": "0s"}, {"maxBackoff": "1s", "backoff": "1h"}]
        ),
        "unknown": text(random),
    }
    chosen = random.sample(list(maybe), random.choice([0, 0, 1, 1, 2, 3]))
    return made | {name: maybe[name] for name in chosen}


def subtle(random: Random) -> dict[str, Any]:
    """Return a spec that the schema has nothing against, and that cannot work, or just so."""
    bad: list[dict[str, Any]] = [
        {"handler": "nobody"},
        {"handler": "http"},
        {"handler": "http", "payload": {"url": text(random), "method": "POST"}},
        {"handler": "sql", "payload": {"query": text(random)}},
        {"handler": "witness", "payload": {"seconds": text(random)}},
        {"handler": "witness", "payload": {text(random) or "k": deep(random, random.choice([3, 30, 70, 150]))}},
        {"handler": "witness", "payload": {"x": "x" * random.choice([30_000, 32_800, 50_000])}},
        {"handler": "witness-sync", "concurrencyPolicy": "Replace"},
        {"schedule": random.choice(["0 0 31 2 *", "0 0 30 2 *", "5-1 * * * *", "0 0 * * 5#5", "0 0 L 2 *"])},
        {"schedule": "0 0 1 1 *", "timeZone": random.choice(["Asia/Calcutta", "UTC", "Pacific/Kiritimati"])},
        {"runAt": random.choice(["1999-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])},
        {"fixedRate": "8784h", "jitter": "8784h"},
    ]
    chosen = {"handler": "log", **random.choice(bad)}
    if not chosen.keys() & {"schedule", "fixedRate", "runAt"}:
        chosen["fixedRate"] = "1h"
    return chosen


def resource(random: Random, number: int) -> dict[str, Any]:
    """Return a random resource; some near the limit of their size, some with annotations that nobody can read."""
    body = job(f"fuzz-{number}", **(spec(random) if random.random() < 0.6 else subtle(random)))
    if random.random() < 0.1:
        keys = ("paused-until", "run-now", "run-now-payload", "paused-by", "pause-reason")
        named = {f"scheduledjobs.dev/{key}": text(random) for key in random.sample(keys, 2)}
        body["metadata"]["annotations"] = named
    if random.random() < 0.02:
        body["spec"]["payload"] = {"text": "x" * random.choice([30_000, 33_000, 58_000, 70_000])}
    if random.random() < 0.02:
        body["spec"]["payload"] = deep(random, random.choice([50, 150]))
    return body


async def create_bad(stage: Stage, bodies: list[dict[str, Any]]) -> list[str]:
    """Create what the API server takes; return the names of these."""
    turns, taken = asyncio.Semaphore(4), []
    headers = {"Content-Type": "application/json"}

    async def one(kube: KubeClient, body: dict[str, Any]) -> None:
        async with turns:
            try:
                await kube.request("POST", collection_path(stage.namespace), body=body, headers=headers)
            except KubeUnavailable:
                raise
            except KubeError:
                return
            taken.append(body["metadata"]["name"])

    async with open_client() as kube:
        await asyncio.gather(*(one(kube, body) for body in bodies))
    return taken


def unanswered(stage: Stage, names: set[str]) -> list[str]:
    """Return which of these jobs have no Ready condition of their generation that says why, or that all is well."""
    found = []
    for item in stage.items():
        name, status = item["metadata"]["name"], item.get("status", {})
        if name not in names:
            continue
        ready = [each for each in status.get("conditions", []) if each["type"] == "Ready"]
        said = {(each["status"], each["reason"]) for each in ready}
        is_fine = said & {("True", "Scheduled"), ("True", "Suspended"), ("True", "Completed"), ("True", "InvalidPause")}
        if not is_fine and not any(status == "False" and reason in REASONS for status, reason in said):
            found.append(f"{name}: {said}")
    return found


def wait_told(stage: Stage, names: set[str], seconds: float) -> float:
    """Wait until each of these jobs is told; return how long that took."""
    began = time.monotonic()
    while missing := unanswered(stage, names):
        assert time.monotonic() < began + seconds, missing
        time.sleep(0.2)
    return time.monotonic() - began


def test_a_thousand_bad_resources_block_nobody(stage: Stage) -> None:
    """Each that the API server takes is told what is wrong with it, if anything is; the others are on time."""
    stage.unjudged = "fuzz-"
    stage.start_all()
    load(stage)
    bodies = [resource(stage.random, number) for number in range(BAD)]
    since = stage.now()
    taken = set(as_admin(stage, create_bad(stage, bodies)))
    assert 50 < len(taken) < BAD
    upto = stage.now()
    mirrored = stage.check_mirror(20)
    told = wait_told(stage, taken, 10 + len(taken) / 50)
    late = lateness(stage, since, upto)
    states = {
        row["state"]: row["n"]
        for row in stage.rows("SELECT state, count(*) AS n FROM job_definition WHERE name LIKE 'fuzz-%' GROUP BY state")
    }
    assert sum(states.values()) == len(taken)
    said = figures(refused=BAD - len(taken), states=states, mirrored_after=mirrored, told_after=told)
    stage.judge(f"{said}, lateness ms of others {figures(**late)}, gap {stage.gap(since):.2f} s", 60)
    assert states["INVALID"] > 10
    assert "cannot be mirrored" not in logged(stage)
    assert late["p99"] < LATEST_MS
    assert stage.gap(since) < 1


def relaxed() -> str:
    """Return the CRD as an older one might have been: without its checks."""
    (file,) = CRDS.glob("*.yaml")

    def strip(node: Any) -> Any:
        if isinstance(node, list):
            return [strip(each) for each in node]
        if not isinstance(node, dict):
            return node
        checks = ("x-kubernetes-validations", "maxLength", "minLength", "enum", "required", "minimum", "maximum")
        return {key: strip(value) for key, value in node.items() if key not in checks or isinstance(value, dict)}

    crd = yaml.safe_load(file.read_text())
    made = copy.deepcopy(crd)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = strip(schema)
    return json.dumps(made)


DEPTHS = (70, 200, 900, 1100, 5000, 9500)


def test_payloads_that_are_nested_thousands_of_levels_deep_block_nobody(stage: Stage) -> None:
    """The API server takes them; whoever reads them with the others in one list must not fall over them."""
    stage.unjudged = "fuzz-"
    stage.start_all()
    load(stage)
    since, taken = stage.now(), set()
    for depth in DEPTHS:
        for kind, value in (("list", "[" * depth + "]" * depth), ("map", '{"a":' * depth + "1" + "}" * depth)):
            name = f"fuzz-{kind}-{depth}"
            body = json.dumps(job(name, handler="log", fixedRate="24h", payload={"message": "@"}))
            words = ("create", "--validate=false", "-n", stage.namespace, "-f", "-")
            if stage.cluster.kubectl(*words, stdin=body.replace('"@"', value), check=False).returncode == 0:
                taken.add(name)
    assert len(taken) > len(DEPTHS)
    for name in stage.living():
        if stage.metric(name, "leader_election_master_status"):
            stage.terminate(name)  # the next leader meets them in its first list
            stage.start(name)
    told = "SELECT count(*) AS n FROM job_definition WHERE name LIKE 'fuzz-%' AND reason = 'InvalidPayload'"
    took = seconds_until(lambda: stage.row(told)["n"] == len(taken))
    stage.create([job("after", handler="witness", fixedRate="1s")])
    works = seconds_until(lambda: stage.count("job_name = 'after' AND state = 'SUCCEEDED'") > 0)
    columns = "custom-columns=NAME:.metadata.name,WHY:.status.conditions[0].reason"
    words = ("get", "sjob", "-n", stage.namespace, "--no-headers", "-o", columns)
    until(lambda: stage.cluster.kubectl(*words).stdout.count("InvalidPayload") == len(taken), HEALED_SECONDS)
    for name in taken:
        stage.cluster.kubectl("delete", "sjob", name, "-n", stage.namespace)
    stage.judge(figures(taken=len(taken), told_after=took, others_seen_after=works, gap=stage.gap(since)))
    assert "the watch gave up" not in logged(stage)


def test_what_an_older_crd_has_let_in_is_told_what_is_wrong(stage: Stage) -> None:
    """The checks of the CRD are for people; the operator does not count on them."""
    stage.unjudged = "fuzz-"
    stage.start_all()
    load(stage)
    since = stage.now()
    specs: list[dict[str, Any]] = [
        {"schedule": "61 * * * *"},
        {"schedule": "0 0 31 2 *"},
        {"schedule": "x" * 5000},
        {"fixedRate": "-1s", "fixedDelay": "0s"},
        {"fixedRate": "1s", "handler": ""},
        {"fixedRate": "99999999h"},
        {"runAt": "whenever"},
        {"fixedDelay": "1s", "concurrencyPolicy": "Allow"},
        {"fixedRate": "10m", "concurrencyPolicy": "Sometimes"},
        {"fixedRate": "10m", "retry": {"limit": -5}},
        {"fixedRate": "10m", "jitter": "20m"},
        {"fixedRate": "10m", "startTime": "2090-01-01T00:00:00Z", "endTime": "2089-01-01T00:00:00Z"},
        {},
    ]
    bodies = [job(f"fuzz-{number}", **each) for number, each in enumerate(specs)]
    try:
        stage.cluster.kubectl("apply", "--server-side", "-f", "-", stdin=relaxed())
        probe = json.dumps(
            {
                **job("fuzz-probe", schedule="61 * * * *"),
                "metadata": {"name": "fuzz-probe", "namespace": stage.namespace},
            }
        )
        create = ("create", "--dry-run=server", "-f", "-")
        until(lambda: stage.cluster.kubectl(*create, stdin=probe, check=False).returncode == 0, 15)
        taken = set(as_admin(stage, create_bad(stage, bodies)))
    finally:
        stage.cluster.install_crds()
    assert len(taken) > 10, taken
    until(lambda: stage.cluster.kubectl(*create, stdin=probe, check=False).returncode != 0, 15)
    told = wait_told(stage, taken, HEALED_SECONDS)
    for name in taken:
        stage.cluster.kubectl("annotate", "sjob", name, "-n", stage.namespace, "scheduledjobs.dev/run-now=now")
    until(lambda: stage.count("run_key = 'now'") == len(taken))
    stage.judge(figures(taken=len(taken), told_after=told, gap=stage.gap(since)))
    assert stage.gap(since) < 1
