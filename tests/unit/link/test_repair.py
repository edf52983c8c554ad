"""What is lost is said again, whatever it was; and a parent that starts anew is heard at once."""

from __future__ import annotations

import random
from unittest.mock import patch

from mangrove.link import sync
from mangrove.link.envelope import topic_of, unseal
from mangrove.link.messages import ASSIGNMENT, Assign, Sync
from mangrove.link.parent_events import CapacityChanged
from mangrove.model.attempt import Attempt, Status
from mangrove.model.child import Capacity
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from tests.unit.link.talk import KEY, SETTINGS, Talk

ATTEMPT = Attempt("a1", "service", 0, 1, "specification")


def test_a_lost_capacity_is_told_again() -> None:
    talk = Talk()
    talk.settle()
    talk.lost = lambda direction, kind: kind == "report"
    talk.capacity = Capacity(Resources(cpu=500))
    talk.step(0.1)
    talk.lost = lambda direction, kind: False
    for _ in range(60):
        talk.step(0.1)
    told = [event.capacity for event in talk.heard if isinstance(event, CapacityChanged)]
    assert told[-1] == talk.capacity


def test_a_lost_status_is_told_again() -> None:
    talk = Talk()
    talk.settle()
    talk.lost = lambda direction, kind: kind == "report"
    talk.statuses.change({"a1": Status("a1", Phase.RUNNING)})
    talk.step(0.1)
    talk.lost = lambda direction, kind: False
    for _ in range(60):
        talk.step(0.1)
    assert talk.parent.peers["c"].status.entries == {"a1": Status("a1", Phase.RUNNING)}


def test_a_lost_assignment_is_sent_again() -> None:
    talk = Talk()
    talk.settle()
    talk.lost = lambda direction, kind: kind == "assign"
    talk.parent.assign("c", {"a1": ATTEMPT}, frozenset())
    talk.step(0.1)
    talk.lost = lambda direction, kind: False
    for _ in range(60):
        talk.step(0.1)
    peer = talk.parent.peers["c"]
    assert peer.applied == peer.assignment.mark
    assert peer.assignment.channel == ASSIGNMENT


def test_what_was_given_and_withdrawn_between_two_messages_has_ended() -> None:
    talk = Talk()
    talk.settle()
    talk.parent.assign("c", {"a1": ATTEMPT}, frozenset())
    talk.parent.assign("c", {}, frozenset({"a1"}))
    for _ in range(60):
        talk.step(0.1)
    assert talk.parent.has_ended("c", "a1")


def test_an_attempt_has_not_ended_before_the_child_has_said_so() -> None:
    talk = Talk()
    talk.settle()
    talk.parent.assign("c", {"a1": ATTEMPT}, frozenset())
    talk.step(0.1)
    talk.statuses.change({"a1": Status("a1", Phase.RUNNING)})
    talk.step(0.1)
    talk.parent.assign("c", {}, frozenset({"a1"}))
    talk.step(3.0)
    assert not talk.parent.has_ended("c", "a1")
    talk.statuses.change({}, ["a1"])
    talk.step(0.1)
    assert talk.parent.has_ended("c", "a1")


def test_a_parent_that_starts_anew_is_heard_within_two_beats() -> None:
    talk = Talk()
    talk.settle()
    for _ in range(100):
        talk.step(0.1)  # many acks: the old parent has counted far
    talk.parent = talk.new_parent(term=2)
    begun = talk.now
    while talk.parent.peers.get("c") is None or talk.parent.peers["c"].state != "live":
        talk.step(0.1)
        assert talk.now - begun < 2 * SETTINGS.beat + 1.5, "longer than two beats and the pause before a new session"


def test_a_known_state_is_led_on_by_what_changed_and_an_unknown_one_by_everything() -> None:
    talk = Talk()
    talk.settle()
    talk.parent.assign("c", {f"a{n}": replaced(n) for n in range(20)}, frozenset())
    talk.steps(1.0)
    talk.lost = lambda direction, kind: True
    talk.parent.assign("c", {"a1": replaced(1, epoch=2)}, frozenset())
    talk.steps(1.0)
    talk.lost = lambda direction, kind: False
    talk.child.rejoin(talk.now)
    talk.settle()
    assert assigns(talk)[-1].base is not None
    assert set(assigns(talk)[-1].put) == {"a1"}
    talk.parent = talk.new_parent(term=2)
    talk.parent.expect("c", talk.now)
    talk.parent.assign("c", {f"a{n}": replaced(n) for n in range(3)}, frozenset())
    talk.steps(6.0)
    assert assigns(talk)[-1].base is None
    assert talk.child._assignment.entries.keys() == {"a0", "a1", "a2"}


def test_a_child_that_has_all_of_it_is_told_just_that() -> None:
    talk = Talk()
    talk.settle()
    talk.parent.assign("c", {"a1": ATTEMPT}, frozenset())
    talk.steps(1.0)
    talk.child.rejoin(talk.now)
    talk.settle()
    assert (assigns(talk)[-1].put, assigns(talk)[-1].remove) == ({}, ())


def test_what_keeps_changing_is_repaired_all_the_same() -> None:
    """One message is lost, and the next change never waits for the one before."""
    talk = Talk()
    talk.settle()
    talk.lost = lambda direction, kind: kind in ("assign", "report")
    change_all(talk, 0)
    talk.lost = lambda direction, kind: False
    for number in range(1, 40):
        change_all(talk, number)
        talk.steps(0.5)
    assert talk.child._assignment.entries["a1"].epoch > 30, "the assignment stood still"
    assert talk.parent.peers["c"].status.entries["a1"].restarts > 30, "the statuses stood still"


def change_all(talk: Talk, number: int) -> None:
    talk.parent.assign("c", {"a1": replaced(1, epoch=number)}, frozenset())
    talk.statuses.change({"a1": Status("a1", Phase.RUNNING, restarts=number)})
    talk.step(0.1)


def test_a_set_of_many_parts_comes_through_a_bad_network() -> None:
    dice = random.Random(5)
    talk = Talk()
    with patch.object(sync, "_PART_BYTES", 300):
        talk.statuses.change({f"a{n}": Status(f"a{n}", Phase.RUNNING) for n in range(30)})
        talk.parent.expect("c", talk.now)
        talk.parent.assign("c", {f"a{n}": replaced(n) for n in range(30)}, frozenset())
        talk.lost = lambda direction, kind: dice.random() < 0.3
        talk.steps(60.0)
        talk.lost = lambda direction, kind: False
        talk.steps(10.0)
    peer = talk.parent.peers["c"]
    assert peer.status.digest == talk.statuses.digest
    assert peer.assignment.digest == talk.child._assignment.digest


# -- whether an attempt has ended


def running() -> Talk:
    """A child that runs a1."""
    talk = Talk()
    talk.settle()
    talk.parent.assign("c", {"a1": ATTEMPT}, frozenset())
    talk.step(0.1)
    talk.statuses.change({"a1": Status("a1", Phase.RUNNING)})
    talk.steps(1.0)
    return talk


def test_what_is_assigned_has_not_ended_whatever_the_child_says() -> None:
    talk = running()
    talk.statuses.change({"a1": Status("a1", Phase.COMPLETED)})
    talk.steps(1.0)
    assert not talk.parent.has_ended("c", "a1")


def test_what_is_withdrawn_and_listed_as_ended_has_ended() -> None:
    talk = running()
    talk.statuses.change({"a1": Status("a1", Phase.FAILED)})
    talk.parent.assign("c", {}, frozenset({"a1"}))
    talk.steps(1.0)
    assert talk.parent.has_ended("c", "a1")


def test_what_the_child_does_not_list_may_still_be_on_its_way_to_it() -> None:
    talk = Talk()
    talk.settle()
    talk.lost = lambda direction, kind: kind == "assign"
    talk.parent.assign("c", {"a1": ATTEMPT}, frozenset())
    talk.steps(1.0)
    talk.parent.assign("c", {}, frozenset({"a1"}))
    talk.steps(1.0)
    assert not talk.parent.has_ended("c", "a1")
    talk.lost = lambda direction, kind: False
    talk.steps(4.0)
    assert talk.parent.has_ended("c", "a1")


def test_a_beat_may_overtake_the_report_that_still_lists_it() -> None:
    talk = Talk()
    talk.settle()
    talk.lost = lambda direction, kind: kind == "report"
    talk.parent.assign("c", {"a1": ATTEMPT}, frozenset())
    talk.step(0.1)
    talk.statuses.change({"a1": Status("a1", Phase.RUNNING)})
    talk.step(0.1)
    talk.parent.assign("c", {}, frozenset({"a1"}))
    talk.statuses.change({"a1": Status("a1", Phase.STOPPING)})
    talk.steps(3.0)
    peer = talk.parent.peers["c"]
    assert peer.applied == peer.assignment.mark
    assert not talk.parent.has_ended("c", "a1")


def test_of_a_child_that_is_not_heard_nothing_is_certain() -> None:
    talk = running()
    talk.parent.assign("c", {}, frozenset({"a1"}))
    talk.lost = lambda direction, kind: True
    talk.statuses.change({}, ["a1"])
    talk.steps(30.0)
    assert not talk.parent.has_ended("c", "a1")
    talk.lost = lambda direction, kind: False
    talk.steps(20.0)
    assert talk.parent.has_ended("c", "a1")


def test_a_parent_that_started_anew_waits_for_the_first_word_on_its_own_assignment() -> None:
    talk = running()
    talk.parent = talk.new_parent(term=2)
    talk.parent.expect("c", talk.now)
    assert not talk.parent.has_ended("c", "a1")
    talk.lost = lambda direction, kind: kind == "assign"
    talk.steps(6.0)
    talk.statuses.change({}, ["a1"])  # it ended by itself, but the child would begin it again
    talk.steps(3.0)
    assert talk.parent.peers["c"].state == "live"
    assert talk.parent.peers["c"].status.entries == {}
    assert not talk.parent.has_ended("c", "a1")
    talk.lost = lambda direction, kind: False
    talk.steps(4.0)
    assert talk.parent.has_ended("c", "a1")


def test_of_a_child_that_was_given_up_everything_has_ended() -> None:
    talk = running()
    talk.parent.forget("c")
    assert talk.parent.has_ended("c", "a1")


def replaced(number: int, epoch: int = 1) -> Attempt:
    return Attempt(f"a{number}", "service", number, epoch, "specification")


def assigns(talk: Talk) -> list[Sync]:
    """The steps of all assigns so far."""
    steps = []
    for _, kind, payload in talk.sent:
        if kind == "assign":
            message = unseal(KEY, topic_of("p", "c", "down", kind), payload)[1]
            assert isinstance(message, Assign)
            steps.append(message.step)
    return steps


def test_a_lost_assign_that_changes_nothing_is_sent_again_too() -> None:
    """The child holds that already, so no digest shows that it was lost; but it waits for it to be settled."""
    talk = Talk()
    talk.settle()
    talk.parent.assign("c", {"a1": Attempt("a1", "service", 0, 1, "specification")}, frozenset())
    talk.steps(3.0)
    talk.child.rejoin(talk.now)
    talk.lost = lambda direction, kind: kind == "assign"
    talk.steps(1.0)
    assert talk.state() == "reporting"
    talk.lost = lambda direction, kind: False
    talk.steps(3.0)
    assert talk.state() == "settled"
    said = talk.said("down").count("assign")
    talk.steps(10.0)
    assert talk.said("down").count("assign") == said
