"""A handler may fork, by itself or through multiprocessing: its child is no second operator.

The child has copies of everything: the connections to PostgreSQL and the API server, which would outlive the parent's
death in it; the wake-up pipe of the main loop, by which a SIGTERM to the child would stop the parent; and the event
loop in the middle of its turn, on which the child would run everybody's handlers a second time. So the child gives up
the connections and signals at once, and ends where it comes back to our code.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISSOCK
from typing import Any

NETWORK = frozenset({socket.AF_INET, socket.AF_INET6})
STOPS = frozenset({signal.SIGTERM, signal.SIGINT})
LOCAL_POSTGRES = ".s.PGSQL."
LAST_WORDS = "a child that a handler forked came back from it and was ended"


class Guard:
    """What this process knows of itself: whether it is the operator, or a child that a handler forked."""

    def __init__(self) -> None:
        self.is_child = False
        self._is_set = False
        self._held = threading.local()

    def set_up(self) -> None:
        """From now on children of this process are none of the operator's. Once a process."""
        if not self._is_set:
            self._is_set = True
            os.register_at_fork(before=self._hold, after_in_parent=self._let_go, after_in_child=self._be_nobody)

    def end_child(self) -> None:
        """End this process if it is a child: nothing of it may be taken for the operator's."""
        if self.is_child:
            with suppress(OSError):
                os.write(2, _line(LAST_WORDS))
            os._exit(0)

    def _hold(self) -> None:
        """A signal to a child that has not given the signals back yet must wait for that."""
        self._held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)

    def _let_go(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._held.mask)

    def _be_nobody(self) -> None:
        self.is_child = True
        with suppress(ValueError, OSError):  # not the main thread of its interpreter: then there are none to give back
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(OSError):
            _drop_connections()
        self._let_go()


guard = Guard()


def _line(event: str) -> bytes:
    """Return a line of the log, made by hand: the locks of `logging` may be held for ever in a child."""
    said = {"event": event, "level": "warning", "logger": __name__, "timestamp": datetime.now(UTC).isoformat()}
    return json.dumps(said).encode() + b"\n"


def _drop_connections() -> None:
    """Put nothing in the place of every connection: a number that were free would be another file's, written into."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if _is_connection(int(entry.name)):
                os.dup2(nothing, int(entry.name), inheritable=False)
    os.close(nothing)


def _is_connection(number: int) -> bool:
    if not S_ISSOCK(os.fstat(number).st_mode):
        return False
    found = socket.socket(fileno=number)
    try:
        return found.family in NETWORK or (
            found.family == socket.AF_UNIX and LOCAL_POSTGRES in str(found.getpeername())
        )
    finally:
        found.detach()


class Guarded(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are the operator's alone."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def send(self, value: Any) -> Any:
        """Do a step."""
        guard.end_child()
        try:
            return self._coroutine.send(value)
        finally:
            guard.end_child()

    def throw(self, *error: Any) -> Any:
        """Do a step that begins with an error."""
        guard.end_child()
        try:
            return self._coroutine.throw(*error)
        finally:
            guard.end_child()

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def __await__(self) -> Any:
        """Wait for it."""
        return self._coroutine.__await__()


class Threads(ThreadPoolExecutor):
    """Worker threads that end a child which comes back to them."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it in a thread."""
        return super().submit(_guarded, function, *args, **kwargs)


def _guarded(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    finally:
        guard.end_child()
