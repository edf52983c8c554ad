"""What is lost is said again, whatever it was; and a parent that starts anew is heard at once."""

from __future__ import annotations

from mangrove.link.messages import ASSIGNMENT
from mangrove.link.parent_events import CapacityChanged
from mangrove.model.attempt import Attempt, Status
from mangrove.model.child import Capacity
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from tests.unit.link.talk import SETTINGS, Talk

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
