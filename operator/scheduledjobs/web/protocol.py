"""What a replica and its web process say to each other, over the process's standard input and output.

To the process: a byte for a change in the database, a byte that asks what it has counted. From it: a byte once it
serves, then an answer to each question, its length before it.
"""

from __future__ import annotations

import asyncio
import struct

CHANGE = b"."
ASK = b"?"
SERVING = b"s"
END_SECONDS = 3.0
"""How long requests that have begun may take once the replica ends."""
LENGTH = struct.Struct("!I")
MOST_BYTES = 4 * 1024 * 1024


def packed(answer: bytes) -> bytes:
    """Return an answer with its length before it."""
    return LENGTH.pack(len(answer)) + answer


async def read_answer(stream: asyncio.StreamReader) -> bytes | None:
    """Return the next answer, or None where there will be no other: the process has ended, or speaks nonsense."""
    try:
        (length,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
        return await stream.readexactly(length) if length <= MOST_BYTES else None
    except asyncio.IncompleteReadError:
        return None
