"""How long a policy waits before something is replaced."""

from __future__ import annotations

import math

import pytest

from mangrove.model.specification import CLOCK_ERROR, KILL_TIME, Disconnect, Specification

LEASE = 10.0


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (Disconnect(), LEASE),
        (Disconnect(3.0), LEASE),
        (Disconnect(60.0), 60.0),
        (Disconnect("never"), math.inf),
        (Disconnect("never", 30.0), math.inf),
        (Disconnect(None, 1.0), LEASE),
        (Disconnect(None, 60.0), 60 * (1 + CLOCK_ERROR) + KILL_TIME),
        (Disconnect(61.0, 60.0), 60 * (1 + CLOCK_ERROR) + KILL_TIME),
        (Disconnect(300.0, 60.0, act_on_gone=True), 300.0),
    ],
)
def test_it_waits_for_the_policy_and_never_less_than_the_lease_or_than_the_copy_may_run(
    policy: Disconnect, seconds: float
) -> None:
    assert policy.replaced_after(LEASE) == pytest.approx(seconds)


def test_only_what_stops_by_itself_is_exclusive() -> None:
    assert not Disconnect(60.0).exclusive
    assert Disconnect(stop_on_child_after=60.0).exclusive
    assert Disconnect(60.0).stopped_after == 0.0


def test_what_runs_at_most_once_is_not_begun_anew_elsewhere() -> None:
    policy = Disconnect(None, 60.0, on_return="keep_best")
    once = Specification("job", one_shot=True, disconnect=policy)
    assert once.policy == Disconnect("never", 60.0, on_return="keep_best")
    assert Specification("web", disconnect=policy).policy == policy
    assert Specification("job", one_shot=True, disconnect=Disconnect(60.0)).policy == Disconnect(60.0)
