"""Policies of disconnection by a parent with children: who moves when, who stays, and what people read of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
import pytest

from mangrove.link.messages import Gone
from mangrove.link.pace import Settings
from mangrove.model.documents import EVENTS, EVENTS_READ, IDENTITIES, SPECIFICATIONS
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Disconnect, Specification
from mangrove.reconcile.absence import GONE_GRACE, NO_NEWS
from mangrove.store.interface import Put
from tests.unit.roles.house import SETTINGS, WEB, House, TestedChild

LEASE = SETTINGS.lease


class Shore(House):
    """Children that can be cut off, and services with policies. At most what fits on one of two children is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.policies: dict[str, Specification] = {}

    def with_children(self, count: int, cpu: int = 4000) -> None:
        for number in range(count):
            self.child(f"n{number}", cpu)
        self.start()
        self.run(3.0)

    def policy(self, number: int, **fields: object) -> str:
        """A slot of a service with this policy, which has come to run."""
        named = f"web{number}"
        specification = msgspec.structs.replace(WEB, name=named, disconnect=Disconnect(**fields))  # type: ignore[arg-type]  # as a test says
        self.write(Put(SPECIFICATIONS, specification.digest, msgspec.to_builtins(specification)))
        slot = self.want(number, specification=specification.digest)
        self.run(1.0)
        return slot

    def home(self, slot: str) -> TestedChild:
        """The child that has the slot's current attempt."""
        placement = self.parent.placements[slot]
        assert placement.current is not None
        return next(child for child in self.children if child.identity.id == placement.current.child)

    def crash(self, child: TestedChild) -> None:
        """A child's process dies: the broker notices at once."""
        child.alive = False
        self.broker.cut(child.identity.id)

    def vanish(self, child: TestedChild) -> None:
        """A child is not heard any more, and the broker does not notice."""
        child.alive = False

    def comes_back(self, child: TestedChild) -> None:
        """Its process was not dead: it only could not speak."""
        child.alive = True
        child.role.link.rejoin(self.clock.now())

    def journal(self, *kinds: str) -> list[str]:
        found = (stored.document for stored in self.disk.load(EVENTS))
        return [str(document["text"]) for document in found if document["kind"] in kinds]


@pytest.fixture
def shore() -> Iterator[Shore]:
    logging.disable(logging.CRITICAL)
    yield Shore()
    logging.disable(logging.NOTSET)


def test_a_crash_is_acted_on_within_the_grace_where_the_policy_says_so(shore: Shore) -> None:
    shore.with_children(2)
    eager, patient = shore.policy(0, act_on_gone=True), shore.policy(1)
    home = shore.home(eager)
    if shore.home(patient) is not home:
        patient = shore.policy(2)
    dead = shore.home(eager)
    shore.crash(dead)
    shore.run(GONE_GRACE - 0.1)
    assert shore.home(eager) is dead, "it may be back at any moment"
    shore.run(0.3)
    assert shore.home(eager) is not dead
    assert shore.attempt(eager) in shore.home(eager).statuses.ids
    moved = f"web0/0 moved from {dead.identity.name} to {shore.home(eager).identity.name}"
    assert shore.journal("moved") == [f"{moved}: {dead.identity.name} lost its connection"]
    if shore.home(patient) is dead:
        shore.run(LEASE)
        assert shore.home(patient) is not dead


def test_a_connection_that_breaks_and_is_made_again_moves_nothing(shore: Shore) -> None:
    shore.with_children(2)
    slot = shore.policy(0, act_on_gone=True)
    home, attempt = shore.home(slot), shore.attempt(slot)
    for _ in range(5):
        shore.broker.cut(home.identity.id)
        shore.run(3.0)
    assert shore.attempt(slot) == attempt
    assert shore.journal("moved") == []


def test_gone_of_an_old_session_moves_nothing(shore: Shore) -> None:
    shore.with_children(2)
    slot = shore.policy(0, act_on_gone=True)
    home, attempt = shore.home(slot), shore.attempt(slot)
    comes = shore.broker._carry
    late: list[tuple[str, str, bytes]] = []
    shore.broker._carry = lambda *message: late.append(message) if message[1] == "gone" else comes(*message)  # type: ignore[method-assign]
    shore.broker.cut(home.identity.id)
    shore.run(2.0)
    for message in late:
        comes(*message)
    shore.run(2.0)
    assert late
    assert shore.attempt(slot) == attempt


def test_a_parent_that_was_deaf_itself_acts_on_nobodys_gone(shore: Shore) -> None:
    shore.with_children(2)
    slot = shore.policy(0, act_on_gone=True)
    home = shore.home(slot)
    shore.crash(home)
    shore.run(0.1)
    shore.broker.stop()
    shore.run(5.0)
    shore.broker.start()
    shore.run(LEASE - 1.0)
    assert shore.home(slot) is home, "its lease starts anew"
    shore.run(2.0)
    assert shore.home(slot) is not home


@pytest.mark.parametrize(("lost_after", "moves"), [(25.0, True), ("never", False)])
def test_a_patient_policy_waits_and_says_so(shore: Shore, lost_after: float | str, moves: bool) -> None:
    shore.with_children(2)
    slot = shore.policy(0, lost_after=lost_after)
    home = shore.home(slot)
    shore.vanish(home)
    shore.run(20.0)
    assert shore.home(slot) is home
    assert "is silent; it " in shore.parent.placements[slot].reason
    shore.run(6.0 if moves else 600.0)
    assert (shore.home(slot) is not home) == moves


def test_patience_starts_anew_when_the_parent_was_deaf(shore: Shore) -> None:
    shore.with_children(2)
    slot = shore.policy(0, lost_after=25.0)
    home = shore.home(slot)
    shore.vanish(home)
    shore.run(20.0)
    shore.broker.stop()
    shore.run(60.0)
    shore.broker.start()
    shore.run(20.0)
    assert shore.home(slot) is home
    shore.run(8.0)
    assert shore.home(slot) is not home


@pytest.mark.parametrize("on_return", ["keep_original", "keep_longest_running", "keep_best"])
def test_the_original_goes_on_without_a_restart(shore: Shore, on_return: str) -> None:
    shore.with_children(2)
    slot = shore.policy(0, on_return=on_return)
    home, original, epoch = shore.home(slot), shore.attempt(slot), shore.parent.placements[slot].epoch
    assignments = len(home.seen)
    shore.vanish(home)
    shore.run(12.0)
    replacement = shore.home(slot)
    assert replacement is not home
    shore.comes_back(home)
    shore.run(2.0)
    assert (shore.home(slot), shore.attempt(slot)) == (home, original)
    assert all(original in seen for seen in home.seen[assignments - 1 :]), "it was never taken away"
    assert home.held is not None
    assert home.held.attempts[original].epoch == epoch + 2
    assert replacement.statuses.ids == set()
    assert shore.parent.placements[slot].leaving == ()
    assert shore.parent.fleet.rows[home.identity.id].reserved == WEB.resources
    assert shore.parent.fleet.rows[replacement.identity.id].reserved == Resources()
    assert len(shore.journal("returned")) == 1


def test_the_replacement_goes_on_by_default(shore: Shore) -> None:
    shore.with_children(2)
    slot = shore.policy(0)
    home = shore.home(slot)
    shore.vanish(home)
    shore.run(12.0)
    replacement = shore.attempt(slot)
    shore.comes_back(home)
    shore.run(2.0)
    assert shore.attempt(slot) == replacement
    assert home.statuses.ids == set()
    names = home.identity.name, shore.home(slot).identity.name
    assert shore.journal("returned") == [f"web0/0 stays on {names[1]}: {names[0]} is back, and stops its own"]


def test_a_decision_that_was_lost_with_the_session_is_made_anew(shore: Shore) -> None:
    """The child was told nothing yet, so it has the original still, whatever the parent wanted."""
    shore.with_children(2)
    slot = shore.policy(0, on_return="keep_original")
    home, original = shore.home(slot), shore.attempt(slot)
    shore.vanish(home)
    shore.run(12.0)
    shore.lost = lambda direction, kind: kind == "assign"
    shore.comes_back(home)
    shore.run(1.0)
    shore.broker.cut(home.identity.id)
    shore.run(1.0)
    shore.lost = lambda direction, kind: False
    shore.run(5.0)
    assert shore.attempt(slot) == original
    assert home.statuses.ids == {original}
    assert sum(child.statuses.ids == {original} for child in shore.children) == 1


def test_a_restart_of_the_parent_in_between_makes_no_difference(shore: Shore) -> None:
    shore.with_children(2)
    slot = shore.policy(0, on_return="keep_original")
    home, original = shore.home(slot), shore.attempt(slot)
    shore.vanish(home)
    shore.run(12.0)
    shore.start()
    shore.run(2.0)
    shore.comes_back(home)
    shore.run(3.0)
    assert shore.attempt(slot) == original
    assert {id for child in shore.children for id in child.statuses.ids} == {original}


def test_what_fits_nowhere_says_why_and_moves_by_itself_as_soon_as_it_fits(shore: Shore) -> None:
    shore.with_children(2, cpu=1000)
    one, two = shore.policy(0), shore.policy(1)
    home = shore.home(one)
    shore.vanish(home)
    shore.run(15.0)
    assert shore.home(one) is home
    reason = shore.parent.placements[one].reason
    assert reason.startswith(f"{home.identity.name} is silent, and nothing else fits: ")
    shore.child("n9", 1000)
    shore.run(3.0)
    assert shore.home(one).identity.name == "n9"
    assert shore.home(two).identity.name != "n9"


def test_when_many_fall_silent_at_once_nothing_is_replaced_for_a_lease(shore: Shore) -> None:
    shore.with_children(6, cpu=2000)
    slots = [shore.policy(number) for number in range(6)]
    homes = {slot: shore.home(slot) for slot in slots}
    away = [child for child in shore.children if child in homes.values()]
    assert len(away) == 3
    for child in away:
        shore.vanish(child)
    shore.run(LEASE + 2.0)
    assert {slot: shore.home(slot) for slot in slots} == homes
    assert shore.journal("node-mass-loss") == [
        "3 of 6 nodes fell silent within 10 s: none is replaced for another 10 s, then one by one"
    ]
    held = next(slot for slot in slots if homes[slot] in away)
    assert "many others" in shore.parent.placements[held].reason
    shore.run(LEASE - 5.0)
    shore.comes_back(away[0])
    shore.run(8.0)
    gone = {child for child in away if all(shore.home(slot) is not child for slot in slots)}
    assert len(gone) <= 1, "one after the other"
    assert all(shore.home(slot) is home for slot, home in homes.items() if home is away[0])
    shore.run(4 * LEASE)
    assert all(shore.home(slot).alive for slot in slots)


def test_a_broker_that_says_goodbye_for_all_moves_nothing(shore: Shore) -> None:
    shore.with_children(4)
    slots = [shore.policy(number, act_on_gone=True) for number in range(8)]
    attempts = [shore.attempt(slot) for slot in slots]
    for child in shore.children:
        child.alive = False
        shore.broker.cut(child.identity.id)
    shore.run(3.0)
    for child in shore.children:
        child.alive = True
    shore.run(10.0)
    assert [shore.attempt(slot) for slot in slots] == attempts
    assert len(shore.journal("node-mass-loss")) == 1


def test_a_node_on_which_a_service_failed_is_avoided_by_all_of_its_instances(shore: Shore) -> None:
    shore.with_children(2)
    beside = [shore.policy(number) for number in (8, 9)]
    slot = shore.policy(0)
    bad = shore.home(slot)
    assert {shore.home(one) for one in beside} == {bad}, "the fuller one is the better place, as a rule"
    bad.says(shore.attempt(slot), Phase.FAILED, "exit code 1")
    shore.run(4.0)
    assert shore.home(slot) is not bad
    specification = shore.parent.slots[slot].specification
    more = [shore.want(number, specification=specification) for number in range(1, 6)]
    shore.run(1.0)
    homes = [shore.home(one) is bad for one in more]
    assert homes == [False] * 3 + [True] * 2, "only when there is no more room elsewhere"


def test_who_takes_it_and_says_nothing_more_is_replaced(shore: Shore) -> None:
    shore.with_children(2)
    for child in shore.children:
        child.obeys = False
    slot = shore.policy(0)
    home = shore.home(slot)
    for child in shore.children:
        child.obeys = child is not home
    shore.run(NO_NEWS - 5.0)
    assert shore.home(slot) is home
    shore.run(10.0)
    other = shore.home(slot)
    assert other is not home
    assert shore.parent.observed[shore.attempt(slot)].status.phase is Phase.RUNNING
    said = f"no news from {home.identity.name} for 300 s, where it is assigned"
    assert shore.journal("moved") == [f"web0/0 moved from {home.identity.name} to {other.identity.name}: {said}"]


@pytest.mark.parametrize("lease", [1.0, 3600.0])
def test_leases_from_a_second_to_an_hour(shore: Shore, lease: float) -> None:
    for number in range(2):
        shore.child(f"n{number}")
    shore.start(settings=Settings(lease=lease, beat=min(2.0, lease / 4)))
    shore.run(3.0)
    slot = shore.policy(0)
    home = shore.home(slot)
    shore.vanish(home)
    shore.run(0.85 * lease)
    assert shore.home(slot) is home
    shore.run(0.16 * lease + 2.5)
    assert shore.home(slot) is not home


def test_who_may_have_lost_the_lease_of_its_store_does_not_tell_children_that_they_are_heard() -> None:
    """Another parent that took over, and does not hear them, may be waiting for them to stop."""
    shore = Shore()
    shore.with_children(1)
    link = shore.children[0].role.link
    assert link.vouched > shore.clock.now() - 3.0
    held_until = shore.clock.now()
    shore.parent.held_until = lambda: held_until
    shore.run(60.0)
    assert link.state == "settled", "all else goes on"
    assert held_until - 3.0 < link.vouched <= held_until
    shore.parent.held_until = lambda: shore.clock.now() + 1.0
    shore.run(3.0)
    assert link.vouched > held_until + 60.0 - 3.0


@pytest.mark.parametrize("restarted", [False, True])
def test_who_holds_what_stops_soon_beats_as_often_as_that_takes(shore: Shore, restarted: bool) -> None:
    """However slowly the others of a large fleet beat, and until it holds that no more."""
    children = [shore.child(f"n{number}") for number in range(10)]
    shore.start(settings=Settings(lease=10.0, beat=2.0, beats_per_second=0.5))
    shore.run(60.0)
    slot = shore.policy(0, stop_on_child_after=8.0)
    shore.run(5.0)
    home = shore.home(slot)
    if restarted:
        home.start()
        shore.run(5.0)
    ages: list[float] = []
    others: list[float] = []
    for _ in range(600):
        shore.run(0.1)
        ages.append(shore.clock.now() - home.role.link.vouched)
        others += [shore.clock.now() - child.role.link.vouched for child in children if child is not home]
    assert max(ages) < 8.0 / 2, "one of its beats and one of a cluster above it come in time"
    assert max(others) > 8.0, "the others go on as they did"
    shore.want(0, "stop", shore.parent.slots[slot].specification)
    shore.run(30.0)
    before = len([one for one in shore.sent if one == (home.identity.id, "up", "beat")])
    shore.run(60.0)
    after = len([one for one in shore.sent if one == (home.identity.id, "up", "beat")])
    assert after - before <= 5


def remove(shore: Shore, child: TestedChild) -> None:
    """An operator says that a child is one no more."""
    identity = msgspec.structs.replace(child.identity, revoked=True)
    shore.write(Put(IDENTITIES, identity.id, msgspec.to_builtins(identity)))


@pytest.mark.parametrize("started_anew", [False, True])
def test_what_is_exclusive_on_a_child_that_is_removed_has_its_time_to_stop(shore: Shore, started_anew: bool) -> None:
    """The child may merely be cut off; nothing tells it."""
    shore.with_children(2)
    exclusive, usual = shore.policy(0, stop_on_child_after=20.0), shore.policy(1)
    home = shore.home(exclusive)
    if shore.home(usual) is not home:
        usual = shore.policy(2)
    shore.vanish(home)
    shore.run(5.0)
    remove(shore, home)
    shore.run(2.0)
    assert shore.home(usual) is not home, "what may run twice is replaced at once"
    if started_anew:
        shore.parent._transport.close()
        shore.start()
        shore.run(17.0)
        assert shore.attempt(exclusive) == "", "when it was heard last is not known any more"
        shore.run(10.0)
    else:
        assert shore.parent.placements[exclusive].reason == f"waits until it has stopped on {home.identity.name}"
        shore.run(15.0)
        assert shore.attempt(exclusive) == ""
        shore.run(5.0)
    assert shore.home(exclusive) is not home
    assert shore.parent.placements[exclusive].leaving == ()


def test_an_exclusive_instance_deleted_from_a_removed_child_goes_when_its_time_is_over(shore: Shore) -> None:
    shore.with_children(1)
    slot = shore.policy(0, stop_on_child_after=20.0)
    specification = shore.parent.slots[slot].specification
    remove(shore, shore.home(slot))
    shore.run(1.0)
    shore.want(0, desired="stop", specification=specification)
    shore.run(20.0)
    assert slot in shore.parent.placements
    shore.run(7.0)
    assert slot not in shore.parent.placements


def test_the_place_up_to_which_events_of_a_removed_child_were_read_goes_with_it(shore: Shore) -> None:
    shore.with_children(2)
    first, second = shore.children
    for child in shore.children:
        shore.write(Put(EVENTS_READ, child.identity.id, {"after": ""}))
    shore.parent._transport.close()
    remove(shore, first)
    shore.start()
    shore.run(3.0)
    assert [stored.id for stored in shore.disk.load(EVENTS_READ)] == [second.identity.id]
    remove(shore, second)
    shore.run(1.0)
    assert shore.disk.load(EVENTS_READ) == []


def test_a_late_word_of_the_session_whose_connection_broke_ends_the_suspicion(shore: Shore) -> None:
    shore.with_children(2)
    child = shore.children[0]
    link, id = child.role.link, child.identity.id
    shore.parent.link.receive(id, "gone", link._sealed("gone", Gone()), 0, shore.clock.now())
    child.alive = False
    shore.run(0.1)
    assert shore.parent._children.suspects == {id}
    child.alive = True
    shore.run(5.0)
    assert shore.parent.link.peers[id].gone is None
    assert shore.parent._children.suspects == set()
