"""Threads of the handlers' loop: those of job code, and our own for what must not wait behind it.

Everybody's `asyncio.to_thread` shares the threads of the loop, and whoever fills them holds the others up. Names would
be looked up there too, for `http`, `sql` and job code alike, and secrets read: these have threads of their own.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

from scheduledjobs.handlers.forks import Threads

P = ParamSpec("P")
T = TypeVar("T")

MORE_THREADS = 32
"""For attempts that wait in several at once: each slot has one."""

OWN_THREADS = 32

_own = Threads(OWN_THREADS, thread_name_prefix="own")  # each is made when it is needed


class HandlersLoop(asyncio.SelectorEventLoop):
    """An event loop that looks names up in our own threads."""

    def __init__(self, slots: int) -> None:
        """Have threads for this many attempts; job code takes them by `asyncio.to_thread`."""
        super().__init__()
        self.set_default_executor(Threads(slots + MORE_THREADS, thread_name_prefix="to_thread"))

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        """Look a name up, as the base does."""
        return await self.run_in_executor(_own, partial(socket.getaddrinfo, host, port, **hints))


async def in_own_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it in a thread, as `asyncio.to_thread`, but never behind job code; for what is soon done."""
    call = partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_own, call)
