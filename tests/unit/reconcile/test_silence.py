"""A parent's loop over slots: what becomes of instances on children that are not heard, and when these come back."""

from __future__ import annotations

import msgspec
import pytest

from mangrove.model.attempt import Status
from mangrove.model.documents import Refusal
from mangrove.model.phases import Phase
from mangrove.model.specification import Disconnect
from mangrove.reconcile.absence import GONE_GRACE
from mangrove.reconcile.parent import (
    ASK_AGAIN,
)
from mangrove.reconcile.view import Told
from tests.unit.reconcile.case import NOW, SLOT, moved, running, with_policy

# -- silence


def test_a_slot_moves_away_from_a_silent_child_when_another_has_room() -> None:
    case = running()
    old = case.attempt
    case.children.silent["n1"] = 12.0
    case.decide()
    assert case.child == "n2"
    assert case.leaving() == [old], "it may still run there"
    assert case.told == ["moved from node n1 to node n2: node n1 silent for 12.0 s"]


def test_without_room_elsewhere_it_stays_and_says_so() -> None:
    case = running()
    case.children.silent = {"n1": 12.0, "n2": 30.0}
    case.decide()
    assert case.child == "n1"
    assert case.placement.reason == "node n1 is silent, and nothing else fits: no room anywhere"
    assert case.children.asked[-1] == (frozenset(), frozenset({"n1"})), "not to where it is"
    del case.children.silent["n1"]
    case.decide()
    assert (case.child, case.placement.reason) == ("n1", "")
    assert case.told == []


def test_what_a_child_does_not_hear_below_moves_as_well() -> None:
    case = running()
    case.says(Phase.RUNNING, "node x is silent, and nothing else fits: full", given_up=True)
    case.children.fits = ["n1"]
    case.decide()
    assert case.child == "n1"
    assert case.placement.reason.startswith("node n1: node x is silent, and nothing else fits: full")
    case.children.fits = ["n2"]
    case.decide()
    assert case.child == "n2"


def test_what_was_on_a_child_that_was_removed_is_withdrawn_whether_it_fits_elsewhere_or_not() -> None:
    case = running()
    case.children.silent["n1"] = float("inf")
    case.children.ended.add(case.attempt)
    case.children.fits = []
    case.decide()
    assert case.homeless()
    assert "inf" not in case.placement.reason
    assert case.leaving() == []


def test_who_refused_is_asked_again_also_from_a_silent_child() -> None:
    case = running()
    case.placement = msgspec.structs.replace(case.placement, refused={"n2": Refusal("r1", "port 80 is taken")})
    case.says(Phase.STARTING)
    case.children.silent["n1"] = 11.0
    decision = case.decide()
    assert case.child == "n1"
    assert decision.wake == NOW + ASK_AGAIN
    case.now = NOW + ASK_AGAIN
    case.decide()
    assert case.child == "n2"


# -- policies


def test_a_policy_may_be_more_patient_than_the_lease() -> None:
    case = with_policy(Disconnect(60.0))
    case.children.silent["n1"] = 12.0
    decision = case.decide()
    assert case.child == "n1"
    assert case.placement.reason == "node n1 is silent; it is replaced after 60 s of that"
    assert decision.wake == pytest.approx(case.now + 48.0)
    assert case.decide().placement == decision.placement, "it is not written again and again"
    case.children.silent["n1"] = 60.0
    case.decide()
    assert case.child == "n2"
    assert case.told == ["moved from node n1 to node n2: node n1 silent for 60.0 s"]


def test_never_means_never() -> None:
    case = with_policy(Disconnect("never"))
    case.children.silent["n1"] = 1e6
    assert case.decide().wake is None
    assert (case.child, case.placement.reason) == ("n1", "node n1 is silent; it stays there, as its policy says")
    del case.children.silent["n1"]
    case.decide()
    assert (case.child, case.placement.reason) == ("n1", "")


@pytest.mark.parametrize("policy", [Disconnect(60.0), Disconnect("never")])
def test_a_newer_version_does_not_get_around_the_policy(policy: Disconnect) -> None:
    case = with_policy(policy)
    case.children.silent["n1"] = 12.0
    newer = msgspec.structs.replace(SLOT, specification="newer")
    case.decide(newer)
    assert case.child == "n1"
    assert case.placement.reason == "the newer version waits for node n1, which is not heard"
    del case.children.silent["n1"]
    case.decide(newer)
    assert case.placement.current is not None
    assert case.placement.current.specification == "newer"


def test_a_cluster_says_when_the_policy_gives_up_one_of_its_nodes() -> None:
    case = with_policy(Disconnect(60.0))
    status = Status(case.attempt, Phase.RUNNING, "node x is silent", silent=True)
    case.children.statuses[case.attempt] = status
    case.decide()
    assert case.child == "n1", "it is not heard, and its policy waits"
    case.says(Phase.RUNNING, "node x is silent, and nothing else fits: full", given_up=True)
    case.decide()
    assert case.child == "n2"


def test_who_acts_on_gone_waits_for_a_short_grace_only() -> None:
    case = with_policy(Disconnect(act_on_gone=True))
    case.children.gone["n1"] = 0.0
    decision = case.decide()
    assert (case.child, case.placement.reason) == ("n1", "")
    assert decision.wake == case.now + GONE_GRACE
    case.children.gone["n1"] = GONE_GRACE
    case.decide()
    assert case.child == "n2"
    assert case.told == ["moved from node n1 to node n2: node n1 lost its connection"]


@pytest.mark.parametrize("policy", [Disconnect(), Disconnect(None, 30.0, act_on_gone=True)])
def test_others_wait_for_the_lease(policy: Disconnect) -> None:
    case = with_policy(policy)
    case.children.gone["n1"] = 9.0
    assert case.decide().wake is None
    assert case.child == "n1"


def test_nothing_moves_to_a_child_whose_connection_broke_as_well() -> None:
    case = with_policy(Disconnect(act_on_gone=True))
    case.children.gone = {"n1": 2.0, "n2": 2.0}
    case.decide()
    assert case.child == "n1"
    assert case.placement.reason.endswith("nothing else fits: node n2 is not heard either")


def test_the_brake_holds_back_what_would_move() -> None:
    case = with_policy(Disconnect())
    case.children.silent["n1"] = 11.0
    case.children.held["n1"] = 7.0
    decision = case.decide()
    assert case.child == "n1"
    assert decision.wake == case.now + 7.0
    assert "many others" in case.placement.reason


# -- returning


def test_the_replacement_stays_unless_the_policy_says_otherwise() -> None:
    case, original, replacement = moved(Disconnect())
    case.decide()
    assert (case.attempt, case.leaving()) == (replacement, [original])
    assert case.told == ["stays on node n2: node n1 is back, and stops its own"]


def test_the_original_stays_without_a_restart() -> None:
    case, original, replacement = moved(Disconnect(on_return="keep_original"))
    case.decide()
    assert case.attempt == original
    assert case.leaving() == [replacement]
    assert case.placement.current is not None
    assert case.placement.current.epoch == case.placement.epoch == 3, "higher than that of the replacement"
    assert [past.attempt for past in case.placement.history] == [replacement]
    assert case.told == ["stays on node n1, which is back, and goes from node n2"]
    before = case.placement
    case.children.staying.clear()
    assert case.decide().placement == before


@pytest.mark.parametrize(("since", "stays"), [(100.0, True), (300.0, False)])
def test_what_runs_the_longest_stays(since: float, stays: bool) -> None:
    case, original, replacement = moved(Disconnect(on_return="keep_longest_running"))
    case.children.statuses[original] = Status(original, Phase.RUNNING, since=since)
    case.decide()
    assert case.attempt == (original if stays else replacement)


@pytest.mark.parametrize(("score", "stays"), [(2.0, True), (1.0, True), (0.5, False)])
def test_the_better_place_is_kept(score: float, stays: bool) -> None:
    case, original, replacement = moved(Disconnect(on_return="keep_best"))
    case.children.scored = {"n1": score, "n2": 1.0}
    case.decide()
    assert case.attempt == (original if stays else replacement)


@pytest.mark.parametrize("phase", [Phase.ASSIGNED, Phase.PULLING, Phase.BACKING_OFF])
def test_what_does_not_run_makes_way_for_what_does(phase: Phase) -> None:
    case, original, replacement = moved(Disconnect())
    case.children.statuses[replacement] = Status(replacement, phase)
    case.decide()
    assert case.attempt == original


def test_what_is_not_heard_makes_way_for_what_is() -> None:
    case, original, _ = moved(Disconnect())
    case.children.silent["n2"] = 11.0
    case.decide()
    assert case.attempt == original


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.BACKING_OFF, Phase.FAILED])
def test_an_original_that_does_not_run_goes(phase: Phase) -> None:
    case, original, replacement = moved(Disconnect(on_return="keep_original"))
    case.children.statuses[original] = Status(original, phase)
    case.decide()
    assert case.attempt == replacement


def test_an_original_that_was_told_to_go_does_not_come_back() -> None:
    case, _, replacement = moved(Disconnect(on_return="keep_original"))
    case.children.staying.clear()
    case.decide()
    assert case.attempt == replacement


def test_an_original_of_an_older_version_goes() -> None:
    case, original, _ = moved(Disconnect(on_return="keep_original"))
    case.children.policies["newer"] = Disconnect(on_return="keep_original")
    case.decide(msgspec.structs.replace(SLOT, specification="newer"))
    assert original in case.leaving()


def test_a_slot_without_an_attempt_takes_back_what_still_runs() -> None:
    case, original, replacement = moved(Disconnect())
    case.children.statuses[replacement] = Status(replacement, Phase.FAILED, "exit code 1")
    case.children.staying.clear()
    case.decide()
    assert case.homeless()
    case.children.staying.add(original)
    case.told.clear()
    decision = case.decide()
    assert (case.attempt, case.placement.not_before) == (original, 0.0)
    assert decision.told == (Told("returned", "stays on node n1, which is back"),)
