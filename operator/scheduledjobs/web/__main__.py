"""`python -m scheduledjobs.web FD`: the web process of a replica, which gives it the socket to serve and ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

from scheduledjobs.handlers.setting_up import set_up_handlers
from scheduledjobs.kube.client import open_client
from scheduledjobs.logs import set_up_logs
from scheduledjobs.settings import Settings, load
from scheduledjobs.web.server import WebServer
from scheduledjobs.web.ui.render import compile_all

NICER = 10
"""What fires, claims and beats goes first, where there is less than one core for each."""


async def serve(settings: Settings, listening: socket.socket, told: int) -> None:
    """Serve until the replica ends; what it is told goes to the file `told`, and waits here where it does not read."""
    registry = set_up_handlers(settings)
    compile_all()
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.BaseProtocol, os.fdopen(told, "wb"))
    async with open_client() as kube:
        await WebServer(settings, kube, registry, tell=transport.write).run(listening)


def main() -> None:
    """Serve the socket of this number; the replica decides when it ends, so a Ctrl-C in a terminal is not ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICER)
    told = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what modules with handlers print is for people
    settings = load()
    set_up_logs(settings.log_format, settings.log_level, settings.hostname)
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        asyncio.run(serve(settings, listening, told))


if __name__ == "__main__":
    main()
