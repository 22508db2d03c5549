"""What a replica counts; served at /metrics. By handler, never by job: a cluster may have a hundred thousand jobs.

What only the leader knows is told by nobody else: a gauge that a former leader goes on serving would be a lie.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cache

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from scheduledjobs.core.reasons import FAILURE_STATES, MISSED_REASONS, State, camel

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
QUERY_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class Timings(Collector):
    """A histogram by handler that takes the values of a whole batch, from one thread.

    The library's own is locked and searched anew for each value, which costs several times what the value's attempt
    leaves for it.
    """

    def __init__(self, name: str, documentation: str) -> None:
        """`documentation` says of what the seconds are."""
        self._name = name
        self._documentation = documentation
        self._labelnames = ("handler",)  # as the library calls them, for who lists all metrics
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        REGISTRY.register(self)

    def observe(self, handler: str, seconds: Iterable[float]) -> None:
        """Count values of one handler."""
        counts, total = self._counts.setdefault(handler, [0] * (len(SECONDS) + 1)), self._sums.get(handler, 0.0)
        for value in seconds:
            counts[bisect_left(SECONDS, value)] += 1
            total += value
        self._sums[handler] = total

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Yield the name, the type and what it is, without series."""
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the series, as the registry asks for them."""
        (family,) = self.describe()
        for handler, counts in self._counts.items():
            upto, buckets = 0, []
            for bound, count in zip((*map(float, SECONDS), "+Inf"), counts, strict=True):
                upto += count
                buckets.append((str(bound), upto))
            family.add_metric([handler], buckets, self._sums[handler])
        yield family


BUILD = Info("scheduledjobs_build", "The version that runs")
LEADER = Gauge("leader_election_master_status", "1 on the replica that leads, by the name of the Lease", ["name"])
TERM = Gauge(
    "scheduledjobs_term",
    "The term in which this replica leads, by the name of the Lease; 0 where it does not",
    ["name"],
)
HEARTBEAT = Gauge("scheduledjobs_heartbeat_seconds", "How long the last heartbeat took, to the database and back")
BEATEN = Gauge("scheduledjobs_heartbeat_timestamp_seconds", "When the last heartbeat was acknowledged, since 1970")
LOOP_LAG = Gauge("scheduledjobs_loop_lag_seconds", "How late a timer of the main loop was at worst since the last beat")
UNWRITTEN = Gauge("scheduledjobs_unwritten_completions", "Attempts that have ended and are not in the log yet")
SLOTS = Gauge("scheduledjobs_slots", "Handlers that may run at once on this replica")
RUNNING = Gauge("scheduledjobs_running", "Slots that are taken on this replica")
FIRES = Counter("scheduledjobs_fires_total", "Decided rows, by what became of them", ["state", "reason"])
EXECUTIONS = Counter("scheduledjobs_executions_total", "Ended executions", ["handler", "outcome"])
LATENESS = Timings("scheduledjobs_lateness_seconds", "Start minus due moment")
DURATION = Timings("scheduledjobs_duration_seconds", "How long attempts took")
STALE = Counter("scheduledjobs_stale_completions_total", "Completions that came too late and were discarded")
MIRRORED = Counter("scheduledjobs_mirror_changes_total", "Changes of resources written to the mirror")
MIRROR_DRIFT = Counter("scheduledjobs_mirror_drift_total", "Differences that a compare found and the watch had missed")
STATUS_PATCHES = Counter("scheduledjobs_status_patches_total", "Status patches", ["result"])
REPAIRS = Counter(
    "scheduledjobs_repairs_total", "What was put right: mirrored, deleted, lost, handed_back, handed_over", ["repair"]
)
RETRIES = Counter("scheduledjobs_retries_total", "Attempts that another one follows", ["handler"])
CLOCK_STEPS = Counter("scheduledjobs_clock_steps_total", "Times that the database's clock was set")
WEB_SERVING = Gauge("scheduledjobs_web_serving", "1 while the process of REST and pages serves")
WEB_RESTARTS = Counter("scheduledjobs_web_restarts_total", "Times that the process of REST and pages had ended")
STEP_FAILURES = Counter("scheduledjobs_step_failures_total", "Passes of a step that failed", ["step"])


BACKLOG = Gauge("scheduledjobs_backlog", "Executions that may start and have not; told by the leader")
BACKLOG_AGE = Gauge("scheduledjobs_backlog_oldest_seconds", "For how long the oldest of them has waited")
JOBS = Gauge("scheduledjobs_jobs", "Jobs that are not deleted, by their state; told by the leader", ["state"])
REPLICAS = Gauge("scheduledjobs_replicas", "Replicas that live, as the leader sees them")
DAYS_AHEAD = Gauge("scheduledjobs_partition_days_ahead", "Days after today that have a partition; told by the leader")
TO_MIRROR = Gauge("scheduledjobs_mirror_waiting", "Changes of resources that are not mirrored yet; told by the leader")
TO_REPORT = Gauge("scheduledjobs_status_waiting", "Jobs whose status may differ from SQL; told by the leader")
NAMESPACES_REFUSED = Gauge(
    "scheduledjobs_namespaces_refused", "Watched namespaces that the API server refuses; told by the leader"
)
NOTICES = Counter(
    "scheduledjobs_notice_messages_total",
    "Messages to webhooks: sent; failed, to be tried again; dropped, refused or tried for a day",
    ["webhook", "result"],
)
FOLDED = Counter("scheduledjobs_notices_folded_total", "Notices that are counted in a message only", ["webhook"])
NOTICE_AGE = Gauge(
    "scheduledjobs_notice_undelivered_seconds",
    "For how long the message to a webhook has been tried; told by the leader",
    ["webhook"],
)
OF_THE_LEADER = (BACKLOG, BACKLOG_AGE, REPLICAS, DAYS_AHEAD, TO_MIRROR, TO_REPORT, NAMESPACES_REFUSED)
QUERIES = Histogram("scheduledjobs_query_seconds", "How long statements took", ["statement"], buckets=QUERY_SECONDS)


def begin(handlers: Iterable[str]) -> None:
    """Serve from the start, as 0, what alerts take the increase of: a series born at its first count shows none.

    `handlers` are the names of those that this process has.
    """
    for reason in MISSED_REASONS:
        fires(State.MISSED, reason)
    for handler in handlers:
        for state in (State.SUCCEEDED, State.CANCELLED, *FAILURE_STATES):  # with all, or a first failure were 1 of 1
            executions(handler, camel(state))
        LATENESS.observe(handler, ())


def lead(lease: str, term: int) -> None:
    """Say that this replica leads in a term, by the Lease of that name; with 0, that it does not.

    Two series: the one that every controller serves, by which tools know a leader, and one of ours for alerts, which
    are not to take another controller for us.
    """
    LEADER.labels(name=lease).set(term > 0)
    TERM.labels(name=lease).set(term)


def follow() -> None:
    """Serve nothing any more of what only the leader knows."""
    JOBS.clear()
    NOTICE_AGE.clear()
    for gauge in OF_THE_LEADER:
        gauge.set(0)


@cache
def queries(statement: str) -> Histogram:
    """Return the histogram of a statement."""
    return QUERIES.labels(statement=statement)


@cache
def fires(state: str, reason: str) -> Counter:
    """Return the counter of rows decided so."""
    return FIRES.labels(state=state, reason=reason)


@cache
def repairs(repair: str) -> Counter:
    """Return the counter of a kind of repair."""
    return REPAIRS.labels(repair=repair)


@cache
def executions(handler: str, outcome: str) -> Counter:
    """Return the counter of a handler's outcome; looked up once, since it is counted at every execution."""
    return EXECUTIONS.labels(handler=handler, outcome=outcome)
