"""Imported jobs as text: manifests with their notes at the head, and the summary."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

from scheduledjobs.core.resource import GROUP, KIND, VERSION
from scheduledjobs.core.yaml_text import write_yaml
from scheduledjobs.importing.imported import Difference, Imported, Note

WIDTH = 118


def manifest(job: Imported) -> str:
    """Return a job as YAML, its notes as comments before it; only these where it has no equivalent."""
    head = "".join(
        f"# {line}\n" for line in [_shown(job.origin), *(line for note in job.notes for line in _lines(note))]
    )
    if job.spec is None:
        return head
    metadata: dict[str, Any] = {"name": job.name, **({"namespace": job.namespace} if job.namespace else {})}
    if job.labels:
        metadata["labels"] = dict(job.labels)
    body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": metadata, "spec": dict(job.spec)}
    return head + write_yaml(body, WIDTH)


def _lines(note: Note) -> list[str]:
    return textwrap.wrap(
        _shown(str(note)), WIDTH - 2, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
    )


def _shown(text: str) -> str:
    """Return a text that can neither end its comment nor steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def file_name(job: Imported) -> str:
    """Return the name of a job's file: NAMESPACE.NAME.yaml, or NAME.yaml without a namespace."""
    return f"{job.namespace}.{job.name}.yaml" if job.namespace else f"{job.name}.yaml"


def summary(jobs: Sequence[Imported]) -> list[str]:
    """Return what was imported and what not, in lines."""
    lost = [job for job in jobs if job.spec is None]
    differences = Counter(note.difference for job in jobs for note in job.notes)
    lines = [f"{len(jobs) - len(lost)} of {len(jobs)} jobs imported, {len(lost)} not"]
    lines += [_shown(f"  not imported: {job.origin}: {job.notes[0].text}") for job in lost]
    refused = sum(any(note.difference is Difference.REFUSED for note in job.notes) for job in jobs)
    if refused:
        lines.append(f"  {refused} name what the handler refuses: they are Ready=False until they are edited")
    counted = [f"{difference} {count}" for difference, count in sorted(differences.items())]
    return [*lines, *([f"  notes: {', '.join(counted)}"] if counted else [])]
