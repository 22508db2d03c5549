"""Specs as parsed, kept by (job, version): a version's spec never changes, so parsing it once is enough.

Unless etcd is restored from a snapshot: then the numbers of the versions that are lost are used again. Who mirrors such
a version tells all replicas, and what is kept is read anew before it is used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from scheduledjobs.core.job import Job, read_job, read_schedule
from scheduledjobs.core.schedule import Schedule
from scheduledjobs.core.spec import JobSpec, parse_spec
from scheduledjobs.errors import SpecError
from scheduledjobs.store.jobs import load_versions
from scheduledjobs.store.sessions import Connection

MOST_KEPT = 50_000

Version = tuple[UUID, int]
"""The id of a job and the number of its version."""

Read = tuple[JobSpec, Schedule]
"""A version as parsed."""


class Specs:
    """A bounded memory of parsed specs; the least recently used goes first."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[Version, tuple[int, JobSpec, Schedule]] = OrderedDict()
        self._age = 0

    def job(self, row: Mapping[str, Any]) -> Job:
        """Return the job of a job_definition row with a readable spec; `SpecError` if it is not."""
        spec, schedule = self.read(row["id"], row["version"], row["spec"])
        return read_job(row, schedule, spec)

    def read(self, job_id: UUID, version: int, raw: Mapping[str, Any]) -> Read:
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

    def sure(self, versions: Iterable[Version]) -> dict[Version, Read | SpecError] | None:
        """Return these versions as parsed, None if any must be read from the database first."""
        found: dict[Version, Read | SpecError] = {}
        for version in versions:
            known = self.known(*version) if self._is_sure(*version) else None
            if known is None:
                return None
            found[version] = known
        return found

    async def learn(self, conn: Connection, versions: Iterable[Version]) -> dict[Version, Read | SpecError]:
        """Return these versions as parsed, those that are not known from the database; the error of one that this
        program cannot read. One that is not there is left out.

        What is returned need not be kept for long: others read by the same memory meanwhile.
        """
        found: dict[Version, Read | SpecError] = {}
        unknown = []
        for version in set(versions):
            if known := self.sure([version]):
                found |= known
            else:
                unknown.append(version)
        if unknown:
            for row in await load_versions(conn, unknown):
                version = row["job_id"], row["version"]
                try:
                    found[version] = self.read(*version, row["spec"])
                except SpecError as error:
                    self._kept.pop(version, None)  # it was another spec
                    found[version] = error
        return found

    def known(self, job_id: UUID, version: int) -> Read | None:
        """Return what is kept of a version, or None."""
        kept = self._kept.get((job_id, version))
        if kept is None:
            return None
        self._kept.move_to_end((job_id, version))
        return kept[1:]
