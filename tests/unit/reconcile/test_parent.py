"""A parent's loop over slots: giving away and withdrawing, one decision at a time."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.model.attempt import Status
from mangrove.model.choice import NoFit
from mangrove.model.documents import Given, Past, Placement, Refusal, Slot
from mangrove.model.phases import ENDED, Phase
from mangrove.model.resources import Resources
from mangrove.reconcile.absence import NO_NEWS
from mangrove.reconcile.parent import (
    ASK_AGAIN,
    HAND_BACK_AFTER,
    RETRY_FIRST,
    RETRY_LAST,
)
from mangrove.reconcile.placements import HISTORY
from mangrove.reconcile.view import Told
from tests.unit.reconcile.case import NOW, SLOT, STOPPED, Case, Children, running

# -- giving away


def test_a_new_slot_is_given_to_who_has_room() -> None:
    case = Case()
    decision = case.decide()
    assert case.child == "n1"
    assert case.placement.epoch == 1
    assert case.placement.current == msgspec.structs.replace(case.children.given[0], since=NOW)
    assert decision.told == (Told("placed", "is given to node n1"),)
    assert decision.wake == NOW + NO_NEWS, "by then it should have said something"


def test_what_runs_is_left_alone() -> None:
    case = running()
    before = case.placement
    for phase in (Phase.ASSIGNED, Phase.PULLING, Phase.STARTING, Phase.RUNNING, Phase.BACKING_OFF, Phase.STOPPING):
        case.says(phase, "whatever")
        assert case.decide().placement == before
    assert case.told == []


def test_what_fits_nowhere_waits_and_says_why() -> None:
    case = Case(Children(fits=[]))
    decision = case.decide()
    assert case.homeless()
    assert case.placement.reason == "no room anywhere"
    assert decision.wake is None, "it is decided again when something changes"
    case.children.fits = ["n2"]
    case.decide()
    assert case.child == "n2"
    assert (case.placement.reason, case.placement.waiting_since) == ("", 0.0)


def test_each_giving_raises_the_epoch_and_has_an_id_of_its_own() -> None:
    case = Case()
    seen = set()
    for epoch in range(1, 6):
        case.decide()
        assert case.placement.epoch == epoch
        assert case.children.given[-1].epoch == epoch
        seen.add(case.attempt)
        case.says(Phase.LOST, "it is gone")
        case.decide()
        case.now += RETRY_LAST
    assert len(seen) == 5


def test_a_long_reason_is_cut() -> None:
    case = Case()
    case.children.place = lambda *asked: NoFit("x" * 5000)  # type: ignore[method-assign]  # one answer
    case.decide()
    assert len(case.placement.reason) == 400


# -- withdrawing


@pytest.mark.parametrize("slot", [STOPPED, None])
def test_what_is_wanted_no_more_is_withdrawn_and_dropped_when_it_has_ended(slot: Slot | None) -> None:
    case = running()
    attempt = case.attempt
    case.decide(slot)
    assert case.homeless()
    assert case.leaving() == [attempt], "its reservation stays until it is known to have ended"
    assert case.decide(slot).placement == case.placement
    case.children.ended.add(attempt)
    assert case.decide(slot).placement is None


def test_a_slot_that_was_stopped_is_never_given_away() -> None:
    case = Case()
    assert case.decide(STOPPED).placement is None
    assert case.children.given == []


def test_what_has_ended_by_itself_leaves_nothing() -> None:
    case = running()
    case.says(Phase.FAILED, "exit code 1")
    assert case.decide(STOPPED).placement is None


def test_another_specification_replaces_the_attempt() -> None:
    case = running()
    old = case.attempt
    case.decide(msgspec.structs.replace(SLOT, specification="newer"))
    assert case.leaving() == [old]
    assert case.placement.current is not None
    assert case.placement.current.specification == "newer"


# -- handing back


def test_a_cluster_hands_back_at_once_what_it_never_ran() -> None:
    case = Case(Children(fits=[]))
    decision = case.decide(may_refuse=True)
    assert case.placement.final == Status(SLOT.id, Phase.REFUSED, "no room anywhere", since=NOW)
    assert decision.told == (Told("handed-back", "is handed back: no room anywhere"),)


def test_a_cluster_looks_for_room_of_its_own_before_it_hands_back_what_ran() -> None:
    case = running()
    case.says(Phase.LOST, "the disk broke")
    case.children.fits = []
    case.decide(may_refuse=True)
    case.now += RETRY_FIRST
    decision = case.decide(may_refuse=True)
    assert case.final() is None
    assert decision.wake == case.now + HAND_BACK_AFTER
    case.now = decision.wake
    case.decide(may_refuse=True)
    assert case.final() is Phase.REFUSED


def test_what_is_still_being_stopped_is_not_handed_back() -> None:
    given = Given("old", "n1", 1, "digest", Resources())
    case = Case(Children(fits=[]), Placement(SLOT.id, epoch=1, leaving=(given,), waiting_since=1.0))
    case.decide(may_refuse=True)
    assert case.final() is None
    case.children.ended.add("old")
    case.decide(may_refuse=True)
    assert case.final() is Phase.REFUSED


def test_what_is_left_on_a_lost_node_holds_nothing_back() -> None:
    given = Given("old", "n1", 1, "digest", Resources())
    case = Case(
        Children(fits=[], silent={"n1": 99.0}), Placement(SLOT.id, epoch=1, leaving=(given,), waiting_since=1.0)
    )
    case.decide(may_refuse=True)
    assert case.final() is Phase.REFUSED
    assert case.leaving() == ["old"], "what it holds there is still reserved"


def test_a_root_hands_nothing_back() -> None:
    case = Case(Children(fits=[]))
    for _ in range(5):
        case.decide(may_refuse=False)
        case.now += 100
    assert case.final() is None


# -- a newer specification


NEWER = msgspec.structs.replace(SLOT, specification="newer")


def test_a_newer_specification_replaces_the_attempt_and_counts_failures_anew() -> None:
    case = running()
    before = case.attempt
    case.says(Phase.FAILED, "exit code 1")
    case.decide()
    case.placement = msgspec.structs.replace(case.placement, refused={"n1": Refusal("r1", "no")})
    case.decide(NEWER)
    assert case.placement.current is not None
    assert (case.placement.current.specification, case.child) == ("newer", "n1"), "at once, and n1 is asked again"
    assert (case.placement.failures, case.placement.refused, case.placement.not_before) == (0, {}, 0.0)
    assert [one.attempt for one in case.placement.history] == [before]


def test_it_is_renewing_until_that_runs() -> None:
    case = running()
    before = case.attempt
    case.decide(NEWER)
    assert case.placement.renewing
    assert case.leaving() == [before]
    assert case.told == ["is replaced by a newer version", "is given to node n1"]
    case.says(Phase.STARTING)
    assert case.decide(NEWER).placement == case.placement
    case.says(Phase.RUNNING)
    case.decide(NEWER)
    assert not case.placement.renewing


def test_what_runs_is_kept_when_the_newer_one_fits_nowhere() -> None:
    case = running()
    before = case.attempt
    case.children.fits = []
    case.decide(NEWER)
    assert case.attempt == before
    assert case.placement.reason == "the newer version fits nowhere: no room anywhere"
    assert not case.placement.renewing
    case.children.fits = ["n2"]
    case.decide(NEWER)
    assert (case.child, case.leaving()) == ("n2", [before])


def test_what_is_not_heard_is_replaced_only_when_something_else_fits() -> None:
    case = running()
    before = case.attempt
    case.children.silent = {"n1": 12.0, "n2": 12.0}
    case.decide(NEWER)
    assert case.attempt == before
    case.children.silent = {"n1": 12.0}
    case.decide(NEWER)
    assert case.child == "n2"


def test_what_does_not_run_is_replaced_without_a_question() -> None:
    case = running()
    case.says(Phase.BACKING_OFF, "exit code 1")
    case.children.fits = []
    case.decide(NEWER)
    assert case.homeless()
    assert case.placement.renewing


# -- history


def test_past_attempts_are_remembered_with_how_they_ended() -> None:
    case = running()
    first = case.attempt
    status = Status(first, Phase.FAILED, "exit code 3", restarts=2, exit_code=3, node="n", node_name="pi")
    case.children.statuses[first] = status
    case.now += 60
    case.decide()
    assert case.placement.history == (
        Past(first, "n1", "digest", Phase.FAILED, "failed on node n1: exit code 3", "n", "pi", 2, 3, NOW, NOW + 60),
    )


def test_the_oldest_of_many_attempts_are_forgotten() -> None:
    case = running()
    attempts = []
    for _ in range(HISTORY + 3):
        attempts.append(case.attempt)
        case.says(Phase.FAILED, "x" * 5000)
        case.decide()
        case.now += RETRY_LAST
        case.decide()
    assert [one.attempt for one in case.placement.history] == attempts[-HISTORY:]
    assert len(msgspec.json.encode(case.placement)) < 8000


def test_what_completed_is_history_too() -> None:
    case = running()
    case.children.statuses[case.attempt] = Status(case.attempt, Phase.COMPLETED, exit_code=0)
    case.decide()
    assert [(one.phase, one.exit_code, one.reason) for one in case.placement.history] == [(Phase.COMPLETED, 0, "")]
    assert case.told == ["has completed on node n1"]


# -- whatever happens


words = st.sampled_from([None, *Phase])


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(
            words,
            st.booleans(),
            st.sets(st.sampled_from(["n1", "n2"])),
            st.lists(st.sampled_from(["n1", "n2"]), unique=True),
            st.sampled_from([0.0, 1.0, 70.0, -5000.0]),
            st.booleans(),
        ),
        max_size=25,
    ),
    st.booleans(),
)
def test_nothing_is_forgotten_and_nothing_is_wanted_twice(
    plan: list[tuple[Phase | None, bool, set[str], list[str], float, bool]], cluster: bool
) -> None:
    case = Case()
    open_attempts: dict[str, Given] = {}
    for word, ended, silent, fits, seconds, stop in plan:
        case.now += seconds
        case.children.silent = dict.fromkeys(silent, 7.0)
        case.children.fits = fits
        if case.placement.current is not None and word is not None:
            case.says(word)
        if ended:
            case.children.ended.update(case.leaving())
        given_before = len(case.children.given)
        decision = case.decide(STOPPED if stop else SLOT, may_refuse=cluster)
        fresh = case.children.given[given_before:]
        assert len(fresh) <= 1
        open_attempts |= {given.attempt: given for given in fresh}
        for attempt in list(open_attempts):
            status = case.children.statuses.get(attempt)
            if attempt in case.children.ended or (status is not None and status.phase in ENDED):
                del open_attempts[attempt]
        if decision.placement is None:
            assert open_attempts == {}, "its last reservation is gone"
            return
        held = {given.attempt for given in decision.placement.leaving}
        if decision.placement.current is not None:
            assert decision.placement.current.attempt not in held
            held.add(decision.placement.current.attempt)
            assert not stop
        assert set(open_attempts) <= held, "what may still run keeps its reservation"
        assert decision.wake is None or decision.wake - case.now <= max(RETRY_LAST, ASK_AGAIN, HAND_BACK_AFTER, NO_NEWS)
        assert decision.placement.current is not None or decision.placement.final or decision.placement.reason
