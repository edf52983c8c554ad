"""Rules of the design, each broken on purpose: what the simulator must catch, and as which invariant.

A broken rule is a change to production code, made through pytest's monkeypatch. Its name says what is wrong then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import pytest

from cluster_orchestrator import desired as cluster_desired
from cluster_orchestrator.cluster import Cluster
from mangrove.base.digest import hex_of
from mangrove.base.errors import InvalidInput, NotFound
from mangrove.link import parent as parent_link
from mangrove.link import parent_events
from mangrove.link.child import ChildLink
from mangrove.link.envelope import BadMessage, Lanes, topic_of, unseal
from mangrove.link.messages import GONE, STREAM, Mark, Piece, Sync
from mangrove.link.parent import ParentLink
from mangrove.link.peer import Peer
from mangrove.link.streams import ParentStreams
from mangrove.link.sync import Replica, entry_hash
from mangrove.model import validation
from mangrove.model.attempt import Attempt
from mangrove.model.choice import NoFit
from mangrove.model.documents import PLACEMENTS, Given, Placement, Slot
from mangrove.model.phases import ENDED, Phase
from mangrove.model.specification import Specification
from mangrove.placement.filters import fit
from mangrove.placement.fleet import Fleet
from mangrove.placement.table import Amounts, Table
from mangrove.placement.words import Rows
from mangrove.reconcile import child as child_loop
from mangrove.reconcile import parent as parent_loop
from mangrove.reconcile import rollout as rollout_rules
from mangrove.reconcile.child import Above, Life, Moment, Record
from mangrove.reconcile.placements import without_current
from mangrove.reconcile.rollout import Member, Standing
from mangrove.reconcile.view import Decision, Told
from mangrove.roles import rollouts
from mangrove.roles.children import Children
from mangrove.roles.rollouts import Rollouts
from mangrove.roles.slots import Slots
from mangrove.roles.terms import Terms
from mangrove.roles.view import FleetView
from mangrove.store.interface import Put, Store, Stored, StoreUnavailable
from node_engine.engine import Engine
from node_engine.node import Node
from root_orchestrator.api.desired import Desired
from root_orchestrator.auth.users import Caller
from tests.simulation.tree import Plan
from tests.simulation.world import World

Break = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Rule:
    """numbers: of the invariants as which it may be caught; the first is the one that it is about.

    plan: of trees in which what it takes to see it is not too rare; usually what any seed does. seed: one that sees it
    early.
    """

    break_it: Break
    numbers: tuple[int, ...]
    plan: Plan | None = None
    seed: int = 1

    @property
    def name(self) -> str:
        return self.break_it.__name__


RULES: list[Rule] = []


def breaks(*numbers: int, plan: Plan | None = None, seed: int = 1) -> Callable[[Break], Break]:
    def remember(break_it: Break) -> Break:
        RULES.append(Rule(break_it, numbers, plan, seed))
        return break_it

    return remember


# -- 0: nothing that comes in may stop a program


@breaks(0)
def junk_is_not_expected(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ParentLink, "receive", ParentLink._receive)


@breaks(0)
def a_store_is_always_there(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mangrove.roles.parent.StoreUnavailable", BadMessage)


# -- 1: it converges


@breaks(1, plan=Plan(readers=0, often=("bad weather", "partition upwards")), seed=2)
def a_lost_report_is_not_sent_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ChildLink, "_repair", lambda self, held, asked, now: None)


@breaks(1, 3, plan=Plan(readers=0, often=("bad weather",)), seed=29)
def a_lost_assignment_is_not_sent_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(parent_link, "REPAIR_AFTER", 1e9)


@breaks(1, plan=Plan(clusters=1, instances=10, write_every=1.0))
def who_refused_once_is_never_asked_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(parent_loop, "_forget_refusals", lambda placement, view: placement)
    patch.setattr(parent_loop, "ASK_AGAIN", float("inf"))


@breaks(1, 2, 7)
def silence_is_never_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ParentLink, "_silence", lambda self, peer: float("inf"))


@breaks(1, plan=Plan(clusters=1, nodes=1, instances=6, often=("step of a runtime fails",)), seed=53)
def what_failed_for_good_is_never_tried_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(parent_loop, "RETRY_FIRST", 1e9)
    patch.setattr(parent_loop, "RETRY_LAST", 1e9)


@breaks(1)
def nobody_looks_again_when_there_is_room(patch: pytest.MonkeyPatch) -> None:
    decide = Slots.decide

    def once(self: Slots, *arguments: Any, **options: Any) -> None:
        self._homeless.clear()
        decide(self, *arguments, **options)

    patch.setattr(Slots, "decide", once)


# -- 2: one wanted attempt a slot


@breaks(2)
def a_withdrawn_attempt_stays_in_the_assignment(patch: pytest.MonkeyPatch) -> None:
    assign = ParentLink.assign
    patch.setattr(ParentLink, "assign", lambda self, child, put, remove: assign(self, child, put, frozenset()))


@breaks(2)
def what_a_silent_child_has_is_not_withdrawn(patch: pytest.MonkeyPatch) -> None:
    assign = ParentLink.assign

    def unless_silent(self: ParentLink, child: str, put: Mapping[str, Attempt], remove: frozenset[str]) -> None:
        assign(self, child, put, frozenset() if self.peers[child].silent else remove)

    patch.setattr(ParentLink, "assign", unless_silent)


@breaks(2)
def what_was_leaving_is_wanted_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    load = Slots.load

    def also_leaving(self: Slots, store: Store) -> None:
        load(self, store)
        for placement in self.placements.values():
            _want_leaving(self, placement)

    patch.setattr(Slots, "load", also_leaving)


@breaks(2)
def what_was_leaving_a_child_is_wanted_when_it_returns(patch: pytest.MonkeyPatch) -> None:
    changed = Slots.child_changed

    def also_leaving(self: Slots, child: str) -> None:
        changed(self, child)
        for slot in sorted(self._on_child.get(child, ())):
            _want_leaving(self, self.placements[slot], child)

    patch.setattr(Slots, "child_changed", also_leaving)


#: Trees in which nothing may run twice, and much is cut off.
EXCLUSIVE = Plan(
    write_every=5.0, instances=8, often=("cut off", "paused", "killed", "reboot"), readers=0, exclusive=True
)


@breaks(2, plan=EXCLUSIVE, seed=6)
def what_is_exclusive_may_run_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(child_loop, "may_run_until", lambda record, before, above, now: math.inf)


@breaks(2, plan=EXCLUSIVE, seed=33)
def a_cluster_vouches_for_nodes_without_its_root(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cluster, "_behind", lambda self, now: 0.0)


@breaks(2, plan=EXCLUSIVE, seed=49)
def who_hears_its_parent_again_starts_what_it_had(patch: pytest.MonkeyPatch) -> None:
    """Before the parent has said what is still wanted there."""
    rule = child_loop.may_run_until

    def hasty(record: Record, before: float, above: Above, now: float) -> float:
        return rule(record, before, above._replace(settled=True), now)

    patch.setattr(child_loop, "may_run_until", hasty)


# -- 3: no orphans


@breaks(3, 4, 6, 8)
def a_node_never_stops_what_is_not_assigned(patch: pytest.MonkeyPatch) -> None:
    next_step = child_loop.next_step
    patch.setattr(child_loop, "next_step", lambda life, wanted, moment, until: next_step(life, True, moment, until))


@breaks(3, 6, plan=Plan(often=("state damaged",)), seed=9)
def a_node_leaves_alone_what_it_does_not_know(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "_remove_unclaimed", lambda self, moment: None)


@breaks(3, 2)
def a_cluster_is_not_told_what_the_root_withdrew(patch: pytest.MonkeyPatch) -> None:
    put = cluster_desired._put
    patch.setattr(cluster_desired, "_put", lambda attempt, desired: put(attempt, "run"))


@breaks(3, 6, seed=2)
def an_assignment_only_adds(patch: pytest.MonkeyPatch) -> None:
    assigned = Node._assigned
    seen: dict[int, tuple[dict[str, Attempt], dict[str, Specification]]] = {}

    def merged(self: Node, attempts: Mapping[str, Attempt], specifications: Mapping[str, Specification]) -> None:
        known, named = seen.setdefault(id(self), ({}, {}))
        known.update(attempts)
        named.update(specifications)
        assigned(self, known, named)

    patch.setattr(Node, "_assigned", merged)


# -- 4: what was deleted stays deleted


@breaks(4, 3)
def a_stop_is_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    load = Slots.load

    def all_run(self: Slots, store: Store) -> None:
        load(self, store)
        self.wanted.update({id: msgspec.structs.replace(slot, desired="run") for id, slot in self.wanted.items()})

    patch.setattr(Slots, "load", all_run)


@breaks(4)
def a_stop_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    decide = parent_loop.decide

    def keep(slot: Slot | None, *arguments: Any, **options: Any) -> Decision:
        running = msgspec.structs.replace(slot, desired="run") if slot is not None else None
        return decide(running, *arguments, **options)

    patch.setattr("mangrove.roles.slots.decide", keep)


@breaks(
    4, 3, 6, 11, 12, 0, plan=Plan(fault_every=1.0, part_bytes=400, readers=0, often=("attack from outside",)), seed=11
)
def an_old_assignment_counts_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lanes, "admit", lambda self, kind, sequence: True)


@breaks(4)
def what_is_wanted_is_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    load = Slots.load

    def nothing(self: Slots, store: Store) -> None:
        load(self, store)
        self.wanted.clear()

    patch.setattr(Slots, "load", nothing)


@breaks(4, 5)
def numbers_of_instances_are_used_again(patch: pytest.MonkeyPatch) -> None:
    add = Desired._add_instance

    def lowest(self: Desired, caller: Any, service: str) -> int:
        found = self._catalog.service(caller, service)
        taken = {slot.value.number for slot in self._catalog.wanted_slots([service])[service]}
        free = next(number for number in range(1000) if number not in taken)
        again = msgspec.structs.replace(found.value, next_number=free)
        if self._store.get("slots", f"{service}.{free}") is None:
            self._store.apply([Put("services", service, msgspec.to_builtins(again))])
        return add(self, caller, service)

    patch.setattr(Desired, "_add_instance", lowest)


# -- 6: nothing is promised twice


@breaks(6)
def what_is_withdrawn_counts_as_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ParentLink, "has_ended", lambda self, child, attempt: True)


@breaks(6, plan=Plan(often=("bad weather",)), seed=4)
def what_a_child_does_not_list_has_ended(patch: pytest.MonkeyPatch) -> None:
    def not_listed(self: ParentLink, child: str, attempt: str) -> bool:
        peer = self.peers.get(child)
        status = peer.status.entries.get(attempt) if peer is not None else None
        return status is None or status.phase in ENDED

    patch.setattr(ParentLink, "has_ended", not_listed)


@breaks(6)
def reservations_are_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    load = Slots.load

    def unreserved(self: Slots, store: Store) -> None:
        load(self, store)
        for attempt in self._fleet.reservations:
            self._fleet.release(attempt)

    patch.setattr(Slots, "load", unreserved)


@breaks(6)
def what_is_reserved_is_not_subtracted(patch: pytest.MonkeyPatch) -> None:
    def whole(table: Table, key: str, rows: Rows) -> Amounts:
        return table.whole[key][rows]

    patch.setattr(fit, "_free", whole)


@breaks(6)
def what_ends_is_given_back_twice(patch: pytest.MonkeyPatch) -> None:
    release = Fleet.release

    def twice(self: Fleet, attempt: str) -> None:
        child, resources, _ = self.reservation(attempt)
        release(self, attempt)
        if child in self.rows:
            self.rows[child].reserved -= resources
            self.table.reserve(self.rows[child].number, resources, -1)

    patch.setattr(Fleet, "release", twice)


# -- 8: healthy work is left alone


@breaks(8)
def a_broken_connection_is_a_loss(patch: pytest.MonkeyPatch) -> None:
    receive = ParentLink.receive

    def at_once(self: ParentLink, child: str, kind: str, payload: bytes, via: int, now: float) -> None:
        before = len(self.events)
        receive(self, child, kind, payload, via, now)
        if kind == GONE and len(self.events) > before:
            peer = self.peers[child]
            peer.silent, peer.state, peer.session = True, "away", ""
            self.events.append(parent_events.Silent(child))

    patch.setattr(ParentLink, "receive", at_once)


@breaks(8)
def the_lease_is_far_too_short(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ParentLink, "_silence", lambda self, peer: peer.lease / 3)


@breaks(8)
def the_lease_runs_from_the_hello(patch: pytest.MonkeyPatch) -> None:
    def heard(self: ParentLink, child: str, peer: Peer, now: float) -> None:
        if peer.state == "greeted":
            peer.heard, peer.silent = now, False

    patch.setattr(ParentLink, "_heard", heard)


@breaks(8)
def a_parent_does_not_know_that_it_was_deaf(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ParentLink, "_count_anew", lambda self, now: None)


@breaks(
    8,
    plan=Plan(
        often=(
            "paused",
            "parent paused for three leases",
        )
    ),
    seed=2,
)
def a_parent_does_not_know_that_it_stood_still(patch: pytest.MonkeyPatch) -> None:
    tick = ParentLink.tick

    def never_stalled(self: ParentLink, now: float) -> None:
        if self._scanned is not None:
            self._scanned = max(self._scanned, now - self._settings.lease / 2)
        tick(self, now)

    patch.setattr(ParentLink, "tick", never_stalled)


@breaks(8, 11)
def a_node_starts_anew_what_it_finds_running(patch: pytest.MonkeyPatch) -> None:
    resume = child_loop.resume

    def anew(record: Record, moment: Moment) -> Life:
        if record.phase is Phase.RUNNING:
            record = msgspec.structs.replace(record, phase=Phase.STOPPING)
        return resume(record, moment)

    patch.setattr(child_loop, "resume", anew)


@breaks(8)
def a_child_that_reconnects_is_given_its_work_anew(patch: pytest.MonkeyPatch) -> None:
    judge = parent_loop._judge_current
    told: set[tuple[str, str]] = set()

    def anew(
        slot: Slot, placement: Any, current: Given, view: Any, now: float, words: list[Told]
    ) -> tuple[Any, Decision | None]:
        peer = view._link.peers.get(current.child)
        if peer is not None and peer.session and (current.attempt, peer.session) not in told:
            told.add((current.attempt, peer.session))
            if sum(attempt == current.attempt for attempt, _ in told) > 1:
                return without_current(placement, view, "it connected again", now), None
        return judge(slot, placement, current, view, now, words)

    patch.setattr(parent_loop, "_judge_current", anew)


# -- 11: no empty, old or foreign store stops anything


@breaks(
    11,
    1,
    plan=Plan(
        often=(
            "old store",
            "foreign store",
        )
    ),
    seed=4,
)
def a_child_obeys_any_store(patch: pytest.MonkeyPatch) -> None:
    obey = ChildLink._obey
    patch.setattr(ChildLink, "_obey", lambda self, header, now: obey(self, _of_store(header, self.store), now))


@breaks(11, plan=Plan(often=("old store", "foreign store", "killed")), seed=8)
def a_child_obeys_an_older_term(patch: pytest.MonkeyPatch) -> None:
    obey = ChildLink._obey
    patch.setattr(ChildLink, "_obey", lambda self, header, now: obey(self, _of_term(header, self.term), now))


@breaks(11, 4, 2, seed=2)
def a_parent_believes_that_it_said_anything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Terms, "may_have_said", lambda self, *said: True)


@breaks(11)
def a_parent_speaks_before_it_has_loaded(patch: pytest.MonkeyPatch) -> None:
    load, decide = Slots.load, Slots.decide
    waiting: dict[int, tuple[Store, float]] = {}

    def only_wanted(self: Slots, store: Store) -> None:
        load(self, cast(Store, _Without(store, PLACEMENTS)))
        waiting[id(self)] = (store, self._clock.now() + 4.0)

    def when_loaded(self: Slots, *arguments: Any, **options: Any) -> None:
        store, moment = waiting.get(id(self), (None, 0.0))
        if store is not None and self._clock.now() < moment:
            return
        if waiting.pop(id(self), None) is not None and store is not None:
            load(self, store)
        decide(self, *arguments, **options)

    patch.setattr(Slots, "load", only_wanted)
    patch.setattr(Slots, "decide", when_loaded)


@breaks(11, 8, seed=2)
def one_part_of_a_complete_set_is_enough(patch: pytest.MonkeyPatch) -> None:
    complete = Replica._complete

    def at_once(self: Replica[Any], step: Sync) -> Any:
        if self._specification_of is None:
            return complete(self, step)
        total = sum(entry_hash(id, bytes(raw)) for id, raw in step.put.items())
        whole = msgspec.structs.replace(step, part=0, parts=1, to=Mark(step.to.version, hex_of(total)))
        return complete(self, whole)

    patch.setattr(Replica, "_complete", at_once)


@breaks(11, 8, plan=Plan(often=("state damaged",)), seed=3)
def a_node_without_an_assignment_cleans_up(patch: pytest.MonkeyPatch) -> None:
    initialise = Engine.__init__

    def empty(self: Engine, *arguments: Any, **options: Any) -> None:
        initialise(self, *arguments, **options)
        self._desired = {}

    patch.setattr(Engine, "__init__", empty)


# -- 12: a newer version takes down one instance at a time


@breaks(12)
def all_instances_take_the_newest_version_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollouts, "specification_now", lambda member, service: member.slot.specification)


@breaks(12, seed=2)
def the_next_one_does_not_wait_for_the_last(patch: pytest.MonkeyPatch) -> None:
    standing = rollout_rules.standing

    def hasty(member: Member, now: float) -> Standing:
        where = standing(member, now)
        return Standing.HOLDS if where is Standing.GOING else where

    patch.setattr(rollout_rules, "standing", hasty)


@breaks(12, seed=13)
def two_are_replaced_in_one_round(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rollouts, "decided", lambda self, slot, before, placement: self.changed(slot.id, slot))


@breaks(12, plan=Plan(fault_every=4.0, write_every=1.0, often=("step of a runtime fails", "container dies")), seed=7)
def a_rollout_goes_on_when_one_fails(patch: pytest.MonkeyPatch) -> None:
    standing = rollout_rules.standing

    def deaf(member: Member, now: float) -> Standing:
        where = standing(member, now)
        return Standing.OUT if where is Standing.STUCK else where

    patch.setattr(rollout_rules, "standing", deaf)


# -- 9 and 1: a stream brings what was printed, all of it, or ends


@breaks(9, plan=Plan(readers=3), seed=4)
def what_was_lost_of_a_stream_is_not_missed(patch: pytest.MonkeyPatch) -> None:
    receive = ParentStreams.receive

    def blind(self: ParentStreams, child: str, payload: bytes, via: int, now: float) -> None:
        with suppress(BadMessage):
            header, piece = unseal(self._key_of(child) or b"", topic_of(self._parent, child, "up", STREAM), payload)
            if header.session in self.streams:
                self.streams[header.session].got = cast(Piece, piece).offset
        receive(self, child, payload, via, now)

    patch.setattr(ParentStreams, "receive", blind)


@breaks(1, plan=Plan(readers=3), seed=7)
def a_stream_that_lost_something_does_not_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ParentStreams, "fail", lambda self, id, reason, now: None)


def _want_leaving(slots: Slots, placement: Placement, child: str | None = None) -> None:
    for given in placement.leaving:
        if child in (None, given.child):
            attempt = Attempt(given.attempt, "", 0, given.epoch, given.specification)
            slots._moves.setdefault(given.child, ({}, set()))[0][given.attempt] = attempt


def _of_store(header: Any, store: str) -> Any:
    return msgspec.structs.replace(header, store=store or header.store)


def _of_term(header: Any, term: int) -> Any:
    return msgspec.structs.replace(header, term=max(term, header.term))


class _Without:
    """A store that has nothing in one collection."""

    def __init__(self, store: Store, collection: str) -> None:
        self._store = store
        self._collection = collection

    def load(self, collection: str) -> list[Stored]:
        return [] if collection == self._collection else self._store.load(collection)


# -- 5: what was acknowledged is there


@breaks(5, 4, seed=7)
def a_full_disk_is_not_told_of(patch: pytest.MonkeyPatch) -> None:
    remove = Desired.remove_instances

    def deaf(self: Desired, *arguments: Any, **options: Any) -> Any:
        with suppress(StoreUnavailable):
            return remove(self, *arguments, **options)

    patch.setattr(Desired, "remove_instances", deaf)


@breaks(5)
def an_instance_is_acknowledged_before_it_is_written(patch: pytest.MonkeyPatch) -> None:
    add = Desired.add_instance
    waiting: list[tuple[Any, str]] = []

    def next_time(self: Desired, caller: Any, service: str) -> int:
        for one in [*waiting]:
            waiting.remove(one)
            with suppress(NotFound):
                add(self, *one)
        waiting.append((caller, service))
        return int(self._catalog.service(caller, service).value.next_number)

    patch.setattr(Desired, "add_instance", next_time)


@breaks(5, 4)
def a_controller_writes_slots_too(patch: pytest.MonkeyPatch) -> None:
    load = Slots.load

    def and_back(self: Slots, store: Store) -> None:
        load(self, store)
        for slot in self.wanted.values():
            again = msgspec.structs.replace(slot, desired="run")
            self._ledger.write(Put("slots", slot.id, msgspec.to_builtins(again)))

    patch.setattr(Slots, "load", and_back)


# -- 7: what is cut off goes on


@breaks(7, 1, seed=13)
def a_node_starts_nothing_without_its_parent(patch: pytest.MonkeyPatch) -> None:
    tick = Engine.tick
    links: dict[int, ChildLink] = {}
    work = Node.work

    def remember(self: Node) -> None:
        links[id(self.engine)] = self.role.link
        work(self)

    def only_connected(self: Engine, now: float) -> Any:
        operations = tick(self, now)
        if id(self) in links and links[id(self)].state == "settled":
            return operations
        for operation in operations:
            if operation.kind != "list":
                self._flying.pop(operation.attempt, None)
        return [operation for operation in operations if operation.kind == "list"]

    patch.setattr(Node, "work", remember)
    patch.setattr(Engine, "tick", only_connected)


@breaks(7, 1)
def what_crashed_is_left_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(child_loop, "back_off", lambda failures: 1e9 if failures else 0.0)


@breaks(7, 1)
def what_fell_with_the_machine_is_left_alone(patch: pytest.MonkeyPatch) -> None:
    next_step = child_loop.next_step

    def after_a_boot(life: Life, wanted: bool, moment: Moment, *rest: Any) -> Any:
        record = life.record
        if wanted and record.phase is Phase.BACKING_OFF and record.boot and record.boot != moment.boot:
            return life, None
        return next_step(life, wanted, moment, *rest)

    patch.setattr(child_loop, "next_step", after_a_boot)


#: Trees in which clusters have nobody above them for long, and lose nodes meanwhile.
ALONE = Plan(clusters=1, nodes=3, instances=6, fault_every=1.5, readers=0, often=("away past its lease", "cut off"))


@breaks(7, plan=ALONE, seed=19)
def a_cluster_decides_nothing_without_its_root(patch: pytest.MonkeyPatch) -> None:
    work, decide = Cluster.work, Slots.decide
    idle: set[int] = set()

    def remember(self: Cluster) -> None:
        (idle.discard if self.role.link.state == "settled" else idle.add)(id(self.parent._slots))
        work(self)

    def unless_alone(self: Slots, *arguments: Any, **options: Any) -> None:
        if id(self) not in idle:
            decide(self, *arguments, **options)

    patch.setattr(Cluster, "work", remember)
    patch.setattr(Slots, "decide", unless_alone)


@breaks(7, plan=ALONE, seed=19)
def a_cluster_waits_for_its_roots_consent(patch: pytest.MonkeyPatch) -> None:
    """What it decided is not acted on before the root has heard of it."""
    place = FleetView.place
    work = Cluster.work

    def remember(self: Cluster) -> None:
        vars(self.parent._view)["alone"] = self.role.link.state != "settled"
        work(self)

    def refused(self: FleetView, *arguments: Any, **options: Any) -> Any:
        return NoFit("the root is away") if vars(self).get("alone") else place(self, *arguments, **options)

    patch.setattr(Cluster, "work", remember)
    patch.setattr(FleetView, "place", refused)


@breaks(7, plan=ALONE, seed=19)
def silence_does_not_count_without_the_root(patch: pytest.MonkeyPatch) -> None:
    work = Cluster.work

    def anew(self: Cluster) -> None:
        if self.role.link.state != "settled":
            self.parent.link._count_anew(self.parent.clock.now())
        work(self)

    patch.setattr(Cluster, "work", anew)


# -- 9: a child has no say in what belongs to others


@breaks(9)
def a_status_counts_whoever_tells_it(patch: pytest.MonkeyPatch) -> None:
    changed = Slots.attempt_changed

    def of_anybody(self: Slots, attempt: str, child: str) -> bool:
        changed(self, attempt, child)
        return self.slot_of(attempt) is not None

    patch.setattr(Slots, "attempt_changed", of_anybody)


@breaks(9)
def usage_counts_whoever_tells_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Children, "_observed_on", lambda self, attempt, child: attempt in self.observed)


@breaks(9)
def all_children_have_one_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(World, "key", staticmethod(lambda identity: b"k" * 32))


# -- 10: what is wrong is said, and changes nothing


@breaks(10)
def a_number_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    fit = validation.fit

    def leaving_out(raw: Any, form: Any) -> Any:
        try:
            return fit(raw, form)
        except InvalidInput as error:
            service = raw["applications"][0]["microservices"][0]
            known = {field: value for field, value in service.items() if not error.field.endswith(field)}
            return fit({**raw, "applications": [{**raw["applications"][0], "microservices": [known]}]}, form)

    patch.setattr("root_orchestrator.api.oakestra.sla.fit", leaving_out)


@breaks(10)
def an_answer_does_not_name_the_field(patch: pytest.MonkeyPatch) -> None:
    initialise = InvalidInput.__init__
    patch.setattr(InvalidInput, "__init__", lambda self, field, problem: initialise(self, "", problem))


@breaks(10)
def what_is_right_of_a_request_is_written(patch: pytest.MonkeyPatch) -> None:
    create = Desired.create_applications

    def one_by_one(self: Desired, caller: Any, declared: Any) -> None:
        for application in declared:
            create(self, caller, [application])

    patch.setattr(Desired, "create_applications", one_by_one)


@breaks(10)
def a_number_that_is_not_there_is_removed(patch: pytest.MonkeyPatch) -> None:
    remove = Desired.remove_instances

    def silently(self: Desired, *arguments: Any) -> None:
        with suppress(NotFound):
            remove(self, *arguments)

    patch.setattr(Desired, "remove_instances", silently)


@breaks(9, seed=4)
def a_stranger_is_not_told_apart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Caller, "reaches", lambda self, owner, organization: True)


# -- and by the names of the design


@breaks(6, 1, 2, 3, 8)
def no_acknowledgement_is_needed(patch: pytest.MonkeyPatch) -> None:
    """A parent takes for granted that a child has done what it was told: what is withdrawn has ended."""
    has_ended = ParentLink.has_ended

    def believed(self: ParentLink, child: str, attempt: str) -> bool:
        peer = self.peers.get(child)
        return (peer is not None and attempt not in peer.assignment) or has_ended(self, child, attempt)

    patch.setattr(ParentLink, "has_ended", believed)


@breaks(11, 8)
def an_empty_complete_set_is_obeyed(patch: pytest.MonkeyPatch) -> None:
    """A parent that knows of nothing says so to whoever connects, and the child does not ask whose word it is."""
    patch.setattr(ParentLink, "_reason_to_refuse", lambda self, child, hello: "")
    patch.setattr(Terms, "may_have_said", lambda self, *said: True)
    obey = ChildLink._obey

    def anybody(self: ChildLink, header: Any, now: float) -> bool:
        return obey(self, _of_term(_of_store(header, self.store), self.term), now)

    patch.setattr(ChildLink, "_obey", anybody)


@breaks(8)
def gone_of_an_old_session_is_obeyed(patch: pytest.MonkeyPatch) -> None:
    """Any last will that a child's key sealed once makes it lost."""
    receive = ParentLink.receive

    def any_will(self: ParentLink, child: str, kind: str, payload: bytes, via: int, now: float) -> None:
        receive(self, child, kind, payload, via, now)
        peer = self.peers.get(child)
        if kind == GONE and peer is not None and peer.state == "live":
            with suppress(BadMessage):
                unseal(peer.key, topic_of(self._parent, child, "up", GONE), payload)
                peer.silent, peer.state, peer.session = True, "away", ""
                self.events.append(parent_events.Silent(child))

    patch.setattr(ParentLink, "receive", any_will)


@breaks(1, seed=3)
def a_report_and_a_reservation_count_twice(patch: pytest.MonkeyPatch) -> None:
    """What runs is taken off what its child can give, beside what is reserved there for it."""
    count = Fleet._count

    def twice(self: Fleet, *arguments: Any) -> None:
        count(self, *arguments)
        count(self, *arguments)

    patch.setattr(Fleet, "_count", twice)
