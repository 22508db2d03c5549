"""Faults of the Lease: deleted, taken by strangers, filled with nonsense, and replicas that share one name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.acceptance.conftest import until
from tests.faults.changes import LEASE_SECONDS, load
from tests.faults.stage import Stage, figures

LATER = "2099-01-01T00:00:00.000000Z"
STRANGER = "stranger_0"


def spec_of(stage: Stage) -> dict[str, Any]:
    """Return the Lease's spec, or nothing where there is no Lease."""
    done = stage.cluster.kubectl("get", "lease", stage.lease, "-n", stage.namespace, "-o", "json", check=False)
    return {} if done.returncode else dict(json.loads(done.stdout)["spec"])


def write(stage: Stage, **spec: Any) -> bool:
    """Write into the Lease as a stranger would; return whether the API server took it."""
    words = ("patch", "lease", stage.lease, "-n", stage.namespace, "--type=merge", "-p", json.dumps({"spec": spec}))
    return stage.cluster.kubectl(*words, check=False).returncode == 0


def is_ours(stage: Stage) -> bool:
    """Return whether the holder of the Lease is the replica that holds the term, and renews."""
    spec = spec_of(stage)
    holder = str(stage.row("SELECT holder FROM leadership")["holder"])
    return bool(holder) and spec.get("holderIdentity") == holder and spec.get("renewTime", LATER) < LATER


def strikes(stage: Stage) -> dict[str, Any]:
    """Return what happens to the Lease, by name; each says whether it did."""
    stranger: dict[str, Any] = {"holderIdentity": STRANGER, "leaseDurationSeconds": 5}
    delete = ("delete", "lease", stage.lease, "-n", stage.namespace)
    return {
        "deleted": lambda: stage.cluster.kubectl(*delete).returncode == 0,
        "stranger": lambda: write(stage, **stranger, renewTime="2020-01-01T00:00:00.000000Z"),
        "no holder": lambda: write(stage, holderIdentity=None),
        "no times": lambda: write(stage, renewTime=None, acquireTime=None, leaseTransitions=None),
        "huge duration": lambda: write(stage, holderIdentity=STRANGER, leaseDurationSeconds=2**31 - 1),
        "future": lambda: write(stage, renewTime=LATER),
        "stranger from the future": lambda: write(stage, **stranger, renewTime=LATER, acquireTime=LATER),
    }


def test_the_lease_is_deleted_taken_by_strangers_and_filled_with_nonsense(stage: Stage) -> None:
    """Firing goes on within the lease, whatever its times say."""
    stage.start_all()
    load(stage)
    assert not write(stage, leaseDurationSeconds=0), "the API server takes a duration of 0: try that too"
    gaps: dict[str, float] = {}
    for name, strike in strikes(stage).items():
        since, before = stage.now(), spec_of(stage)
        assert strike(), name
        until(lambda before=before: is_ours(stage) and spec_of(stage) != before, 3 * LEASE_SECONDS)
        rows = stage.count("true")
        until(lambda rows=rows: stage.count("true") > rows + 20)
        gaps[name] = stage.gap(since, stage.now())
    stage.judge(figures(gap_after=gaps))
    assert all(gap < LEASE_SECONDS + 1 for gap in gaps.values()), gaps


@pytest.mark.parametrize("ending", ["killed", "stopped"])
def test_all_replicas_have_one_hostname(stage: Stage, ending: str) -> None:
    """A holder is told from its namesakes by what it drew at its start."""
    stage.start_all(hostname="twin")
    load(stage)
    (leader,) = [name for name in stage.living() if stage.metric(name, "leader_election_master_status")]
    holder, since = spec_of(stage)["holderIdentity"], stage.now()
    if ending == "killed":
        stage.kill(leader)
    else:
        stage.terminate(leader)
    until(lambda: spec_of(stage)["holderIdentity"] not in ("", holder))
    stage.run_for(3)
    stage.judge(figures(gap=stage.gap(since)))
    holders = stage.row("SELECT count(DISTINCT term) AS n FROM audit")["n"]
    assert holders == 2
    assert stage.gap(since) < LEASE_SECONDS
