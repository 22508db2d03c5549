"""Specs as parsed, kept by (job, version): a version's spec never changes, so parsing it once is enough.

Unless etcd is restored from a snapshot: then the numbers of the versions that are lost are used again. Who mirrors such
a version tells all replicas, and what is kept is read anew before it is used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from scheduledjobs.core.job import Job, read_job, read_schedule
from scheduledjobs.core.schedule import Schedule
from scheduledjobs.core.spec import JobSpec, parse_spec
from scheduledjobs.errors import SpecError
from scheduledjobs.store.jobs import load_versions
from scheduledjobs.store.sessions import Connection

MOST_KEPT = 50_000


class Specs:
    """A bounded memory of parsed specs; the least recently used goes first."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[UUID, int], tuple[int, JobSpec, Schedule]] = OrderedDict()
        self._age = 0

    def job(self, row: Mapping[str, Any]) -> Job:
        """Return the job of a job_definition row with a readable spec; `SpecError` if it is not."""
        spec, schedule = self.read(row["id"], row["version"], row["spec"])
        return read_job(row, schedule, spec)

    def read(self, job_id: UUID, version: int, raw: Mapping[str, Any]) -> tuple[JobSpec, Schedule]:
        """Return the parsed spec and schedule of one version."""
        known = self.known(job_id, version)
        if known is None or not self._is_sure(job_id, version):
            spec = parse_spec(raw)
            known = spec, read_schedule(spec)
            self._kept[job_id, version] = self._age, *known
            self._kept.move_to_end((job_id, version))
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return known

    def doubt(self) -> None:
        """A version has been written with another spec: read anew what is used from now on."""
        self._age += 1

    def _is_sure(self, job_id: UUID, version: int) -> bool:
        kept = self._kept.get((job_id, version))
        return kept is not None and kept[0] == self._age

    def text(self, job_id: UUID, version: int, raw: Mapping[str, Any]) -> str:
        """Return the schedule of a version in one printable form; what was written where it cannot be read.

        It is not kept for that: a status is told of every job, a few of which are due.
        """
        try:
            known = self.known(job_id, version) if self._is_sure(job_id, version) else None
            return known[1].text if known else read_schedule(parse_spec(raw)).text
        except SpecError:
            return str(raw.get("schedule") or raw.get("fixedRate") or raw.get("fixedDelay") or "")

    def knows(self, versions: Iterable[tuple[UUID, int]]) -> bool:
        """Return whether nothing of these versions need be read from the database."""
        return all(self._is_sure(*version) for version in versions)

    async def learn(self, conn: Connection, versions: Iterable[tuple[UUID, int]]) -> None:
        """Read those of these versions that are not known from the database."""
        unknown = [version for version in set(versions) if not self._is_sure(*version)]
        if unknown:
            for row in await load_versions(conn, unknown):
                with suppress(SpecError):
                    self.read(row["job_id"], row["version"], row["spec"])

    def known(self, job_id: UUID, version: int) -> tuple[JobSpec, Schedule] | None:
        """Return what is kept of a version, or None."""
        kept = self._kept.get((job_id, version))
        if kept is None:
            return None
        self._kept.move_to_end((job_id, version))
        return kept[1:]
