"""When what runs on a child that is not heard may be replaced."""

from __future__ import annotations

from math import inf

import pytest

from mangrove.model.specification import CLOCK_ERROR, KILL_TIME, Disconnect
from mangrove.reconcile.absence import GONE_GRACE, Absence, time_to_have_stopped, time_to_replace

LEASE = 10.0
EXCLUSIVE = Disconnect(None, 20.0, act_on_gone=True)


def silent(seconds: float, gone: float | None = None, held: float = 0.0) -> Absence:
    return Absence(seconds, seconds, LEASE, True, gone, held)


def gone(seconds: float, held: float = 0.0) -> Absence:
    """The connection broke, and the lease is not over."""
    return Absence(seconds, seconds, LEASE, False, seconds, held)


@pytest.mark.parametrize(
    ("policy", "absence", "seconds"),
    [
        (Disconnect(), silent(10.0), 0.0),
        (Disconnect(5.0), silent(10.0), 0.0),
        (Disconnect(60.0), silent(10.0), 50.0),
        (Disconnect(60.0), silent(70.0), 0.0),
        (Disconnect("never"), silent(1e9), inf),
        (EXCLUSIVE, silent(11.0), 20 * (1 + CLOCK_ERROR) + KILL_TIME - 11.0),
        (EXCLUSIVE, silent(26.0), 0.0),
        (Disconnect(), gone(0.0), inf),
        (Disconnect(act_on_gone=True), gone(0.25), GONE_GRACE - 0.25),
        (Disconnect(act_on_gone=True), gone(2.0), 0.0),
        (Disconnect(60.0, act_on_gone=True), gone(2.0), 0.0),
        (Disconnect(60.0, act_on_gone=True), silent(12.0, gone=11.0), 0.0),
        (Disconnect(60.0, act_on_gone=True), silent(12.0), 48.0),
        (Disconnect("never", act_on_gone=True), gone(2.0), inf),
        (EXCLUSIVE, gone(2.0), inf),
        (EXCLUSIVE, silent(12.0, gone=11.0), 20 * (1 + CLOCK_ERROR) + KILL_TIME - 12.0),
        (Disconnect(), silent(11.0, held=7.0), 7.0),
        (Disconnect(60.0), silent(11.0, held=7.0), 49.0),
        (Disconnect(act_on_gone=True), gone(2.0, held=7.0), 7.0),
    ],
)
def test_it_is_replaced_when_its_policy_allows(policy: Disconnect, absence: Absence, seconds: float) -> None:
    assert time_to_replace(policy, absence) == pytest.approx(seconds)


def test_only_silence_in_which_the_parent_could_have_heard_counts() -> None:
    assert time_to_replace(Disconnect(60.0), Absence(90.0, 20.0, LEASE)) == 40.0


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [(Disconnect(), inf), (Disconnect(5.0), inf), (EXCLUSIVE, 13.02), (Disconnect("never", 2.0), 0.0)],
)
def test_only_what_is_exclusive_stops_by_itself(policy: Disconnect, seconds: float) -> None:
    assert time_to_have_stopped(policy, silent(12.0)) == pytest.approx(seconds)


def test_a_person_reads_what_is_wrong() -> None:
    assert silent(10.04).words == "silent for 10.0 s"
    assert gone(1.0).words == "lost its connection"
    assert (silent(10.04).state, gone(1.0).state) == ("is silent", "has lost its connection")
