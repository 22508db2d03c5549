"""Handlers that misbehave, loaded with SCHEDULEDJOBS_HANDLERS=witness,mischief; what they leave is in files, too.

A payload says what is done; `mischief` does it on the handlers' loop, `mischief-sync` in a thread. What else happens
is noted in `*.mischief`, so that the checker's files hold attempts alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from witness import LOCK, note

from scheduledjobs.handlers import Execution, handler

MEBIBYTE = 1024 * 1024
ERRORS: dict[str, type[BaseException]] = {
    error.__name__: error
    for error in (
        BaseException,
        SystemExit,
        KeyboardInterrupt,
        asyncio.CancelledError,
        GeneratorExit,
        StopIteration,
        StopAsyncIteration,
    )
}


class Mischief(BaseModel):
    """What to do: the name of a function below, and its measures."""

    model_config = ConfigDict(extra="forbid")

    do: str
    seconds: float = 0.0
    count: int = 0
    error: str = ""


class Unspeakable(Exception):
    """An error that cannot be printed, and ends the process of whoever tries."""

    def __str__(self) -> str:
        sys.exit(3)


def tell(what: str, **more: Any) -> None:
    """Append a line to this process's file of other things that happen."""
    line = json.dumps({"what": what, "pid": os.getpid(), "at": time.monotonic(), **more})
    with (Path(os.environ["WITNESS"]) / f"{os.getpid()}.mischief").open("a") as file:
        file.write(line + "\n")


def block(payload: Mischief) -> None:
    """Stand still, without the GIL."""
    time.sleep(payload.seconds)


def spin(payload: Mischief) -> None:
    """Compute in pure Python: the GIL is held in slices."""
    end = time.monotonic() + payload.seconds
    while time.monotonic() < end:
        pass


def throw(payload: Mischief) -> None:
    """Raise something by name, or by true need."""
    if payload.error == "RecursionError":
        throw(payload)
    elif payload.error == "MemoryError":
        bytearray(1 << 60)
    elif payload.error == "long":
        raise RuntimeError("x" * 10 * MEBIBYTE)
    elif payload.error == "unspeakable":
        raise Unspeakable
    raise ERRORS[payload.error]("mischief")


def die(_: Mischief) -> None:
    """End the process at once."""
    os._exit(3)


def _fork() -> int:
    """Fork while no other thread holds the lock of the notes, which would never be let go in the child."""
    with LOCK:
        return os.fork()


def fork(payload: Mischief) -> None:
    """Fork; the child ends itself after a while, as a well-meant one does."""
    child = _fork()
    if child == 0:
        tell("child")
        time.sleep(payload.seconds)
        os._exit(0)
    tell("forked", child=child)


def fork_and_return(_: Mischief) -> None:
    """Fork; the child goes on as if it were the operator."""
    child = _fork()
    if child:
        tell("forked", child=child)
    else:
        tell("child")


def leak_threads(payload: Mischief) -> None:
    """Leave threads behind."""
    for _ in range(payload.count):
        threading.Thread(target=time.sleep, args=(payload.seconds,), daemon=True).start()


def result(payload: Mischief) -> str:
    """Return so many MiB."""
    return "x" * (payload.count * MEBIBYTE)


def chatter(payload: Mischief) -> None:
    """Log so many MiB, half by the execution's logger and half by one of a library."""
    line = "y" * 1000
    own, library = logging.getLogger("scheduledjobs.job"), logging.getLogger("some.library")
    for _ in range(payload.count * 500):
        own.info(line)
        library.warning(line)


DOINGS: dict[str, Callable[[Mischief], Any]] = {
    each.__name__: each for each in (block, spin, throw, die, fork, fork_and_return, leak_threads, result, chatter)
}


@handler("mischief", payload=Mischief)
async def mischief(execution: Execution, payload: Mischief) -> Any:
    """Do it on the handlers' loop."""
    note("start", execution)
    try:
        found = await _do(execution, payload)
    except BaseException:
        note("stop", execution)
        raise
    note("end", execution)
    return found


async def _do(execution: Execution, payload: Mischief) -> Any:
    if payload.do == "sleep":
        await asyncio.sleep(payload.seconds)
    elif payload.do == "long_once":
        await asyncio.sleep(payload.seconds if execution.attempt == 1 else 0)
    elif payload.do == "throw_in_task":
        await asyncio.gather(asyncio.create_task(_throw(payload)))
    elif payload.do == "stop_loop":
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.1)
    elif payload.do == "cancel_itself":
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)
    else:
        return DOINGS[payload.do](payload)
    return None


async def _throw(payload: Mischief) -> None:
    throw(payload)


@handler("mischief-sync", payload=Mischief)
def mischief_sync(execution: Execution, payload: Mischief) -> Any:
    """Do it in a thread."""
    note("start", execution)
    try:
        if payload.do == "long_once":
            found = time.sleep(payload.seconds if execution.attempt == 1 else 0)
        else:
            found = DOINGS[payload.do](payload)
    except BaseException:
        note("stop", execution)
        raise
    note("end", execution)
    return found


@handler("mischief-quick", payload=Mischief)
async def quick(execution: Execution, _: Mischief) -> None:
    """Note a start and an end without waiting for the disk: the process is not killed."""
    note("start", execution, sync=False)
    note("end", execution, sync=False)
