"""Leases, terms and trust: who may believe what, until when."""

from __future__ import annotations

from dataclasses import replace

from scheduledjobs.core.lease import LeaseView, has_expired, may_take_early, observe, went_back
from scheduledjobs.core.term import TRUST_SECONDS, Term, Trust

VIEW = LeaseView("a", "1", "then", 3)


def test_a_term_is_trusted_from_when_its_renewal_was_sent() -> None:
    term = Term(1, "a", 0.0).renewed(100.0, lease_seconds=5, margin_seconds=1)
    assert term.is_trusted(103.9)
    assert not term.is_trusted(104.0)


def test_a_lease_expires_by_our_own_sight_of_it() -> None:
    seen = observe(None, VIEW, 10.0, 5.0)
    again = observe(seen, VIEW, 14.9, 5.0)
    assert again.since == 10.0
    assert not has_expired(again, 5, 14.9)
    assert has_expired(again, 5, 15.0)


def test_any_change_of_the_lease_begins_the_sight_anew() -> None:
    seen = observe(observe(None, VIEW, 10.0, 5.0), replace(VIEW, resource_version="2"), 14.0, 5.0)
    assert seen.since == 14.0


def test_a_lease_that_is_older_than_it_was_tells_of_a_restored_etcd() -> None:
    before = LeaseView("a", "100", "then", 3)
    assert not went_back(before, before)
    assert not went_back(before, replace(before, resource_version="101", transitions=4))
    assert went_back(before, replace(before, resource_version="99"))
    assert went_back(before, LeaseView("", "120", "", 0))  # made anew: it was not in the snapshot, or is deleted
    assert not went_back(replace(before, resource_version="x"), before)


def test_who_could_not_look_for_the_length_of_a_lease_begins_its_sight_anew() -> None:
    seen = observe(observe(None, VIEW, 10.0, 5.0), VIEW, 15.0, 5.0)
    assert has_expired(seen, 5, 15.0)
    seen = observe(seen, VIEW, 45.0, 5.0)  # the API server was away, for the holder too
    assert not has_expired(seen, 5, 49.9)
    assert not may_take_early(seen, 2, 46.4)


def test_a_free_seat_is_taken_early_only_at_two_probes_and_a_still_lease() -> None:
    seen = observe(None, VIEW, 10.0, 5.0)
    assert may_take_early(seen, 2, 11.5)
    assert not may_take_early(seen, 1, 11.5)
    assert not may_take_early(seen, 2, 11.4)


def test_a_replica_trusts_itself_from_when_its_heartbeat_was_sent() -> None:
    trust = Trust(0.0).beaten(100.0)
    assert trust.may_start(100.0 + TRUST_SECONDS - 0.1)
    assert not trust.may_start(100.0 + TRUST_SECONDS)


def test_running_work_goes_on_while_nobody_was_there_to_rescue() -> None:
    trust = Trust(100.0)
    for second in range(101, 130):
        trust = trust.saw_lease(is_held=False, now=float(second))
        assert trust.may_go_on(float(second))
    assert not trust.may_start(120.0)


def test_running_work_ends_once_the_lease_is_held_again() -> None:
    trust = Trust(100.0).saw_lease(is_held=False, now=107.0).saw_lease(is_held=True, now=108.5)
    assert not trust.may_go_on(108.6)


def test_a_gap_in_the_sight_of_the_lease_ends_running_work() -> None:
    trust = Trust(100.0).saw_lease(is_held=False, now=107.0).saw_lease(is_held=False, now=115.0)
    assert not trust.may_go_on(115.0)


def unheld(trust: Trust, since: int, until: int, holder: str) -> Trust:
    for second in range(since, until):
        trust = trust.saw_lease(is_held=False, now=float(second), holder=holder, asked_at=second - 0.2)
    return trust


def test_a_leader_that_took_the_lease_after_an_outage_waits_for_a_heartbeat_as_long_as_ever() -> None:
    trust = unheld(Trust(100.0), 105, 161, "").saw_lease(is_held=True, now=161.0, holder="new")
    assert trust.may_go_on(159.8 + TRUST_SECONDS - 0.1)
    assert not trust.may_go_on(159.8 + TRUST_SECONDS)
    assert not trust.may_start(161.0)
    trust = trust.saw_lease(is_held=True, now=162.0, holder="new")
    assert trust.may_go_on(162.0)


def test_the_holder_that_left_its_lease_behind_and_comes_back_has_watched_all_the_time() -> None:
    trust = unheld(Trust(100.0), 105, 161, "old").saw_lease(is_held=True, now=161.0, holder="old")
    assert not trust.may_go_on(161.0)
    other = unheld(Trust(100.0), 105, 161, "old").saw_lease(is_held=True, now=161.0, holder="new")
    assert other.may_go_on(161.0)


def test_a_sight_that_began_too_late_says_nothing_of_who_took_the_lease() -> None:
    trust = unheld(Trust(100.0), 109, 161, "").saw_lease(is_held=True, now=161.0, holder="new")
    assert not trust.may_go_on(161.0)
