"""The child's shell: what it keeps, before it acts on it; and that nothing it hears stops it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
import pytest

from mangrove.link.messages import Call, Reply
from mangrove.link.transports.interface import Disconnected
from mangrove.model.documents import SPECIFICATIONS
from mangrove.model.phases import Phase
from mangrove.roles.child import SAVE_RETRY, unknown_method
from mangrove.store.interface import Put
from tests.unit.roles.house import WEB, House, TestedChild


@pytest.fixture
def house() -> Iterator[House]:
    logging.disable(logging.CRITICAL)
    yield House()
    logging.disable(logging.NOTSET)


@pytest.fixture
def child(house: House) -> TestedChild:
    made = house.child("n1")
    house.start()
    house.run(2.0)
    return made


def state(child: TestedChild) -> str:
    return child.role.link.state


def test_an_assignment_is_kept_before_it_is_acted_on(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.run(1.0)
    attempt = house.attempt(slot)
    assert child.seen[-1] == {attempt}
    assert child.held is not None
    assert child.held.attempts.keys() == {attempt}
    assert child.held.specifications == {WEB.digest: WEB}
    assert (child.held.store, child.held.term) == (house.disk.id, 1)
    assert child.held.version == child.role.version


def test_what_cannot_be_kept_is_not_acted_on_and_tried_again(house: House, child: TestedChild) -> None:
    acted, saves = len(child.seen), child.saves
    child.full = True
    slot = house.want()
    house.run(3 * SAVE_RETRY)
    assert len(child.seen) == acted
    assert child.role.trouble == "the assignment cannot be kept, so it is not acted on: the disk is full"
    assert 2 <= child.saves - saves <= 4, "not all the time"
    house.want(1)
    house.run(1.0)
    child.full = False
    house.run(SAVE_RETRY + 0.2)
    assert child.seen[acted:] == [{house.attempt(slot), house.attempt("s.1")}], "the newest, once"
    assert child.role.trouble == ""


def test_it_starts_with_what_it_kept_before_anybody_is_heard(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.run(1.0)
    child.alive = False
    child.seen.clear()
    child.start()
    assert child.seen == [{house.attempt(slot)}]
    assert state(child) == "closed"
    child.alive = True
    house.run(15.0)
    assert state(child) == "settled"
    assert house.parent.observed[house.attempt(slot)].status.phase is Phase.RUNNING


def test_a_child_that_never_had_an_assignment_acts_on_none(house: House) -> None:
    child = house.child("n1")
    assert child.seen == []
    house.start()
    house.lost = lambda direction, kind: kind == "assign"
    house.run(10.0)
    assert child.seen == []
    house.lost = lambda direction, kind: False
    house.run(5.0)
    assert child.seen == [set()], "that it is to run nothing is an assignment, too"


def test_what_is_removed_is_told_to_the_memory(house: House, child: TestedChild) -> None:
    removed: list[frozenset[str]] = []
    save = child.save
    child.role._memory = child

    def listening(held: object, gone: frozenset[str]) -> None:
        removed.append(gone)
        save(held, gone)  # type: ignore[arg-type]  # it is a Held

    vars(child)["save"] = listening
    slot = house.want()
    house.run(1.0)
    attempt = house.attempt(slot)
    house.want(desired="stop")
    house.run(1.0)
    assert removed[-1] == {attempt}


def test_a_specification_that_makes_no_sense_stops_nothing(house: House, child: TestedChild) -> None:
    """For example of a parent that is newer: the child stays connected and keeps what it has."""
    good = house.want(0)
    house.run(1.0)
    house.write(Put(SPECIFICATIONS, "f" * 32, msgspec.to_builtins(WEB)))
    house.want(1, specification="f" * 32)
    source = house.parent.link.peers[child.identity.id].assignment
    catalogue = house.parent.link._specification
    source._specification = lambda digest: b'{"name": 7}' if digest == "f" * 32 else catalogue(digest)
    house.run(30.0)
    assert state(child) == "settled"
    assert child.seen[-1] == {house.attempt(good)}
    assert child.role.link.dropped > 0
    assert not house.parent.link.peers[child.identity.id].silent


def test_a_call_is_answered_by_whoever_answers_calls(house: House, child: TestedChild) -> None:
    replies: list[Reply] = []
    child.role._answer = lambda call: Reply(call.id, {"echo": call.params}) if call.method == "echo" else None
    house.parent.call(child.identity.id, "echo", {"n": 1}, 5.0, replies.append)
    house.run(1.0)
    assert [reply.result for reply in replies] == [{"echo": {"n": 1}}]
    house.parent.call(child.identity.id, "slow", {}, 5.0, replies.append)
    house.run(2.0)
    assert len(replies) == 1, "it may answer later"
    house.run(5.0)
    assert replies[-1].error == "no answer in time"


def test_who_answers_no_calls_says_so() -> None:
    assert unknown_method(Call("1", "dance" * 50, {}, 1.0)) == Reply("1", error=f"unknown method {'dance' * 8}")


def test_it_wants_to_be_woken_when_it_is_time_to_keep_again(house: House, child: TestedChild) -> None:
    child.full = True
    house.want()
    house.run(0.5)
    assert child.role.next_wake() <= house.clock.now() + SAVE_RETRY


def test_a_broken_connection_changes_nothing_it_runs(house: House, child: TestedChild) -> None:
    house.want()
    house.run(1.0)
    acted = list(child.seen)
    child.role.handle(Disconnected("the cable was pulled"))
    house.run(30.0)
    assert [one for one in child.seen if one != acted[-1]] == [one for one in acted if one != acted[-1]]
    assert state(child) == "settled"
