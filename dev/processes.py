"""Start servers in the background and stop them by their own ids; say what is happening when it takes a while."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

STOP_SECONDS = 10.0


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"scheduledjobs: {text}", file=sys.stderr, flush=True)


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(command: Sequence[str], log: Path, user: int | None = None) -> int:
    """Start a server in a session of its own, its output in `log`; return its process id."""
    who = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
    with log.open("ab") as output:
        process = subprocess.Popen(  # the server outlives the one who starts it
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            **who,
        )
    STARTED[process.pid] = process
    return process.pid


STARTED: dict[int, subprocess.Popen[bytes]] = {}


def is_alive(pid: int) -> bool:
    """Return whether a process is there and not a zombie."""
    if pid in STARTED and STARTED[pid].poll() is not None:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return not Path("/proc").exists() and _answers(pid)


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def stop(pid: int, number: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> None:
    """Stop a process by its id and wait for its end; kill it when it takes too long."""
    for each in (number, signal.SIGKILL):
        try:
            os.kill(pid, each)
        except ProcessLookupError:
            return
        if until(lambda: not is_alive(pid), seconds):
            return


def until(is_so: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
    """Return whether something became so in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def wait_ready(what: str, pid: int, is_ready: Callable[[], bool], log: Path, seconds: float = 60) -> None:
    """Wait until a server answers; exit with the end of its log if it does not."""
    if until(lambda: is_ready() or not is_alive(pid), seconds) and is_alive(pid):
        return
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise SystemExit(f"scheduledjobs: {what} did not start; the end of {log}:\n{tail}")
