"""The reference of logs, made from every log call of the operator: `python -m dev.logs_docs` writes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scheduledjobs.handlers.forks import LAST_WORDS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "operator"
PAGE = ROOT / "docs" / "reference" / "logs.md"
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}


@dataclass(frozen=True)
class Call:
    """One log call: its event, None where that is no fixed text, and its fields, `**` where they are not named."""

    event: str | None
    level: str
    logger: str
    fields: tuple[str, ...]
    where: str


def calls() -> Iterator[Call]:
    """Yield every call of a module's `log`."""
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                of = node.func.value
                if isinstance(of, ast.Name) and of.id == "log":
                    yield _call(node, module, f"{path.name}:{node.lineno}")
    yield Call(LAST_WORDS, "warning", "scheduledjobs.handlers.forks", (), "forks.py")  # written without `log`


def _call(node: ast.Call, module: str, where: str) -> Call:
    assert isinstance(node.func, ast.Attribute)
    first = node.args[0] if len(node.args) == 1 else None
    event = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
    fields = [keyword.arg or "**" for keyword in node.keywords]
    if node.func.attr == "exception":
        fields.append("exc_info")
    named = tuple("exception" if field == "exc_info" else field for field in fields)
    return Call(event, LEVELS[node.func.attr], module, named, where)


EVERY = {
    "timestamp": "When it was logged: RFC 3339, UTC, microseconds",
    "level": "`debug`, `info`, `warning` or `error`",
    "logger": "Which module, or library, logged it",
    "event": "What happened: a fixed text, by which to find and to count it",
    "replica": "Who logged it: the replica's host name, in a cluster its pod",
    "term": "The term in which this replica leads; not there where it does not",
}
"""In every line."""

FIELDS = {
    "attempt": "Number of the attempt, from 1",
    "changed": "How many jobs the mirror had otherwise",
    "count": "How many of what the event names",
    "database_time": "The database's time",
    "days": "Days of `job_execution_log`",
    "dead_replica": "Host name of the replica that is dead",
    "error": "What went wrong, in one line",
    "error_id": "What the person was told to look for here",
    "exception": "Traceback, its last 8 KiB",
    "execution_id": "Row of `job_execution_log`",
    "exit_code": "Exit code of a process; negative: the signal that ended it",
    "failures": "How many times in a row",
    "fire_time": "The moment that the schedule names",
    "gone": "How many jobs the mirror had, and the cluster no more",
    "handler": "Name of the handler",
    "handlers": "Names of handlers",
    "holder": "Holder of the Lease: host name and a part made at each start",
    "host": "Address that is listened on",
    "job": "Name of the job",
    "job_id": "Its uid, where the name is not known",
    "kind": "Type of a value, as Python names it",
    "listed": "How many jobs the cluster has",
    "method": "Method of an HTTP request",
    "migration": "What the migration does now",
    "namespace": "Namespace of the job",
    "namespaces": "Names of namespaces",
    "path": "Path of an HTTP request",
    "paused_until": "When a pause ends",
    "port": "Port that is listened on",
    "reason": "Why, as in the row, the condition and the event",
    "refused": "Names of the namespaces that were left out, since they may not be read",
    "replica_id": "Row of `scheduler_instance`",
    "retried": "How many of them get another attempt",
    "retry_seconds": "When it is tried again",
    "run_key": "Token of a run-now",
    "running": "How many attempts run on this replica",
    "sessions": "Which sessions of the database, as in `application_name`",
    "setting": "Environment variable",
    "state": "State of the execution, as in the row",
    "step": "Which step or loop of the operator",
    "suppressed": "How many such lines were held back since the last one",
    "trigger": "What asked for the execution, as in the row",
    "user": "Who, as the API server names him",
    "verb": "What was done to a job",
    "webhook": "Name of the webhook",
}
"""In lines whose event has them; one name for one thing wherever it is."""

MEANING = {
    "a child that a handler forked came back from it and was ended": "Mend the handler: a child must end by itself",
    "a dispute is put off": "Two objects have had this name, and no GET may say which of them lives: grant what "
    "`error` names. Else a compare finds out",
    "a handler blocks the loop of async handlers: nothing is claimed until it ends": "Make the handler sync, or await",
    "a handler cannot be stopped: exiting": "A sync handler went on past the replica's trust; the pod starts anew",
    "a loop has ended: it is begun again": "A defect: report it, with its traceback",
    "a namespace is put off": "Its statuses alone are not taken: a webhook is down, or rights are gone, as `error` "
    "says; one line a minute for each",
    "a namespace is refused: its jobs fire on as they were last seen": "Was it deleted? Then name it no more in "
    "watchNamespaces; else mend the Role in it, as `error` says",
    "a notice did not arrive": "It is tried again for a day; look at what `error` names",
    "a notice is given up": "It is lost; its executions are in SQL. Look at what `error` names",
    "a request failed": "A defect: report it, with its traceback",
    "a span failed": "A defect of tracing; the attempt is not touched by it",
    "a task of a handler tried to end the process": "Mend the handler: SystemExit or loop.stop in a task of its own",
    "a task of the leader failed": "A status or Event was not written; it is tried again",
    "an object of the API server cannot be read": "Look at the object; no job is made of it",
    "another replica holds the lease": "It takes over; often: this one was frozen or cut off",
    "cannot watch yet": "Install the CRD, or mend the rights or the link that `error` names",
    "claims handed back unstarted": "Nothing is lost: others claim them. Often: slots or links are short",
    "code that cannot be stopped runs on: no goodbye": "Its job waits about 10 s more: make the handler look at "
    "`execution.stopping`, or the grace longer",
    "could not lead": "Look at PostgreSQL: another replica, or this one, tries again",
    "could not say goodbye": "Nothing is lost: the leader finds out after 10 s",
    "credentials cannot be renewed": "The old ones are used; mend what `error` names before they expire",
    "ended sessions of an older term that blocked the take-over": "A replica was frozen in a transaction; see its node",
    "ending cannot be recorded": "Its result or output cannot be stored; the state alone is",
    "event refused": "Often rights, or a policy of that namespace: see `error`",
    "execution failed": "Look at the job; one line a minute for each, `suppressed` counts the others",
    "executions handed over from their replica": "Nothing: their Jobs run on, and another replica watches them",
    "executions lost with their replica": "See why the replica died",
    "executions of deleted jobs cancelled": "Nothing: the jobs were deleted while they waited",
    "job cannot be fired": "Condition Ready=False/FireFailed; the job is tried again, the others fire",
    "job cannot be released": "A defect of this job's row: it is tried each second",
    "jobs of namespaces that are not watched any more are taken for gone": "Nothing, if watchNamespaces was narrowed",
    "leading failed for a reason unforeseen": "A defect: report it; another replica leads",
    "no answer yet": "The start waits for what `setting` names",
    "no database for too long: giving the lease up": "Look at PostgreSQL and the link to it",
    "no heartbeat for too long: stopping what runs": "Look at PostgreSQL and the link; attempts end as LOST",
    "note is not a JSON value, and is dropped": "Mend the handler: `execution.note` takes what JSON can hold",
    "pause cannot be ended": "A defect of this job's row: it is tried again",
    "replica declared dead": "See why: killed, frozen, or cut off from PostgreSQL",
    "resource cannot be mirrored": "A defect: report it with the manifest; others are mirrored",
    "status cannot be told": "A defect: report it; the row in SQL is the truth",
    "status refused": "Often a CRD older than the operator, or a policy: see `error`; `suppressed` counts the others",
    "somebody else has locked rows: how they ended waits": "End the transaction that holds them: see pg_locks",
    "step failed": "Look at what `error` names; logged at the 1st, 2nd, 4th, 8th... failure, and each five minutes",
    "step failed for a reason unforeseen": "A defect: report it, with its traceback",
    "the watch of Jobs broke": "Nothing, if seldom: it is begun again with a list. Else look at what `error` names",
    "the watch of Jobs failed for a reason unforeseen": "A defect: report it; it is begun again",
    "the database is silent: severing": "The link or the server hangs; connections are made anew",
    "the database's clock was set": "See the clock of the database's machine",
    "the lease has gone back to an older state: was etcd restored?": "After a restore: nothing; else see etcd",
    "the process of REST and pages cannot begin: it is tried again": "Give it what `error` names: memory, say",
    "the process of REST and pages ended: it begins again": "Often memory: see `exit_code` (-9: killed)",
    "the seat's session broke": "It is taken again; often an idle link was cut",
    "the term is over": "Another replica leads, or will",
    "the watch gave up": "The API server went away; the mirror is compared when it is back",
    "what has ended was not found in time": "PostgreSQL is slow, or somebody holds a lock: statuses of ends come late",
    "what was handed over cannot be gone on with here": "Its work runs on unwatched; it is tried each 30 s: `error`",
    "this replica was declared dead": "It was silent for 10 s; it registers under a new id",
    "traces are not exported": "Mend the variable that `error` names; jobs run all the same",
}
"""What an operator does, or need not do, about each warning and error."""

HEAD = """# Logs

To stderr, one JSON object a line, or for people with `SCHEDULEDJOBS_LOG_FORMAT=console`; from
`SCHEDULEDJOBS_LOG_LEVEL` on. A line names what happened by a fixed text, its `event`, and has the rest in fields, each
of which means one thing wherever it is. No execution has a line of its own, but failed ones: one a minute for each job,
100 in all; what jobs log is in `job_execution_output`. Payloads are not logged, and a value is cut at 4 KiB. Lines of
libraries have the same form. Made from the code by `make docs`.
"""


def page() -> str:
    """Return the page."""
    found = list(calls())
    events = sorted({(call.event or "", call.level, call.fields) for call in found}, key=lambda row: (row[0], row[1]))
    told = [row for row in events if row[1] in ("warning", "error")]
    said = [row for row in events if row[1] not in ("warning", "error")]
    parts = [HEAD, "\n## Fields of every line\n\n", _table(("field", "what it is"), _named(EVERY))]
    parts += ["\n## Fields of some lines\n\n", _table(("field", "what it is"), _named(FIELDS))]
    parts += ["\n## Warnings and errors\n\n"]
    head = ("event", "level", "fields", "what to do")
    parts += [_table(head, [(e, level, _fields(f), MEANING.get(e, "")) for e, level, f in told])]
    parts += ["\n## News\n\n", _table(("event", "fields"), [(e, _fields(f)) for e, _, f in said])]
    return "".join(parts)


def _named(fields: dict[str, str]) -> list[tuple[str, ...]]:
    return [(f"`{name}`", about) for name, about in fields.items()]


def _fields(fields: tuple[str, ...]) -> str:
    return ", ".join(f"`{field}`" for field in fields)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page())
