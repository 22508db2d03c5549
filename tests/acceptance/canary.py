"""A canary: text that stands for every secret, and all places where somebody who may not know it could look."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import psutil
import psycopg
from psycopg import sql
from tests.acceptance.collector import Server
from tests.acceptance.rest import Site

BEGIN, END = "c4n4ry", "y4n4rc"
"""Every secret of the test begins and ends so: half of one is found too."""

BASIC = base64.b64encode(f"ana:{BEGIN}".encode()).decode()[:12]
"""How one begins as the password of `ana`, in a header of Basic authentication."""


def secret(extra: str = "") -> str:
    """Return a new secret; `extra` is what makes it awkward to quote."""
    return f"{BEGIN}{token_hex(8)}{extra}{END}"


@dataclass
class Search:
    """Where a canary is looked for: everything that a replica leaves or shows."""

    site: Site
    metrics_ports: list[int]
    server_log: Path
    collector: Server
    needles: list[str] = field(default_factory=lambda: [BEGIN, END, BASIC])

    def found(self) -> dict[str, set[str]]:
        """Return where a needle is: by kind of place, which of them."""
        found: dict[str, set[str]] = {}
        for place, name, text in self.texts():
            if any(needle in text for needle in self.needles):
                found.setdefault(place, set()).add(name)
        return found

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """Yield every text with the kind of its place and its name."""
        replicas, namespace = self.site.replicas, self.site.ours
        for log in sorted(replicas.folder.glob("*.log")):
            yield "logs", log.name, log.read_text()
        yield "server", "log", self.server_log.read_text()
        yield from self._rows()
        for kind in ("scheduledjobs", "events.events.k8s.io", "events", "leases"):
            text = replicas.cluster.kubectl("get", kind, "-n", namespace, "-o", "json").stdout
            yield "resources", kind, json.dumps(json.loads(text), ensure_ascii=False)
        for port in self.metrics_ports:
            for page in ("metrics", "readyz", "livez"):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10) as answer:
                    yield "metrics", f"{port}/{page}", answer.read().decode()
        for path, _, body in list(self.collector.asked):
            yield "traces", path, body.decode(errors="replace")
        yield from self._answers()
        for process in replicas.processes.values():
            for one in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)):
                yield "processes", str(one.pid), " ".join(one.cmdline())

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        """Every row of every table as text, and what other users of the server see of our sessions."""
        with psycopg.connect(self.site.replicas.url, autocommit=True) as conn:
            tables = conn.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            ).fetchall()
            assert {"job_definition", "scheduler_instance"} <= {name for (name,) in tables}
            for name in (*(name for (name,) in tables), "pg_stat_activity"):
                query = sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(name))
                yield (
                    "tables",
                    name,
                    "\n".join(row for (row,) in conn.execute(query) if "pg_stat_activity AS" not in row),
                )

    def _answers(self) -> Iterator[tuple[str, str, str]]:
        rest, root = self.site.rest, self.site.tokens["root"]
        jobs = rest.get("/jobs?limit=200&recent=60", token=root).json["items"]
        runs = [run for job in jobs for run in rest.get(f"/jobs/{job['id']}/logs", token=root).json["items"]]
        assert runs
        paths = ["/jobs?limit=200&recent=60", "/openapi.json", "/handlers", "/replicas"]
        for job in jobs:
            paths += [f"/jobs/{job['id']}{more}" for more in ("", "/logs", "/versions")]
        paths += [f"/executions/{run['id']}" for run in runs]
        pages = ["/ui/", "/ui/jobs", "/ui/timeline", "/ui/cluster", "/ui/help", "/ui/new", "/ui/login"]
        for job in jobs:
            at = f"/ui/jobs/{job['namespace']}/{job['name']}"
            pages += [f"{at}{more}" for more in ("", "/edit", "/history", "/versions", "/yaml")]
        pages += [f"/ui/executions/{run['id']}" for run in runs]
        for kind, some in (("rest", paths), ("pages", pages)):
            for path in some:
                answer = rest.get(path, token=root)
                assert answer.status == 200, (path, answer)
                text = answer.body.decode() + str(answer.headers)
                yield kind, path, text
