"""The network of the fault tests: what it opened is closed when it ends, whatever was under way."""

from __future__ import annotations

import socket
from asyncio import StreamWriter
from contextlib import ExitStack, suppress

from tests.faults.proxy import Network, Way


def read_some(link: socket.socket) -> bytes:
    link.settimeout(5)
    return link.recv(1)


def test_a_network_ends_with_bytes_that_nobody_has_read() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        with Network() as network:
            way = Way(network, server.getsockname()[1])
            client = stack.enter_context(socket.create_connection(("127.0.0.1", way.port)))
            served = stack.enter_context(server.accept()[0])
            served.settimeout(0.01)
            writers: list[StreamWriter] = []
            while not any(writer.transport.get_write_buffer_size() for writer in writers):
                with suppress(TimeoutError):
                    served.send(bytes(1 << 20))
                writers = list(network.writers)
            assert read_some(client) == b"\0"
            way.close()
        assert [writer.get_extra_info("socket").fileno() for writer in writers] == [-1, -1]
