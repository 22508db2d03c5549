"""Faults of the watch: expired, cut in a frame, silent; and what changed while nobody watched."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.conftest import until
from tests.faults.changes import HEALED_SECONDS, add, change, is_mirrored, load, seconds_until
from tests.faults.gateway import Gateway, Rule, is_watch
from tests.faults.stage import NAMES, Stage, figures

EXPIRED = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}


def start(stage: Stage, kinds: list[str]) -> None:
    """Start replicas behind gateways, under load, with three jobs to change for each kind of fault."""
    for name in NAMES:
        stage.gateways[name] = Gateway(stage.network, stage.cluster)
    stage.start_all()
    load(stage)
    add(stage, *kinds)


def break_watches(stage: Stage, **fault: Any) -> list[Rule]:
    """Let the next watch of each replica be broken, and end those that there are; `restored` by clearing rules."""
    rules = [Rule(is_watch, **fault) for _ in stage.gateways]
    for gateway, rule in zip(stage.gateways.values(), rules, strict=True):
        gateway.rules.append(rule)
    for gateway in stage.gateways.values():
        gateway.cut()
    until(lambda: any(rule.hits for rule in rules), 15)
    return rules


def test_watches_expire_and_break_while_jobs_change(stage: Stage) -> None:
    """Whatever ended the watch and whatever it missed: ten seconds after it can work again, all is mirrored."""
    event = json.dumps({"type": "ERROR", "object": EXPIRED}).encode()
    refused: dict[str, Any] = {"status": 503}
    faults: dict[str, dict[str, Any]] = {
        "410": {"status": 410},
        "error-410": {"event": event},
        "error-500": {"event": event.replace(b"410", b"500")},
        "truncated": {"truncate": 60},
        "refused": refused,
    }
    start(stage, list(faults))
    since, took = stage.now(), {}
    for kind, fault in faults.items():
        rules = break_watches(stage, **fault)
        change(stage, kind)
        if kind in ("410", "error-410", "error-500"):
            stage.run_for(3)
        else:
            stage.run_for(8)
        assert any(rule.hits for rule in rules)
        for gateway in stage.gateways.values():
            gateway.rules.clear()
        took[kind] = seconds_until(lambda kind=kind: is_mirrored(stage, kind), HEALED_SECONDS)
    stage.judge(figures(mirrored_after=took, gap=stage.gap(since)))
    assert stage.gap(since) < 1


def test_a_watch_falls_silent_with_its_connection_open(stage: Stage) -> None:
    """Nothing says that it is broken; its silence does."""
    start(stage, ["silent"])
    since = stage.now()
    for gateway in stage.gateways.values():
        gateway.rules.append(Rule(is_watch, mute=0, times=1))
    for gateway in stage.gateways.values():
        gateway.cut()
    rules = [rule for gateway in stage.gateways.values() for rule in gateway.rules]
    until(lambda: any(rule.hits for rule in rules), 15)
    change(stage, "silent")
    took = seconds_until(lambda: is_mirrored(stage, "silent"), 80)
    stage.judge(figures(noticed_and_mirrored_after=took, gap=stage.gap(since)))
    assert took < HEALED_SECONDS
    assert stage.gap(since) < 1
