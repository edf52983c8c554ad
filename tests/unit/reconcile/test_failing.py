"""A parent's loop over slots: what fails, does not get on, or is refused."""

from __future__ import annotations

import msgspec
import pytest

from mangrove.model.attempt import Status
from mangrove.model.documents import Past, Placement, Refusal
from mangrove.model.phases import Phase
from mangrove.reconcile.absence import NO_NEWS
from mangrove.reconcile.failing import AVOID_FOR, Failing
from mangrove.reconcile.parent import (
    ASK_AGAIN,
    RETRY_FIRST,
    RETRY_LAST,
    STEADY_AFTER,
)
from tests.unit.reconcile.case import NOW, SLOT, STOPPED, Case, Children, running

# -- ends


def test_a_completed_slot_needs_no_attempt_any_more() -> None:
    case = running()
    case.says(Phase.COMPLETED)
    case.decide()
    assert case.homeless()
    assert case.placement.leaving == ()
    assert case.placement.final == Status(case.children.given[0].attempt, Phase.COMPLETED)
    before = case.placement
    assert case.decide().placement == before
    assert len(case.children.given) == 1
    assert case.decide(STOPPED).placement is None


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.LOST])
def test_what_failed_is_given_away_again_after_a_pause_that_grows(phase: Phase) -> None:
    case = Case(Children(fits=["n1"]))
    pauses = []
    for _ in range(10):
        case.decide()
        case.says(phase, "exit code 1")
        decision = case.decide()
        assert case.homeless()
        assert case.placement.reason == "failed on node n1: exit code 1"
        assert decision.wake == case.placement.not_before
        pauses.append(decision.wake - case.now)
        case.now = decision.wake - 0.1
        assert case.decide().placement == case.placement, "not before its time"
        case.now += 0.2
    assert pauses[:3] == [RETRY_FIRST, 2 * RETRY_FIRST, 4 * RETRY_FIRST]
    assert pauses[-1] == RETRY_LAST
    assert case.told[:3] == [
        "is given to node n1",
        "failed on node n1, and is given away again in 2 s: exit code 1",
        "is given to node n1 again: failed on node n1: exit code 1",
    ]


def test_running_for_a_while_makes_the_pauses_short() -> None:
    case = Case(placement=Placement(SLOT.id, failures=5))
    case.decide()
    case.says(Phase.RUNNING)
    decision = case.decide()
    assert case.placement.failures == 5, "it may end the next moment"
    assert decision.wake == NOW + STEADY_AFTER
    case.now = NOW + STEADY_AFTER
    assert case.decide().wake is None
    assert case.placement.failures == 0


def test_what_fails_soon_after_each_start_is_paused_for_longer_and_longer() -> None:
    case = Case()
    for _ in range(4):
        case.decide()
        case.says(Phase.RUNNING)
        case.now += STEADY_AFTER / 2
        case.decide()
        case.says(Phase.FAILED, "exit code 1")
        decision = case.decide()
        assert decision.wake is not None
        pause, case.now = decision.wake - case.now, decision.wake
    assert pause == 8 * RETRY_FIRST


def test_what_failed_moves_to_another_child_and_keeps_away_for_a_while() -> None:
    case = Case()
    case.decide()
    case.says(Phase.FAILED, "exit code 1")
    case.decide()
    case.now += RETRY_FIRST
    case.decide()
    assert case.child == "n2"
    assert case.told[-1] == "moved from node n1 to node n2: failed on node n1: exit code 1"
    case.says(Phase.LOST, "the disk broke")
    case.decide()
    case.now += 2 * RETRY_FIRST
    case.decide()
    assert case.child == "n1", "when both are bad, they are used all the same"
    case.says(Phase.FAILED, "exit code 1")
    case.decide()
    case.now += AVOID_FOR + RETRY_LAST
    case.children.fits = ["n2", "n1"]
    case.decide()
    assert case.child == "n2", "it is forgotten after a while"


def test_a_newer_version_is_tried_on_every_child() -> None:
    case = Case()
    case.decide()
    case.says(Phase.FAILED, "exit code 1")
    case.decide()
    case.decide(msgspec.structs.replace(SLOT, specification="newer"))
    assert case.child == "n1"


def test_what_failed_for_one_instance_is_known_to_the_others() -> None:
    failing = Failing()
    past = Past("a", "n1", "digest", Phase.FAILED, ended=NOW)
    fine = msgspec.structs.replace(past, child="n2", phase=Phase.RUNNING)
    failing.note(Placement(SLOT.id, history=(past, fine)))
    assert failing.children("digest", NOW + 1) == {"n1"}
    assert failing.children("other", NOW + 1) == frozenset()
    assert failing.children("digest", NOW + AVOID_FOR) == frozenset()
    for number in range(5000):
        failing.note(Placement("s", history=(msgspec.structs.replace(past, specification=f"{number}"),)))
    assert len(failing._ended) < 5000, "bounded"


# -- no progress


@pytest.mark.parametrize("phase", [None, Phase.ASSIGNED, Phase.PULLING, Phase.STARTING])
def test_a_child_that_says_nothing_more_is_replaced_after_a_deadline(phase: Phase | None) -> None:
    case = Case()
    decision = case.decide()
    if phase is not None:
        case.says(phase, "layer 1 of 5")
    decision = case.decide()
    assert decision.wake == NOW + NO_NEWS
    case.now = NOW + NO_NEWS - 1
    old = case.attempt
    if phase is not None:
        case.says(phase, "layer 2 of 5")
        assert case.decide().wake == case.now + NO_NEWS, "news of a long pull count"
        case.now += NO_NEWS - 1
    assert case.decide().placement is not None
    assert case.child == "n1"
    case.now += 1
    case.decide()
    assert case.child == "n2"
    assert case.leaving() == [old]
    where = phase.value if phase is not None else "assigned"
    assert case.told[-1] == f"moved from node n1 to node n2: no news from node n1 for 300 s, where it is {where}"
    assert case.placement.failures == 1
    case.says(Phase.FAILED)
    case.decide()
    case.now += RETRY_LAST
    case.decide()
    assert case.child == "n1", "both are as bad"


def test_without_room_elsewhere_what_does_not_get_on_stays() -> None:
    case = Case(Children(fits=["n1"]))
    case.decide()
    case.now += NO_NEWS
    case.decide()
    assert case.child == "n1"
    reason = "no news from node n1 for 300 s, where it is assigned, and nothing else fits: no room anywhere"
    assert case.placement.reason == reason
    case.says(Phase.PULLING)
    case.decide()
    assert case.placement.reason == ""


def test_what_stays_on_a_silent_node_below_is_not_said_to_get_on_badly() -> None:
    case = Case()
    case.decide()
    case.children.statuses[case.attempt] = Status(case.attempt, Phase.ASSIGNED, "node x is silent", silent=True)
    case.now += 10 * NO_NEWS
    case.decide()
    assert case.child == "n1"


def test_a_wall_clock_that_is_set_back_holds_nothing_up() -> None:
    case = Case()
    case.decide()
    case.says(Phase.FAILED)
    case.decide()
    case.now -= 86_400
    case.decide()
    assert case.placement.current is not None


# -- refusals


def test_a_child_that_refused_is_not_asked_again_while_nothing_changes_there() -> None:
    case = Case()
    case.decide()
    case.says(Phase.REFUSED, "no GPU is free")
    case.decide()
    assert case.child == "n2"
    assert case.placement.refused == {"n1": Refusal("r1", "no GPU is free")}
    assert case.leaving() == [], "a refusal is final: it holds nothing"
    assert "was refused by node n1: no GPU is free" in case.told


def test_once_it_runs_all_refusals_are_forgotten() -> None:
    case = Case()
    case.decide()
    case.says(Phase.REFUSED)
    case.decide()
    case.says(Phase.RUNNING)
    case.decide()
    assert case.placement.refused == {}


def test_all_are_asked_again_after_a_while() -> None:
    case = Case(Children(fits=["n1"]))
    case.decide()
    case.says(Phase.REFUSED, "port 80 is taken")
    decision = case.decide()
    assert case.homeless()
    assert decision.wake == NOW + ASK_AGAIN
    case.now = NOW + ASK_AGAIN
    case.decide()
    assert case.child == "n1"
