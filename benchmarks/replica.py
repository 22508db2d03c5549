"""One replica as a benchmark sees it from outside: its process, its probes, its metrics."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

LEADER = "leader_election_master_status"
TICKS = os.sysconf("SC_CLK_TCK")
STATUS_MEGABYTE = 1e6 / 1024
"""In kB of /proc, which are 1,024 bytes: MB are a million bytes here, as in the goals."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica's name, the port of its probes and metrics, and its process."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def is_ready(self) -> bool:
        """Return whether it says that it can do its work."""
        return self._get("readyz") is not None

    def is_leader(self) -> bool:
        """Return whether it says that it leads."""
        return bool(self.metric(LEADER))

    def metric(self, name: str, label: str = "") -> float:
        """Return the sum of a metric over those of its labels that contain `label`; 0 where there is none."""
        return total(self._get("metrics") or "", name, label)

    def cpu(self) -> float:
        """Return the CPU seconds that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss(self) -> float:
        """Return its resident memory in MB."""
        return self._memory("VmRSS")

    def peak(self) -> float:
        """Return the most resident memory that it has had, in MB."""
        return self._memory("VmHWM")

    def ask_to_stop(self) -> None:
        """Ask it to stop, even if it is frozen; it need not be there any more."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGCONT)

    def wait_end(self, seconds: float = 40) -> None:
        """Wait until it has ended; it is killed if that takes longer."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _memory(self, field: str) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split(f"{field}:")[1].split()[0]) / STATUS_MEGABYTE

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError):
            return None


def total(text: str, name: str, label: str = "") -> float:
    """Return the sum of a metric in Prometheus' text form over those of its labels that contain `label`."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith(name))
    return sum(
        float(value) for full, _, value in lines if full.partition("{")[0] == name and label in full.partition("{")[2]
    )
