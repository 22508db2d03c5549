"""A row of pg_cron's table cron.job as a ScheduledJob with the handler sql.

Source of what pg_cron does: its documentation and its source, as of version 1.6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from scheduledjobs.core.cron import MACROS
from scheduledjobs.core.schedule import Cron
from scheduledjobs.core.zone import zone_names
from scheduledjobs.errors import SpecError
from scheduledjobs.importing.clock import Clocks, clock_notes
from scheduledjobs.importing.crontab import read_vixie
from scheduledjobs.importing.imported import CannotImport, Difference, Imported, Note, imported, refusal, refused

SECONDS = re.compile(r"\s*([1-9]|[1-5][0-9])\s+seconds?\s*", re.IGNORECASE)
ALONE = re.compile(
    r"\b(vacuum|call|commit|reindex|create\s+(?:unique\s+)?index\s+concurrently|create\s+database|alter\s+system)\b",
    re.IGNORECASE,
)
IN_THE_WAY = (
    "pg_cron counts the moments that come while a run lasts, and runs each of them afterwards; Queue keeps one here, "
    "and the others are Skipped with reason QueueFull"
)
QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/", re.DOTALL)


def read_pg_cron(row: Mapping[str, Any], connection: str, zone: str, namespace: str | None, now: datetime) -> Imported:
    """Return what becomes of a row of cron.job; `zone` is cron.timezone, `connection` the operator's name of the
    database that the statements are for."""
    number, text = row.get("jobid"), str(row.get("schedule") or "")
    origin = f"pg_cron job {number}" + (f" {row['jobname']}" if row.get("jobname") else "")
    name = str(row.get("jobname") or f"pg-cron-{number}")
    notes: list[Note] = []
    try:
        timing = _timing(text, zone, now, notes)
        statement = _statement(str(row.get("command") or ""), notes)
    except CannotImport as error:
        return refused(origin, name, namespace, str(error))
    except SpecError as error:
        return refused(origin, name, namespace, refusal(error))
    where = f"database {row.get('database')} as {row.get('username')}"
    sentence = f"it ran in {where}; the connection {connection} of SCHEDULEDJOBS_SQL_CONNECTIONS must lead there"
    notes.append(Note(Difference.CONNECTION, sentence))
    spec: dict[str, Any] = {
        **timing,
        "handler": "sql",
        "payload": {"connection": connection, "statement": statement},
        "concurrencyPolicy": "Queue",  # pg_cron runs what was in the way when the run before it has ended
        "misfire": {"policy": "Skip"},  # and makes up for none that it was down for
    }
    if row.get("active") is False:
        spec["suspend"] = True
    return imported(origin, name, namespace, spec, notes)


def _timing(text: str, zone: str, now: datetime, notes: list[Note]) -> dict[str, Any]:
    if found := SECONDS.fullmatch(text):
        notes.append(Note(Difference.GRID, f"'{text.strip()}' counts from the creation of the ScheduledJob"))
        return {"fixedRate": f"{found.group(1)}s"}
    if text.strip().startswith("@") and text.strip() not in MACROS:
        raise CannotImport(f"schedule '{text}' has no equivalent: a job here has moments, and no start of a server")
    expression, found_notes = read_vixie(_five_fields(text, notes))
    notes += found_notes
    named = zone_of(zone)
    notes += clock_notes(Cron(expression, named), Clocks.VIXIE, now)
    notes.append(Note(Difference.CONCURRENCY, IN_THE_WAY))
    return {"schedule": expression, "timeZone": named}


def _five_fields(text: str, notes: list[Note]) -> str:
    """Return what pg_cron reads of a schedule: five fields, of which none is seconds."""
    fields = text.split()
    kept, rest = fields[:5], fields[5:]
    if rest and not text.strip().startswith("@"):
        sentence = f"pg_cron reads the first five fields of '{text}' and ignores '{' '.join(rest)}'"
        notes.append(Note(Difference.FIELDS, sentence))
        return " ".join(kept)
    return text


def zone_of(zone: str) -> str:
    """Return the IANA name of cron.timezone; `CannotImport` where it is none."""
    if zone.upper() in ("GMT", "UTC"):
        return "Etc/UTC"
    if zone in zone_names():
        return zone
    raise CannotImport(f"cron.timezone {zone!r} is not in the IANA time zone database")


def _statement(command: str, notes: list[Note]) -> str:
    """Return a command as the handler sql takes it: one statement, whose `%` is no placeholder."""
    text = command.strip().rstrip(";").strip()
    bare = QUOTED.sub(" ", text)
    if ";" in bare:
        sentence = "the handler runs one statement, this is several: put them into a function, or a DO block"
        notes.append(Note(Difference.STATEMENT, sentence))
    if found := ALONE.search(bare):
        word = " ".join(found.group(1).upper().split())
        sentence = f"the handler runs in a transaction, which {word} may refuse: run it by another handler"
        notes.append(Note(Difference.STATEMENT, sentence))
    if "%" in text:
        notes.append(Note(Difference.STATEMENT, "each % is written %%, as the handler's placeholders begin with it"))
    return text.replace("%", "%%")
