"""Faults of the API server: dead, mute, cut off, overloaded, forbidding. What is mirrored fires on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import yaml
from tests.acceptance.conftest import until
from tests.acceptance.test_rights import ROLES
from tests.faults.changes import (
    HEALED_SECONDS,
    LEASE_SECONDS,
    add,
    change,
    is_mirrored,
    is_unseen,
    lateness,
    load,
    logged,
    seconds_until,
)
from tests.faults.gateway import Gateway, Rule
from tests.faults.stage import NAMES, Stage, figures

from scheduledjobs.errors import KubeError
from scheduledjobs.kube.client import open_client
from scheduledjobs.kube.listing import collection_path


def test_the_api_server_is_killed_and_down_for_90_seconds(stage: Stage) -> None:
    """What is mirrored fires on; what changes right after the return is seen, deletes too."""
    stage.start_all()
    load(stage)
    add(stage, "mark")
    leader, term, since = stage.leader(), stage.row("SELECT term FROM leadership")["term"], stage.now()
    stage.cluster.stop_apiserver(signal.SIGKILL)
    try:
        stage.run_for(90)
        upto = stage.now()
        assert (stage.leader(), stage.row("SELECT term FROM leadership")["term"]) == (leader, term)
    finally:
        stage.cluster.start_apiserver()
    change(stage, "mark")
    healed = seconds_until(lambda: is_mirrored(stage, "mark"))
    late, gap = lateness(stage, since, upto), stage.gap(since, upto)
    stage.judge(figures(lateness_ms=late, gap_while_down=gap, mirrored_after=healed))
    assert gap < 1
    assert late["p99"] < 500


def test_the_leader_dies_while_the_api_server_is_down(stage: Stage) -> None:
    """Nobody can take the Lease: firing waits for the API server, and nothing is lost."""
    stage.start_all()
    load(stage)
    add(stage, "mark")
    since = stage.now()
    stage.cluster.stop_apiserver(signal.SIGKILL)
    try:
        stage.run_for(3)
        leader = stage.leader()
        stage.kill(leader)
        stage.run_for(12)
    finally:
        stage.cluster.start_apiserver()
    began = time.monotonic()
    change(stage, "mark")
    stage.wait_leader(other_than=leader)
    led = time.monotonic() - began
    healed = seconds_until(lambda: is_mirrored(stage, "mark"))
    stage.judge(figures(gap=stage.gap(since), next_leader_after_return=led, mirrored_after=healed), 60)
    assert led < LEASE_SECONDS + 1


def test_the_api_server_takes_connections_and_never_answers(stage: Stage) -> None:
    """Eight seconds cost nothing; thirty cost the trust in the Lease, and no row."""
    stage.start_all()
    load(stage)
    add(stage, "short", "long")
    said: dict[str, Any] = {}
    for kind, seconds in (("short", 8), ("long", 30)):
        since, leader = stage.now(), stage.leader()
        for way in stage.api.values():
            way.stall()
        change(stage, kind)
        stage.run_for(seconds)
        upto = stage.now()
        assert is_unseen(stage, kind)
        assert stage.leader() == leader
        stage.heal()
        said[f"{kind}_mirrored_after"] = seconds_until(lambda kind=kind: is_mirrored(stage, kind))
        said[f"{kind}_gap"], said[f"{kind}_late"] = stage.gap(since, upto), lateness(stage, since, upto)["p99"]
        said[f"{kind}_gap_with_healing"] = stage.gap(since, stage.now())
    stage.judge(figures(**said))
    assert said["short_gap"] < 1
    assert said["long_gap"] < 1
    assert said["long_gap_with_healing"] < 2


def test_the_leader_is_cut_off_from_the_api_server_only(stage: Stage) -> None:
    """It fires on until another has the term."""
    stage.start_all()
    load(stage)
    since, leader = stage.now(), str(stage.leader())
    stage.api[leader].refused = True
    assert stage.api[leader].cut() > 0
    began = time.monotonic()
    following = stage.wait_leader(other_than=leader)
    took = time.monotonic() - began
    stage.run_for(5)
    assert not stage.metric(leader, "leader_election_master_status")
    stage.heal()
    stage.judge(figures(leads=following, next_leader_after=took, gap=stage.gap(since)))
    assert took < LEASE_SECONDS + 2
    assert stage.gap(since) < 2


def test_the_leader_is_cut_off_from_postgres_only(stage: Stage) -> None:
    """It gives the Lease up after five seconds, so that one with a database leads."""
    stage.start_all()
    load(stage)
    since, leader = stage.now(), str(stage.leader())
    stage.db[leader].refused = True
    assert stage.db[leader].cut() > 0
    began = time.monotonic()
    following = stage.wait_leader(other_than=leader)
    took = time.monotonic() - began
    stage.run_for(12)
    stage.heal()
    ready = seconds_until(lambda: stage.is_ready(leader), 30)
    stage.judge(figures(leads=following, next_leader_after=took, ready_after=ready, gap=stage.gap(since)), 60)
    assert took < 2 * LEASE_SECONDS


def anything(_: str, __: str, ___: Mapping[str, str]) -> bool:
    """Match every request."""
    return True


async def fight(stage: Stage, names: list[str], seconds: float) -> int:
    """Write into the status of jobs as another controller would; return how often."""
    written, until_ = 0, time.monotonic() + seconds
    headers = {"Content-Type": "application/merge-patch+json"}
    async with open_client() as kube:
        while time.monotonic() < until_:
            for name in names:
                body = {"status": {"schedule": "nonsense", "active": 77, "consecutiveFailures": written}}
                path = f"{collection_path(stage.namespace)}/{name}/status"
                try:
                    await kube.request("PATCH", path, body=body, headers=headers)
                    written += 1
                except KubeError:
                    continue
                await asyncio.sleep(0.01)
    return written


def has_nonsense(stage: Stage) -> list[str]:
    """Return the jobs whose status is not ours."""
    return [item["metadata"]["name"] for item in stage.items() if item.get("status", {}).get("schedule") == "nonsense"]


def test_the_api_server_is_overloaded_fails_and_others_write_statuses(stage: Stage) -> None:
    """429 with Retry-After, a storm of 500s, then another writer of statuses: all healed ten seconds later."""
    for name in NAMES:
        stage.gateways[name] = Gateway(stage.network, stage.cluster)
    stage.start_all()
    load(stage)
    add(stage, "429", "500", "503")
    said: dict[str, Any] = {}
    faults: dict[str, dict[str, Any]] = {
        "429": {"status": 429, "headers": {"Retry-After": "2"}},
        "500": {"status": 500},
        "503": {"status": 503},
    }
    began = stage.now()
    for kind, fault in faults.items():
        since = stage.now()
        rule = Rule(anything, **fault)
        for gateway in stage.gateways.values():
            gateway.rules.append(rule)
            gateway.cut()
        change(stage, kind)
        stage.run_for(9)
        assert rule.hits > 10
        assert is_unseen(stage, kind)
        stage.heal()
        said[f"{kind}_mirrored_after"] = seconds_until(lambda kind=kind: is_mirrored(stage, kind))
        said[f"{kind}_gap"] = stage.gap(since, stage.now())
    os.environ["KUBECONFIG"] = str(stage.cluster.kubeconfig)
    try:
        said["written"] = asyncio.run(fight(stage, ["fine-0", "forbid-1", "429-edited", "500-edited"], 8))
    finally:
        del os.environ["KUBECONFIG"]
    assert said["written"] > 100
    healing = time.monotonic()
    until(lambda: not has_nonsense(stage), HEALED_SECONDS)
    said["status_right_after"] = time.monotonic() - healing
    stage.judge(figures(**said, gap=stage.gap(began)))
    assert stage.gap(began) < 1


def test_the_rights_are_taken_away_and_given_back(stage: Stage) -> None:
    """Firing needs none; ten seconds after they are back, mirror and statuses are right."""
    names = {"lease": stage.lease, "namespace": stage.namespace}
    roles = json.dumps({"apiVersion": "v1", "kind": "List", "items": yaml.safe_load(ROLES % names)})
    stage.cluster.kubectl("apply", "-f", "-", stdin=roles)
    stage.token = stage.cluster.kubectl("create", "token", "operator", "-n", stage.namespace).stdout.strip()
    stage.start_all()
    load(stage)
    add(stage, "mark")
    since = stage.now()
    stage.cluster.kubectl("delete", "clusterrolebinding", "scheduledjobs-test")
    for way in stage.api.values():
        way.cut()  # a watch that has begun is not asked for its rights again
    until(lambda: "403" in logged(stage))
    change(stage, "mark")
    stage.run_for(18)
    assert is_unseen(stage, "mark")
    upto = stage.now()
    stage.cluster.kubectl("apply", "-f", "-", stdin=roles)
    healed = seconds_until(lambda: is_mirrored(stage, "mark"))
    late = lateness(stage, since, upto)
    began = time.monotonic()
    stage.check_statuses(HEALED_SECONDS)
    said = figures(lateness_ms=late, mirrored_after=healed, status_right_after=healed + time.monotonic() - began)
    stage.judge(f"{said}, gap {stage.gap(since):.2f} s")
    assert stage.gap(since) < 1
