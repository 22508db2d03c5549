"""The CronJob controller in the table of what is due at one moment: its CronJobs are all due in the same minute."""

from __future__ import annotations

from dev.build import CONTROLLER_MANAGER, program

from benchmarks.peers import cronjob_controller as controller
from benchmarks.peers.observe import lateness
from benchmarks.peers.plan import BURST
from benchmarks.peers.subject import Figures, RunFailed, Shape, Subject
from benchmarks.postgres import Ground

MINUTES = 3


def measure(shape: Shape, mode: str, ground: Ground) -> Figures:
    """Return how late Jobs appeared after their minute, of so many minutes; RunFailed if none did."""
    ground.fresh()  # for a folder of its own: it has no use for the database
    minutes = MINUTES if shape.count >= BURST else 1
    late = controller.measure(ground.run_folder(), count=shape.count, minutes=minutes, lifted=mode == "best")
    if not late:
        raise RunFailed("no Job appeared")
    expected = controller.expected(shape.count, minutes)
    missing = expected - len(late)
    return {**lateness(late, missing=missing), "left": float(missing), "of": float(expected)}


SUBJECTS = [
    Subject(
        name=controller.NAME,
        language=controller.LANGUAGE,
        release=controller.RELEASE,
        keeps_history=False,
        settings={"best": controller.BEST, "default": controller.DEFAULT},
        measure=measure,
        prepare=lambda: program(CONTROLLER_MANAGER),
        units=frozenset({"U3"}),
        most_runs=1,
        remark=f"CronJobs of every minute, for {MINUTES} minutes; when their Jobs appear, which no kubelet has begun",
    )
]
