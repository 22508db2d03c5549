"""`make demo`: two replicas at work on a real API server and PostgreSQL, and a leader to kill.

With a terminal it shows the jobs and the newest executions until Ctrl-C; the key k kills the leader. Without one it
runs until every example has fired, prints both tables and exits: 0 if each kind of schedule has succeeded.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg

from dev.cluster import ROOT, STATE, down, up
from dev.controlplane import kubectl
from dev.processes import say

EXAMPLES = ROOT / "examples"
LIMIT_SECONDS = 120
ONE_SHOT_AHEAD = timedelta(seconds=6)
KINDS = {
    "CRON": "cron-every-5s",
    "FIXED_RATE": "rate-every-2s",
    "FIXED_DELAY": "delay-3s",
    "ONE_SHOT": "once",
}
LOG = """
SELECT to_char(fire_time, 'HH24:MI:SS.MS') AS fire_time, job_name, state, coalesce(reason, '') AS reason,
    coalesce(duration_ms::text, '') AS ms, coalesce(lateness_ms::text, '') AS late_ms,
    coalesce(hostname, '') AS replica, coalesce(left(message, 50), '') AS message
FROM job_execution_log LEFT JOIN scheduler_instance AS i ON i.id = claimed_by
ORDER BY job_execution_log.fire_time DESC, job_execution_log.id DESC LIMIT %s
"""


class Ping(BaseHTTPRequestHandler):
    """Answers every POST with 200."""

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Demo:
    """Two replicas and what they work on."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = {**os.environ, **environment, "SCHEDULEDJOBS_HTTP_ALLOW": "127.0.0.0/8"}
        self._url = environment["SCHEDULEDJOBS_DATABASE_URL"]
        self._folder = folder
        self._replicas: dict[str, subprocess.Popen[bytes]] = {}
        self._number = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Ping)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def start_replica(self) -> str:
        """Start one more replica; return its name."""
        self._number += 1
        name = f"replica-{self._number}"
        with (self._folder / f"{name}.log").open("wb") as log:
            self._replicas[name] = subprocess.Popen(
                [sys.executable, "-m", "scheduledjobs", "run"],
                env={**self._environment, "SCHEDULEDJOBS_HOSTNAME": name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return name

    def stop(self) -> None:
        """Stop every replica and the server."""
        for process in self._replicas.values():
            process.terminate()
        for process in self._replicas.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._server.shutdown()
        self._server.server_close()

    def apply_examples(self) -> None:
        """Apply examples/, the one-shot a few seconds ahead and the HTTP call to our server."""
        run_at = (datetime.now(UTC) + ONE_SHOT_AHEAD).strftime("%Y-%m-%dT%H:%M:%SZ")
        for file in sorted(EXAMPLES.glob("*.yaml")):
            text = file.read_text().replace("2026-12-24T18:00:00+01:00", run_at)
            text = text.replace("127.0.0.1:8080", f"127.0.0.1:{self._server.server_address[1]}")
            self.kubectl("apply", "-f", "-", stdin=text)

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Run kubectl against the demo's cluster; return what it printed."""
        command = [kubectl(), *words]
        done = subprocess.run(command, env=self._environment, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"scheduledjobs: kubectl {words[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def query(self, text: str, *params: Any) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the names of a query's columns and its rows."""
        with psycopg.connect(self._url, autocommit=True) as conn:
            cursor = conn.execute(text.encode(), params or None)
            return [column.name for column in cursor.description or ()], cursor.fetchall()

    def leader(self) -> str | None:
        """Return the replica that leads, or None."""
        ((holder,),) = self.query("SELECT holder FROM leadership")[1]
        name = str(holder).rsplit("_", 1)[0]
        return name if name in self._replicas else None

    def kill_leader(self) -> str:
        """Kill the leader, start a replica in its place; return what happened."""
        leader = self.leader()
        if leader is None:
            return "there is no leader just now"
        process = self._replicas.pop(leader)
        process.send_signal(signal.SIGKILL)
        process.wait()
        return f"killed {leader}, started {self.start_replica()}"

    def check_alive(self) -> None:
        """Exit with the end of its log if a replica has died by itself."""
        for name, process in self._replicas.items():
            if process.poll() is not None:
                tail = (self._folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise SystemExit(f"scheduledjobs: {name} ended with {process.returncode}:\n{tail}")

    def missing(self) -> list[str]:
        """Return what has not been seen yet: a success of each kind, and a failure."""
        _, rows = self.query("SELECT job_name, state, message FROM job_execution_log")
        succeeded = {name for name, state, _ in rows if state == "SUCCEEDED"}
        found = [f"a success of {kind}" for kind, name in KINDS.items() if name not in succeeded]
        if "http-ping" not in succeeded:
            found.append("a success of http-ping")
        if not any(name == "failing" and state == "FAILED" and message for name, state, message in rows):
            found.append("a failure with its error")
        return found

    def tables(self, rows: int) -> str:
        """Return the jobs as kubectl shows them, and the newest executions."""
        names, found = self.query(LOG, rows)
        jobs = self.kubectl("get", "scheduledjobs")
        return f"$ kubectl get scheduledjobs\n{jobs}\njob_execution_log, newest first\n{table(names, found)}"


def table(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    """Return rows in aligned columns."""
    lines = [names, *[[str(value) for value in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    padded = ["  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(line.rstrip() for line in padded) + "\n"


def watch(demo: Demo) -> None:
    """Show the tables each second until Ctrl-C; the key k kills the leader."""
    told = "keys: k kills the leader, Ctrl-C ends"
    with _keys():
        while True:
            demo.check_alive()
            text = f"{demo.tables(15)}\nleader: {demo.leader() or 'none'} · {told}\n"
            sys.stdout.write("\x1b[H\x1b[J" + text)
            sys.stdout.flush()
            if select.select([sys.stdin], [], [], 1.0)[0] and sys.stdin.read(1) == "k":
                told = f"{demo.kill_leader()} · k kills the leader, Ctrl-C ends"


@contextmanager
def _keys() -> Iterator[None]:
    """Read single keys, and give the terminal back as it was."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def run_through(demo: Demo) -> int:
    """Wait until every example has fired, print both tables; return the exit code."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (missing := demo.missing()) and time.monotonic() < deadline:
        demo.check_alive()
        time.sleep(0.5)
    print(demo.tables(25))
    if missing:
        say(f"after {LIMIT_SECONDS} s there was still no {', no '.join(missing)}")
        return 1
    say("every kind of schedule has fired")
    return 0


def main() -> int:
    """Run the demo; leave no process behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    state = STATE / "demo"
    state.mkdir(parents=True, exist_ok=True)
    demo: Demo | None = None
    try:
        demo = Demo(up(state), state)
        say("starting two replicas")
        demo.start_replica()
        demo.start_replica()
        say("applying examples/")
        demo.apply_examples()
        if sys.stdin.isatty() and sys.stdout.isatty():
            watch(demo)
        return run_through(demo)
    except KeyboardInterrupt:
        return 0
    finally:
        if demo is not None:
            demo.stop()
        down(state)


if __name__ == "__main__":
    sys.exit(main())
