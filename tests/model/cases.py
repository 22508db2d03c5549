"""Cases: the models with their bounds, whole and without some of their guards, and what the search must find."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model import database, leaders
from tests.model.leaders import Leaders
from tests.model.workers import Workers


class Case(NamedTuple):
    """A model to search; `breaks` is a part of the rule that it must break, empty where all rules hold."""

    name: str
    model: Leaders | Workers
    breaks: str = ""


def of_leaders(*removed: str, breaks: str = "", **bounds: Any) -> Case:
    """Return the leaders without these guards; one fault will do to break a rule."""
    guards = leaders.Guards(**dict.fromkeys(removed, False))
    bounds = {"faults": 1, **bounds}
    job = "a suspended job" if bounds.get("is_suspended") else "a job"
    return Case(f"leaders, {job}, without {_and(removed)}", Leaders(guards, **bounds), breaks)


def of_workers(*removed: str, breaks: str = "", **bounds: Any) -> Case:
    """Return the workers without these guards."""
    guards = database.Guards(**dict.fromkeys(removed, False))
    return Case(f"workers, without {_and(removed)}", Workers(guards, **{"faults": 1, **bounds}), breaks)


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(names)


WHOLE = [
    Case("leaders, a job", Leaders(moments=2, faults=3)),
    Case("leaders, a suspended job", Leaders(moments=3, faults=2, is_suspended=True)),
    Case("workers, an execution with a retry", Workers(faults=2)),
    Case("workers, two executions without retries", Workers(executions=2, faults=1, limit=0)),
    Case("workers, an execution without retries", Workers(faults=2, limit=0)),
    Case("workers, an execution without retries, and two drains", Workers(faults=1, limit=0, stops=2)),
    Case("workers, work that survives, with a retry", Workers(faults=2, survives=True)),
    Case("workers, work that survives, and two drains", Workers(faults=1, limit=0, stops=2, survives=True)),
    Case("workers, a fire, a retry", Workers(unfired=1, faults=2)),
    Case("workers, a fire beside an execution", Workers(executions=2, unfired=1, faults=1, limit=0)),
    Case("workers, a fire, and a drain", Workers(unfired=1, faults=1, limit=0, stops=1)),
]
"""All guards in place."""

DEEP = [
    Case("leaders, a job", Leaders(moments=3, faults=4)),
    Case("leaders, a suspended job", Leaders(moments=3, faults=4, is_suspended=True)),
    Case("workers, an execution with a retry", Workers(faults=3)),
]
"""By hand: one fault more, minutes, and 1.5 GB."""

TWO_ROWS = "has two rows"
NO_ROW = "has no row (invariant 1)"
STALE = "changed a row that was"
TWO_CLAIMS = "may be changed under claim 1 of A1 and claim 2 of A1"
NOT_ITS_OWN = "trusts itself and runs what is"

ALONE = [
    of_leaders("checks_term", breaks="a write of term 1 landed after a newer raise"),
    of_leaders("holds_share", breaks="a write of term 1 landed after a newer raise"),
    of_leaders("raises_by_compare_and_set", breaks="a raise left the term at 1, after 1"),
    of_leaders("advances_by_compare_and_set", breaks=TWO_ROWS, is_suspended=True),
    of_leaders("inserts_what_moved", breaks=TWO_ROWS, is_suspended=True),
    of_leaders("is_one_transaction", breaks=NO_ROW),
    of_workers("compares_claim_no", breaks=TWO_CLAIMS),
    of_workers("compares_state", breaks=STALE),
    of_workers("keeps_claim_no", breaks=NOT_ITS_OWN, faults=2),
    of_workers("claims_under_lock", breaks=NOT_ITS_OWN, faults=0),
    of_workers("starts_trusting_itself", breaks="starts what dead A1 claimed"),
    of_workers("starts_under_its_id", breaks="starts what dead A1 claimed"),
    of_workers("spares_held", breaks=NOT_ITS_OWN, faults=0),
    of_workers("death_is_final", breaks=NOT_ITS_OWN),
    of_workers("buries_the_silent", breaks=NOT_ITS_OWN),
    of_workers("trust_ends_first", breaks=NOT_ITS_OWN),
    of_workers("trusts_from_sending", breaks=NOT_ITS_OWN, faults=2),
    of_workers("rescues_under_lock", breaks=NOT_ITS_OWN),
    of_workers("rescues_by_level", breaks="is RUNNING (invariant 5)"),
    of_workers("looks_past_inserts", breaks=NOT_ITS_OWN, unfired=1, faults=0),
    of_workers("inserts_past_looks", breaks=NOT_ITS_OWN, unfired=1, faults=0),
    of_workers("takes_attempt_back", breaks="was started 2 times", limit=0, survives=True),
    of_workers("closes_after_claims", breaks="LOST and was never started", faults=0, limit=0, stops=1),
]
"""Guards that nothing backs up."""

BACKED_UP = [
    of_leaders("checks_holder", faults=2),
    of_leaders("has_unique_key", faults=2),
    of_leaders("has_unique_key", faults=2, is_suspended=True),
    of_leaders("advances_by_compare_and_set", faults=2),
    of_leaders("inserts_what_moved", faults=2),
    of_leaders("loads_again", faults=2),
    of_leaders("raises_by_compare_and_set", moments=1, faults=2, asks_of_the_number=False),
    of_workers("compares_owner"),
]
"""Guards without which the others still keep the rules; of a raise without compare-and-set, but for the number."""

TOGETHER = [
    of_leaders("advances_by_compare_and_set", "has_unique_key", breaks=TWO_ROWS),
    of_leaders("inserts_what_moved", "has_unique_key", breaks=TWO_ROWS),
    of_leaders("advances_by_compare_and_set", "loads_again", breaks=NO_ROW),
    of_leaders(
        "raises_by_compare_and_set",
        "checks_holder",
        breaks="a write of term 1 landed after a newer raise",
        asks_of_the_number=False,
    ),
    of_workers("compares_owner", "compares_claim_no", breaks="may be changed under claim"),
]
"""A guard that is backed up, gone with the one that backs it up."""

STRICTER = [
    Case(
        "the dead change nothing", Workers(faults=1, the_dead_change_nothing=True), "which was declared dead, changed"
    ),
    Case(
        "what is told is true: lost", Workers(faults=1, limit=0, tells_truly=True), "called done, and it was discarded"
    ),
    Case("what is told is true: retried", Workers(faults=1, tells_truly=True), "called stale, and it was written"),
]
"""Rules beyond the promises, which the code as it is does not keep; the page says what that costs."""

MENDED = [
    Case(
        "the dead change nothing, if each statement locked its replica's row",
        Workers(database.Guards(looks_at_instance=True), faults=1, the_dead_change_nothing=True),
    ),
    Case(
        "what is told is true, if the log told a rescue's LOST from a completion's, and a retry from a stale one",
        Workers(database.Guards(tells_apart=True), faults=1, tells_truly=True),
    ),
]
"""What would keep them."""
