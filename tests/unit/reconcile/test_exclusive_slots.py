"""A parent's loop over slots: what must never run twice."""

from __future__ import annotations

import msgspec
import pytest

from mangrove.model.attempt import Status
from mangrove.model.documents import Given, Placement
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Disconnect
from tests.unit.reconcile.case import SLOT, Case, Children, moved, running, with_policy

EXCLUSIVE = Disconnect(None, 20.0, act_on_gone=True, on_return="keep_original")


def test_what_is_exclusive_moves_only_when_it_has_stopped() -> None:
    case = with_policy(EXCLUSIVE)
    case.children.silent["n1"] = 25.0
    decision = case.decide()
    assert case.child == "n1"
    assert decision.wake == pytest.approx(case.now + 0.02)
    case.children.silent["n1"] = 25.03
    case.decide()
    assert case.child == "n2"


def test_an_exclusive_attempt_that_was_withdrawn_must_end_before_the_next_begins() -> None:
    case = with_policy(EXCLUSIVE)
    old = case.attempt
    case.children.policies["newer"] = EXCLUSIVE
    newer = msgspec.structs.replace(SLOT, specification="newer")
    assert case.decide(newer).wake is None, "its child will say so"
    assert case.homeless()
    assert case.placement.reason == "waits until it has stopped on node n1"
    case.children.silent["n1"] = 11.0
    assert case.decide(newer).wake == pytest.approx(case.now + 25.02 - 11)
    assert case.homeless()
    del case.children.silent["n1"]
    case.children.ended.add(old)
    case.decide(newer)
    assert case.child == "n1"


def test_what_was_not_exclusive_never_stops_by_itself() -> None:
    case = running()
    case.children.policies["newer"] = EXCLUSIVE
    newer = msgspec.structs.replace(SLOT, specification="newer")
    case.decide(newer)
    case.children.silent["n1"] = 1e6
    assert case.decide(newer).wake is None
    assert case.homeless()


def test_what_was_exclusive_has_ended_before_another_version_begins() -> None:
    case = with_policy(EXCLUSIVE)
    old = case.attempt
    newer = msgspec.structs.replace(SLOT, specification="newer")
    case.decide(newer)
    assert case.homeless()
    case.children.ended.add(old)
    case.decide(newer)
    assert case.child == "n1"


@pytest.mark.parametrize("phase", [Phase.PULLING, Phase.STARTING, Phase.RUNNING])
def test_what_is_exclusive_does_not_go_back_while_its_replacement_may_run(phase: Phase) -> None:
    """What a cluster says on return of a node that it has not missed yet is old."""
    case, _, replacement = moved(EXCLUSIVE)
    case.children.statuses[replacement] = Status(replacement, phase)
    case.decide()
    assert case.attempt == replacement
    case.children.silent["n2"] = 11.0
    case.decide()
    assert case.attempt == replacement


def test_what_is_exclusive_goes_back_when_nothing_else_of_it_may_run() -> None:
    given = [Given("old", "n1", 1, "digest", Resources()), Given("older", "n2", 0, "digest", Resources())]
    children = Children(silent={"n2": 11.0}, policies={"digest": EXCLUSIVE}, staying={"old"})
    children.statuses["old"] = Status("old", Phase.RUNNING)
    case = Case(children, Placement(SLOT.id, epoch=1, leaving=tuple(given)))
    case.decide()
    assert case.homeless()
    children.silent["n2"] = 26.0
    case.decide()
    assert case.attempt == "old"


def test_a_cluster_does_not_hand_back_what_may_still_run() -> None:
    given = Given("old", "n1", 1, "digest", Resources())
    children = Children(fits=[], silent={"n1": 11.0}, policies={"digest": EXCLUSIVE})
    case = Case(children, Placement(SLOT.id, epoch=1, leaving=(given,), waiting_since=1.0))
    case.decide(may_refuse=True)
    assert case.final() is None
    children.silent["n1"] = 26.0
    case.decide(may_refuse=True)
    assert case.final() is Phase.REFUSED


def test_the_root_believes_a_cluster_that_says_that_it_has_stopped_only_once_that_has_withdrawn_it() -> None:
    """Until then the node, back this very moment, would start it again by the cluster's word."""
    case = with_policy(EXCLUSIVE)
    old = case.attempt
    case.says(Phase.RUNNING, "node x silent for 26.0 s", given_up=True)
    case.decide()
    assert case.homeless()
    assert case.leaving() == [old]
    case.children.statuses[old] = Status(old, Phase.STOPPING, "being removed")
    case.decide()
    assert case.homeless()
    case.children.statuses[old] = Status(old, Phase.STOPPING, "being removed", given_up=True)
    case.decide()
    assert case.child == "n2"
