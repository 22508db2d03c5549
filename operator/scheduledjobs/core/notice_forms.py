"""The forms of a message: Slack's JSON, which Mattermost, Rocket.Chat and others read too, and CloudEvents 1.0.

What jobs say of themselves is theirs: it is shown on one line, without control characters, marks that turn the
direction of text, or codes of terminals, without the passwords of URLs, and cut.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

from scheduledjobs.core.grouping import Entry, Message, Section
from scheduledjobs.core.masking import masked
from scheduledjobs.core.notices import Kind, Notice
from scheduledjobs.core.reasons import State

LISTED = {"slack": 10, "cloudevents": 100}
"""How many jobs of a kind a message lists."""

CONTENT_TYPES = {"slack": "application/json", "cloudevents": "application/cloudevents+json; charset=utf-8"}
MOST_SHOWN, MOST_NAMESPACES = 200, 20
TYPE = "dev.scheduledjobs.notices.v1"
TEST_TYPE = "dev.scheduledjobs.test.v1"
ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\-_])")
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def plain(text: str, most: int = MOST_SHOWN) -> str:
    """Return a text as one line of visible characters, at most `most` of them."""
    text = ANSI.sub("", text[: 20 * most])
    line = "".join(" " if each.isspace() else each for each in text if each.isspace() or _is_seen(each))
    line = str(masked(" ".join(line.split())))
    return line if len(line) <= most else line[: most - 1] + "…"


def _is_seen(character: str) -> bool:
    return unicodedata.category(character) not in UNSEEN


def body_of(message: Message, form: str, source: str, public_url: str) -> dict[str, Any]:
    """Return a message in its form; `source` names this operator, `public_url` is where its dashboard is, or empty."""
    if form == "slack":
        return _slack("\n".join(line for section in message.sections for line in _lines(section, public_url)))
    sections = {str(section.kind): _data(section, public_url) for section in message.sections}
    return _event(message.id, TYPE, source, message.created_at, sections)


def trial_body(form: str, webhook: str, source: str, now: datetime) -> dict[str, Any]:
    """Return a message that says that messages arrive."""
    text = f"This is a test of the webhook {webhook} of ScheduledJobs: notices arrive here."
    if form == "slack":
        return _slack(text)
    return _event(f"test-{now.timestamp():.6f}", TEST_TYPE, source, now, {"message": text})


def _slack(text: str) -> dict[str, Any]:
    return {"text": text, "unfurl_links": False, "unfurl_media": False}


def _event(id_: str, type_: str, source: str, at: datetime, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": id_,
        "source": source,
        "type": type_,
        "time": _rfc3339(at),
        "datacontenttype": "application/json",
        "data": data,
    }


def _lines(section: Section, public_url: str) -> list[str]:
    if section.count == 1 and section.entries:
        return [_line(section.kind, section.entries[0], public_url, HEADS[section.kind][0] + " ")]
    namespaces = [f"{_escaped(name)} {count}" for name, count in section.by_namespace[:MOST_NAMESPACES]]
    if len(section.by_namespace) > MOST_NAMESPACES:
        namespaces.append(f"and {len(section.by_namespace) - MOST_NAMESPACES} other namespaces")
    lines = [f"*{HEADS[section.kind][1].format(count=section.count)}* ({', '.join(namespaces)})"]
    lines += [_line(section.kind, entry, public_url, "• ") for entry in section.entries]
    if section.others:
        lines.append(f"and {section.others} others")
    return lines


HEADS = {
    Kind.FAILURE: ("*Failed:*", "{count} executions failed"),
    Kind.RECOVERY: ("*Works again:*", "{count} recoveries"),
    Kind.MISS: ("*Missed:*", "{count} misses"),
    Kind.LONG_RUN: ("*Runs long:*", "{count} executions run long"),
}


def _line(kind: Kind, entry: Entry, public_url: str, head: str) -> str:
    last = entry.last
    when = f"{last.fire_time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if public_url:
        when = f"<{_link(last, public_url)}|{when}>"
    parts = [f"{head}{_escaped(f'{last.namespace}/{last.job_name}')}", f"fire time {when}"]
    if kind is Kind.MISS and last.moment_count > 1:
        parts[1] = f"{last.moment_count} moments from {when}"
    if kind in (Kind.FAILURE, Kind.MISS) or (kind is Kind.LONG_RUN and last.state != State.RUNNING):
        why = ": ".join(plain(part) for part in (last.reason, last.message) if part)
        parts.insert(1, _escaped(why or last.state))
    if entry.count > 1:
        parts.append(f"the last of {entry.count}")
    return ", ".join(parts)


def _data(section: Section, public_url: str) -> dict[str, Any]:
    return {
        "count": section.count,
        "namespaces": dict(section.by_namespace),
        "others": section.others,
        "jobs": [_job(entry, public_url) for entry in section.entries],
    }


def _job(entry: Entry, public_url: str) -> dict[str, Any]:
    last = entry.last
    found = {
        "namespace": last.namespace,
        "name": last.job_name,
        "uid": str(last.job_id),
        "count": entry.count,
        "execution": last.execution_id,
        "notice": last.id,
        "fireTime": _rfc3339(last.fire_time),
        "occurredAt": _rfc3339(last.occurred_at),
        "state": last.state,
        "reason": last.reason,
        "message": plain(last.message) if last.message else None,
        "attempts": last.attempt,
        "moments": last.moment_count,
        "url": _link(last, public_url) if public_url else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _link(notice: Notice, public_url: str) -> str:
    return f"{public_url.rstrip('/')}/ui/executions/{notice.execution_id}"


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escaped(text: str) -> str:
    """Slack's own three: with them a text can name nobody and hold no link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
