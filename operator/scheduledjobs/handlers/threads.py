"""Threads of the handlers' loop: those of job code, and our own for what must not wait behind it.

Everybody's `asyncio.to_thread` shares the threads of the loop, and whoever fills them holds the others up. Names would
be looked up there too, for `http`, `sql` and job code alike, and secrets read: these have threads of their own. A
look-up lasts as long as the resolver waits, also where its attempt has ended; so secrets are not read behind names.
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

NAME_THREADS = 32
SECRET_THREADS = 4

_names = Threads(NAME_THREADS, thread_name_prefix="names")  # each is made when it is needed
_secrets = Threads(SECRET_THREADS, thread_name_prefix="secrets")


class HandlersLoop(asyncio.SelectorEventLoop):
    """An event loop that looks names up in our own threads."""

    def __init__(self, slots: int) -> None:
        """Have threads for this many attempts; job code takes them by `asyncio.to_thread`."""
        super().__init__()
        self.set_default_executor(Threads(slots + MORE_THREADS, thread_name_prefix="to_thread"))

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        """Look a name up, as the base does."""
        return await self.run_in_executor(_names, partial(socket.getaddrinfo, host, port, **hints))


async def in_secrets_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it in a thread, as `asyncio.to_thread`, but behind neither job code nor a look-up; for reads of secrets."""
    call = partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_secrets, call)
