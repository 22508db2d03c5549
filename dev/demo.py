"""`make demo`: two replicas at work on a real API server and PostgreSQL, their dashboard, and a leader to kill.

With a terminal it shows the jobs and the newest executions until Ctrl-C; the key k kills the leader. Without one it
runs until every example has fired, prints both tables and exits: 0 if each kind of schedule has succeeded and the
dashboard has answered.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
import tty
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import yaml

from dev.cluster import CURRENT, ROOT, STATE, down, forget_shell, note, up
from dev.controlplane import kubectl
from dev.processes import INTERRUPTS, end_as_on_ctrl_c, free_port, locked, put_off_interrupts, say, until

EXAMPLES = ROOT / "examples"
LIMIT_SECONDS = 120
DASHBOARD_SECONDS = 30
ONE_SHOT_AHEAD = timedelta(seconds=6)
KINDS = {
    "CRON": "cron-every-5s",
    "FIXED_RATE": "rate-every-2s",
    "FIXED_DELAY": "delay-3s",
    "ONE_SHOT": "once",
}
LOG = """
SELECT to_char(log.fire_time, 'HH24:MI:SS.MS') AS fire_time, log.job_name, job.schedule_kind AS kind, log.state,
    coalesce(log.reason, '') AS reason, coalesce(log.duration_ms::text, '') AS ms,
    coalesce(log.lateness_ms::text, '') AS late_ms, coalesce(hostname, '') AS replica,
    coalesce(left(log.message, 50), '') AS message
FROM job_execution_log AS log
JOIN job_definition AS job ON job.id = log.job_id
LEFT JOIN scheduler_instance AS replica ON replica.id = log.claimed_by
ORDER BY log.fire_time DESC, log.id DESC LIMIT %s
"""
ALL_ROWS = 200
"""More than the two minutes of a demo can bring."""
KEYS = "k kills the leader, Ctrl-C ends"


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
        self._ports: dict[str, int] = {}
        self._number = 0
        self._killed_at: float | None = None
        self._applied: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Ping)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def dashboard(self) -> str:
        """Where the dashboard is, for as long as the demo runs: a replica in place of a killed one takes its port."""
        return f"http://127.0.0.1:{min(self._ports.values())}/ui/"

    def answers(self) -> bool:
        """Return whether the dashboard does."""
        try:
            with urllib.request.urlopen(self.dashboard, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def tell_dashboard(self) -> None:
        """Say where the dashboard is, once it is there."""
        is_there = until(self._answers_or_died, DASHBOARD_SECONDS)
        say(f"dashboard: {self.dashboard}" if is_there else f"the dashboard does not answer at {self.dashboard}")

    def _answers_or_died(self) -> bool:
        self.check_alive()
        return self.answers()

    def start_replica(self, port: int = 0) -> str:
        """Start one more replica, its dashboard on this port or on one of its own; return its name."""
        self._number += 1
        name = f"replica-{self._number}"
        self._ports[name] = port or free_port()
        environment = {"SCHEDULEDJOBS_HOSTNAME": name, "SCHEDULEDJOBS_PORT": str(self._ports[name])}
        with (self._folder / f"{name}.log").open("wb") as log, put_off_interrupts():
            self._replicas[name] = subprocess.Popen(
                [sys.executable, "-m", "scheduledjobs", "run"],
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            note(self._folder, self._replicas[name].pid)
        return name

    def stop(self) -> None:
        """Stop every replica and the server; a cluster that is not the demo's own gets rid of the examples."""
        if os.environ.get("CLUSTER") == CURRENT:
            for text in self._applied:
                with suppress(SystemExit):
                    self.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=text)
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
        for file in sorted(EXAMPLES.glob("*.yaml")):
            manifest = yaml.safe_load(file.read_text())
            spec = manifest["spec"]
            if "runAt" in spec:
                spec["runAt"] = (datetime.now(UTC) + ONE_SHOT_AHEAD).strftime("%Y-%m-%dT%H:%M:%SZ")
            if spec["handler"] == "http":
                spec["payload"]["url"] = f"http://127.0.0.1:{self._server.server_address[1]}/ping"
            text = yaml.safe_dump(manifest)
            self._applied.append(text)
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
        self._killed_at = time.time()
        return f"killed {leader}, started {self.start_replica(self._ports.pop(leader))}"

    def take_over(self) -> str:
        """Return how long the seat was empty after the last kill, once it is taken; before it, nothing."""
        if self._killed_at is None or self.leader() is None:
            return ""
        ((seconds,),) = self.query(
            "SELECT extract(epoch FROM acquired_at)::float8 - %s FROM leadership", self._killed_at
        )[1]
        return f" · taken over after {max(seconds, 0.0):.1f} s"

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
        if not self.answers():
            found.append("an answer of the dashboard")
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
    told = ""
    with _keys():
        while True:
            demo.check_alive()
            leader = demo.leader()
            head = f"leader: {leader or 'none'}{told}{demo.take_over()}\ndashboard: {demo.dashboard}\n{KEYS}"
            _draw(f"{head}\n\n{demo.tables(ALL_ROWS)}")
            if select.select([sys.stdin], [], [], 1.0)[0] and os.read(sys.stdin.fileno(), 1) == b"k":
                told = f" · {demo.kill_leader()}"


def _draw(text: str) -> None:
    """Fill the screen: what does not fit is cut, for a line that wraps would push the others out."""
    width, height = shutil.get_terminal_size()
    lines = [line[:width] for line in text.splitlines()[: height - 1]]
    sys.stdout.write("\x1b[H\x1b[J" + "\n".join(lines) + "\n")
    sys.stdout.flush()


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
    print(demo.tables(ALL_ROWS))
    if missing:
        say(f"after {LIMIT_SECONDS} s there was still no {', no '.join(missing)}")
        return 1
    say("every kind of schedule has fired")
    return 0


@contextmanager
def own_state() -> Iterator[Path]:
    """Lend a folder under .dev that no other demo of this checkout is using; what a killed one left there is ended."""
    number = 1
    while True:
        state = STATE / ("demo" if number == 1 else f"demo-{number}")
        with locked(state / "lock", wait=False) as is_ours:
            if is_ours:
                down(state)
                yield state
                return
        number += 1


def show(state: Path) -> int:
    """Run the demo; leave no process behind, whatever happens."""
    demo: Demo | None = None
    try:
        demo = Demo(up(state), state)
        say("starting two replicas")
        demo.start_replica()
        demo.start_replica()
        say("applying examples/")
        demo.apply_examples()
        demo.tell_dashboard()
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return run_through(demo)
        try:
            watch(demo)
        except KeyboardInterrupt:
            return 0
    finally:
        for number in INTERRUPTS:  # impatience must not leave half of it running
            signal.signal(number, signal.SIG_IGN)
        say("stopping")
        if demo is not None:
            demo.stop()
        down(state)
    return 0


def main() -> int:
    """Run the demo; 130 if it was interrupted before it had shown everything."""
    forget_shell()
    end_as_on_ctrl_c()
    try:
        with own_state() as state:
            return show(state)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
