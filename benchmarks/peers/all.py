"""All peers: a module of this package for each family. One more is one more line of MODULES.

A module has PEERS, whose worker programs are all run in the same way, or SUBJECTS, which are measured in their own way.
"""

from __future__ import annotations

from importlib import import_module

from benchmarks.peers.peer import Peer
from benchmarks.peers.subject import Subject
from benchmarks.peers.workers import subject_of

MODULES = [
    "procrastinate",
    "pgqueuer",
    "oban",
    "apscheduler",
    "river",
    "graphile_worker",
    "db_scheduler",
    "quartz",
    "cronjobs",
]


def peers() -> list[Peer]:
    """Return all peers that have a worker program, in the order of MODULES."""
    return [peer for name in MODULES for peer in getattr(_module(name), "PEERS", ())]


def subjects() -> list[Subject]:
    """Return all that is measured beside ours, in the order of MODULES."""
    others = [subject for name in MODULES for subject in getattr(_module(name), "SUBJECTS", ())]
    return [*map(subject_of, peers()), *others]


def _module(name: str) -> object:
    return import_module(f"benchmarks.peers.{name}")
