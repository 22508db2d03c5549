"""What a handler is given: it can ask whether it should stop, and wait for that."""

from __future__ import annotations

import threading

from scheduledjobs.handlers.execution import Stopping


def test_stopping_is_told_to_who_asks_before_and_after() -> None:
    stopping = Stopping()
    assert not stopping.is_set()
    assert not stopping.wait(0)
    stopping.set()
    assert stopping.is_set()
    assert stopping.wait(0)


def test_who_waits_to_be_stopped_is_woken() -> None:
    stopping, seen = Stopping(), []
    waiting = [threading.Thread(target=lambda: seen.append(stopping.wait(10))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    stopping.set()
    for thread in waiting:
        thread.join(10)
    assert seen == [True, True, True]
