"""Start servers in the background and stop them by their own ids; say what is happening when it takes a while."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

STOP_SECONDS = 10.0
PROC = Path("/proc")
"""What macOS has not got."""

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"scheduledjobs: {text}", file=sys.stderr, flush=True)


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(command: Sequence[str], log: Path, note: Callable[[int], None], user: int | None = None) -> None:
    """Start a server in a session of its own, its output in `log`; `note` its process id before any interrupt acts."""
    with log.open("ab") as output, put_off_interrupts():
        process = subprocess.Popen(  # the server outlives the one who starts it
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        STARTED[process.pid] = process
        note(process.pid)


STARTED: dict[int, subprocess.Popen[bytes]] = {}


def is_alive(pid: int) -> bool:
    """Return whether a process is there and not a zombie."""
    if pid in STARTED and STARTED[pid].poll() is not None:
        return False
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return not PROC.exists() and _answers(pid)


def born(pid: int) -> str:
    """Return when a process began, or '': with its id it names the process even after ids were used again."""
    try:
        return _stat(pid)[19]
    except OSError:
        return "" if PROC.exists() else _born_by_ps(pid)


def _stat(pid: int) -> list[str]:
    return (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()


def _born_by_ps(pid: int) -> str:
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}  # it is compared with what another shell has noted
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment).stdout.strip()
    except OSError:
        return ""


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


@contextmanager
def put_off_interrupts() -> Iterator[None]:
    """Let Ctrl-C and the like act only after the block: no server may start without being noted, none be forgotten."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = {number: signal.signal(number, lambda each, _: caught.append(each)) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for first in caught[:1]:
            signal.raise_signal(first)


def end_as_on_ctrl_c() -> None:
    """From now on SIGTERM and SIGHUP raise KeyboardInterrupt too, so that this program stops what it has started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def exit_with(main: Callable[[], int | None]) -> NoReturn:
    """Run a program to its exit code; 130 where it was interrupted, once it has stopped what it has started."""
    end_as_on_ctrl_c()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def locked(file: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file, which ends with this process; yield False if another one has it and `wait` is not asked."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
