"""What a user's statement returns, a row at a time: however many there are and however large, one is held.

The driver fetches the whole answer of a statement before it gives the first row, and its `stream` takes queries only.
So a cursor of our own: any statement, in libpq's single-row mode.

libpq takes in a whole row before it shows it, and Postgres lets one have a gigabyte. So what has come for a row is
counted meanwhile, and the connection closed where it is too much. Linux counts for TCP; over a Unix socket, or
elsewhere, a row is judged once it is there, and only if it is one of those that are kept. So it is, too, where a server
as fast as we are never lets libpq wait: it reads as long as there is something to read.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.generators import fetch
from psycopg.pq import ExecStatus
from psycopg.rows import dict_row

from scheduledjobs.errors import Permanent
from scheduledjobs.store.sessions import Connection

MOST_KEPT = 100
MOST_KEPT_BYTES = 64 * 1024
"""Where the rows that are kept come to more, no other is: a result is cut at 16 KiB, so nobody would see it."""

MOST_ROW_MIB = 4
BYTES_RECEIVED = 128, struct.Struct("=Q")
"""Where Linux's tcp_info has tcpi_bytes_received."""

ROWS = frozenset({ExecStatus.SINGLE_TUPLE})
ENDS = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY})
COPIES = frozenset({ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH})
Steps = Generator[Any, Any, Any]


class RowTooLarge(Permanent):
    """The statement returns a row that is larger than may be held."""


@dataclass(slots=True)
class Returned:
    """How many rows a statement returned or changed (-1: it does not say), and the first that it returned.

    `kept` is None where it is of a kind that returns none.
    """

    rows: int = 0
    kept: list[Any] | None = field(default_factory=list)
    bytes: int = 0


async def run(conn: Connection, statement: str, bound: Mapping[str, Any]) -> Returned:
    """Run one statement with bind values; `RowTooLarge` for a row of more than 4 MiB: the connection is closed then."""
    async with conn.lock:
        with socket.socket(fileno=os.dup(conn.pgconn.socket)) as link:
            try:
                found: Returned = await conn.wait(_Reading(conn, link).steps(statement, bound))
            except RowTooLarge:
                await conn.close()  # to drain what comes would mean to hold it
                raise
    return found


class _Reading(psycopg.AsyncCursor[Any]):
    """The driver's cursor for how values are bound and rows are read, with its waiting replaced."""

    def __init__(self, conn: Connection, link: socket.socket) -> None:
        super().__init__(conn, row_factory=dict_row)
        self._link = link

    def steps(self, statement: str, bound: Mapping[str, Any]) -> Steps:
        """Send the statement (by the extended protocol, which takes one only) and take in what it returns."""
        yield from self._stream_send_gen(statement.encode(), bound, size=1)
        found = Returned()
        while (result := (yield from self._next())).status in ROWS:
            self._keep(found, result)
        if result.status in COPIES:  # libpq would give the same answer for ever
            self._raise_for_result(result)
        while (yield from fetch(self._pgconn)) is not None:
            pass
        if result.status not in ENDS:
            self._raise_for_result(result)
        if result.status != ExecStatus.TUPLES_OK:
            count = result.command_tuples
            return Returned(-1 if count is None else count, None)
        return found

    def _keep(self, found: Returned, result: Any) -> None:
        found.rows += 1
        if found.kept is None or len(found.kept) == MOST_KEPT or found.bytes > MOST_KEPT_BYTES:
            return
        size = sum(len(result.get_value(0, column) or b"") for column in range(result.nfields))
        if size > MOST_ROW_MIB * 2**20:
            raise _too_large()
        found.bytes += size
        self.pgresult = result
        self._tx.set_pgresult(result, set_loaders=found.rows == 1)
        if found.rows == 1:
            self._make_row = self._make_row_maker()
        found.kept.append(self._tx.load_row(0, self._make_row))

    def _next(self) -> Steps:
        """Wait for the next answer of libpq, a row most often, but not until it has taken in too much for one.

        Whenever libpq waits, all that it has is the part of a row, so what it took in since it gave the last one is not
        more than that.
        """
        waiting, begun, ready = fetch(self._pgconn), -1, None
        while True:
            try:
                wanted = waiting.send(ready)
            except StopIteration as ended:
                return ended.value
            if begun < 0:
                begun = _taken(self._link)
            elif _taken(self._link) - begun > MOST_ROW_MIB * 2**20:
                raise _too_large()
            ready = yield wanted


def _too_large() -> RowTooLarge:
    return RowTooLarge(f"the statement returns a row of more than {MOST_ROW_MIB} MiB")


def _taken(link: socket.socket) -> int:
    """Return how many bytes have been read from a socket: those received, without those that still lie in the kernel.

    0 where the kernel does not count. What comes between the two questions makes it less, never more.
    """
    offset, number = BYTES_RECEIVED
    if sys.platform != "linux" or link.family == socket.AF_UNIX:
        return 0
    info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, offset + number.size)
    if len(info) < offset + number.size:
        return 0
    unread = array.array("i", [0])
    fcntl.ioctl(link, termios.FIONREAD, unread)
    received: int = number.unpack_from(info, offset)[0]
    return received - unread[0]
