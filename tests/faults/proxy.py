"""A TCP way between one replica and one server on loopback, with a switch for each fault of a network.

All proxies live on one event loop in a thread of their own, so a test that waits does not stop the traffic.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from weakref import WeakSet

CHUNK = 65_536
NAME = re.compile(rb"application_name\0([^\0]*)\0")
T = TypeVar("T")


class Network:
    """The loop of all proxies; `with Network() as network`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.writers: WeakSet[asyncio.StreamWriter] = WeakSet()
        """Of all connections: one that is closed stays open until what it holds is read, which may be never."""

        self._thread = threading.Thread(target=self.loop.run_forever, name="network", daemon=True)

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in list(self.writers):
            writer.transport.abort()
        await asyncio.sleep(0)  # a transport lets go of its socket in the next turn of the loop

    def call(self, work: Coroutine[Any, Any, T], seconds: float = 10) -> T:
        """Run a coroutine on the loop and return what it returns."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(seconds)


@dataclass(slots=True)
class Trap:
    """Something that happens once, when certain bytes pass.

    `where`: sent, by the replica; answer, by the server. A trap on what is sent lets the first `share` of those bytes
    through. `act(connection)` runs before anything else passes; then the connection is cut, unless `cut` is False.
    `answered` waits for the server's answer, which never arrives: a COMMIT that is acknowledged to nobody.
    """

    where: Literal["sent", "answer"]
    pattern: bytes
    session: bytes = b""
    act: Callable[[], None] = lambda: None
    share: float = 0.0
    answered: bool = False
    cut: bool = True
    sprung: threading.Event = field(default_factory=threading.Event)

    def spring(self) -> None:
        """Act, in a thread: what it does may end the connection, and with it the task that waits for it."""
        self.act()
        self.sprung.set()


@dataclass(eq=False, slots=True)
class Connection:
    """One connection through the proxy; `session` is the application_name that a PostgreSQL session gave itself."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    session: bytes = b""
    silent: bool = False
    """Open on both sides, and nothing passes any more: what a vanished peer looks like."""

    awaiting: Trap | None = None
    """The trap that springs at the next answer."""


class Way:
    """A port on loopback that leads to another; every switch acts at once on what is under way."""

    def __init__(self, network: Network, port: int) -> None:
        self._network = network
        self._target = port
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._open = asyncio.Event()
        self.traps: list[Trap] = []
        self.refused = False
        self.delay = 0.0
        self.bytes_per_second = 0.0
        self.port = 0
        network.call(self._listen())

    async def _listen(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Take the port away."""
        self.cut()
        if self._server is not None:
            self._network.loop.call_soon_threadsafe(self._server.close)

    def stall(self) -> None:
        """From now on connections are accepted and nothing passes; `flow` lets what waits go on."""
        self._network.loop.call_soon_threadsafe(self._open.clear)

    def flow(self) -> None:
        """Let everything pass again: nothing refused, delayed or limited."""
        self.refused, self.delay, self.bytes_per_second = False, 0.0, 0.0
        self.traps.clear()
        self._network.loop.call_soon_threadsafe(self._open.set)

    def lead_to(self, port: int) -> None:
        """From now on lead new connections to another port."""
        self._target = port

    def vanish(self, session: bytes = b"") -> int:
        """Let what is connected now be silent for ever, without a FIN to anybody; new connections work."""
        return self._network.call(self._each(session, self._silence))

    def cut(self, session: bytes = b"") -> int:
        """End what is connected now; return how many connections that were."""
        return self._network.call(self._each(session, self._close))

    def reset(self, session: bytes = b"") -> int:
        """End what is connected now with RST."""
        return self._network.call(self._each(session, self._reset))

    async def _each(self, session: bytes, do: Callable[[Connection], None]) -> int:
        chosen = [each for each in self._connections if each.session.startswith(session)]
        for each in chosen:
            do(each)
        return len(chosen)

    def _silence(self, connection: Connection) -> None:
        connection.silent = True

    def _close(self, connection: Connection) -> None:
        connection.client.close()
        connection.server.close()

    def _reset(self, connection: Connection) -> None:
        for writer in (connection.client, connection.server):
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._network.writers.add(writer)
        if self.refused:
            writer.close()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._network.writers.add(server_writer)
        connection = Connection(writer, server_writer)
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(connection, reader, server_writer, "sent"))
                group.create_task(self._pump(connection, server_reader, writer, "answer"))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(connection)
            self._close(connection)

    async def _pump(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str
    ) -> None:
        while data := await reader.read(CHUNK):
            if where == "sent" and not connection.session and (found := NAME.search(data)):
                connection.session = found.group(1)
            await self._open.wait()
            if connection.silent:
                await asyncio.Event().wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.bytes_per_second:
                await asyncio.sleep(len(data) / self.bytes_per_second)
            trap = self._trap(connection, data, where)
            if trap is None or (trap.answered and where == "sent"):
                connection.awaiting = connection.awaiting or trap
                writer.write(data)
                await writer.drain()
            else:
                await self._spring(trap, data, writer)
        raise ConnectionResetError  # one side has ended: so does the other

    def _trap(self, connection: Connection, data: bytes, where: str) -> Trap | None:
        if where == "answer" and connection.awaiting is not None:
            return connection.awaiting
        for trap in self.traps:
            if trap.where == where and trap.pattern in data and connection.session.startswith(trap.session):
                self.traps.remove(trap)
                return trap
        return None

    async def _spring(self, trap: Trap, data: bytes, writer: asyncio.StreamWriter) -> None:
        passed = int(len(data) * trap.share)
        writer.write(data[:passed])
        with suppress(OSError):
            await writer.drain()
        await asyncio.to_thread(trap.spring)
        if trap.cut:
            raise ConnectionResetError
        writer.write(data[passed:])
