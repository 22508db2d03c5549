"""The web process, seen from its replica: started, told of changes, started again if it ends, and stopped.

A process of its own shares neither lock nor memory with the loop that fires, and it is nicer, so a
page is drawn with the time that firing leaves. One pipe carries all that it is told, and its end is the replica's end,
however that came about; another one carries what it answers.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress

import structlog

from scheduledjobs import metrics
from scheduledjobs.errors import SettingsError, named
from scheduledjobs.web.protocol import ASK, CHANGE, END_SECONDS, SERVING, read_answer

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 1.0
ANSWER_SECONDS = 0.5
BACKLOG = 128


class WebProcess:
    """The server of one replica; an asynchronous context, from whose beginning to its end it answers."""

    def __init__(self, host: str, port: int, environment: Mapping[str, str] | None = None) -> None:
        self._host = host
        self._wanted = port
        self._environment = environment
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._asked: asyncio.Future[bytes] | None = None
        self.port = 0
        self.is_serving = False

    async def __aenter__(self) -> WebProcess:
        """Listen now, so that a port that is taken is said in one sentence at the start."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._socket = socket.create_server((self._host, self._wanted), family=family, backlog=BACKLOG)
        except OSError as error:
            where = f"{self._host}:{self._wanted}"
            raise SettingsError(f"SCHEDULEDJOBS_PORT: cannot listen on {where}: {error.strerror or error}") from error
        self.port = self._socket.getsockname()[1]
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._keeping is not None:
                self._keeping.cancel()
                await asyncio.wait({self._keeping})  # to await it would take a cancel of the caller for the task's own
        finally:
            self._socket.close()

    def change(self) -> None:
        """Something changed."""
        self._tell(CHANGE)

    async def metrics(self) -> bytes:
        """Return what the process has counted, in the text form of Prometheus; nothing if it does not say so soon.

        A question that is not answered yet is not asked again: its answer, when it comes, is for all who wait.
        """
        if self._asked is None and self.is_serving and self._tell(ASK):
            self._asked = asyncio.get_running_loop().create_future()
        if self._asked is None:
            return b""
        with suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(self._asked), ANSWER_SECONDS)
        return b""

    def _tell(self, what: bytes) -> bool:
        """Say it, and return whether it was said: where what was said before is not read yet, nothing piles up."""
        told = self._process.stdin if self._process is not None else None
        if told is not None and not told.is_closing() and not told.transport.get_write_buffer_size():
            told.write(what)
            return True
        return False

    async def _keep(self) -> None:
        """Have a process that serves; the socket stays open between two, so who calls then waits and is answered."""
        failures = 0
        while True:
            try:
                code = await self._serve()
                failures = 0
                metrics.WEB_RESTARTS.inc()
                log.error("the process of REST and pages ended: it begins again", exit_code=code)
            except (OSError, RuntimeError) as error:  # no room for a process, a pipe, or the thread that waits
                failures += 1
                if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th...: it may last
                    log.error(  # noqa: TRY400
                        "the process of REST and pages cannot begin: it is tried again",
                        error=named(error),
                        failures=failures,
                    )
            await asyncio.sleep(AGAIN_SECONDS)

    async def _serve(self) -> int:
        number = self._socket.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scheduledjobs.web",
            str(number),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=[number],
            env=self._environment,
        )
        self._process = process
        try:
            assert process.stdout is not None  # noqa: S101 it was asked for
            self.is_serving = await process.stdout.read(len(SERVING)) == SERVING
            metrics.WEB_SERVING.set(self.is_serving)
            while (answer := await read_answer(process.stdout)) is not None:
                self._answer(answer)
            return await process.wait()
        finally:
            self.is_serving = False
            metrics.WEB_SERVING.set(0)
            self._process = None
            self._answer(b"")
            await _end(process)

    def _answer(self, answer: bytes) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_result(answer)


async def _end(process: Process) -> None:
    """Let it answer what it has begun; then it is ended."""
    assert process.stdin is not None  # noqa: S101 it was asked for
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), END_SECONDS + 1)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
