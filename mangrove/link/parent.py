"""The parent's end of the link: one state machine for all children, without I/O or clock.

It judges who speaks, mirrors what children say of themselves, mirrors to each child its assignment, and counts silence.
What follows from any of it is decided elsewhere: it tells `events`, and is told assignments through `assignment`.

    hello → welcome → complete report → (decision, by the owner) → `flush` → assign
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from mangrove.link.envelope import BadMessage, Header, seal, topic_of, unseal
from mangrove.link.messages import (
    ACK,
    ASSIGN,
    ASSIGNMENT,
    CALL,
    CAPACITY,
    NODES,
    PLAN,
    PROTOCOL,
    QOS,
    STATUS,
    UNHEARD,
    UP_KINDS,
    WELCOME,
    Ack,
    Assign,
    Beat,
    Call,
    Gone,
    Hello,
    Mark,
    Reply,
    Report,
    Welcome,
)
from mangrove.link.pace import Settings
from mangrove.link.parent_events import (
    CapacityChanged,
    Confirmed,
    Event,
    Greeted,
    Measured,
    Refused,
    Reported,
    Send,
    Silent,
    Suspect,
)
from mangrove.link.peer import Peer
from mangrove.link.sync import Replica, Source
from mangrove.link.tally import Tally
from mangrove.model.attempt import Attempt, Status
from mangrove.model.child import Capacity, NodeView

#: How long an assignment may stay unconfirmed before it is sent again: as for reports (child.py).
REPAIR_AFTER = 2.0
#: What `admit` says of a hello with a connect number that was seen: it was late or is a replay, and nobody's fault.
OLD_HELLO = "an old hello came again"
#: Calls that may wait for an answer from one child; more are refused at once.
MAX_CALLS = 64


class ParentLink:
    """All children's links to this parent.

    key_of: the link key of a child that may speak, or None. admit: a reason to refuse a hello, `OLD_HELLO`, or empty;
    it judges incarnations and clones, and whether the store went back. revision: of the store, with all decisions.
    behind: seconds, at a time, since this parent as a child sent what its own parent acknowledged last; 0 for a root.
    """

    def __init__(
        self,
        parent: str,
        store: str,
        term: int,
        settings: Settings,
        *,
        key_of: Callable[[str], bytes | None],
        admit: Callable[[str, Hello], str],
        specification: Callable[[str], bytes],
        tenure: str,
        revision: Callable[[], int],
        behind: Callable[[float], float] = lambda now: 0.0,
        rng: random.Random | None = None,
    ) -> None:
        self.effects: list[Send] = []
        self.events: list[Event] = []
        self.dropped = 0
        self.newest_drop = ""
        self.tally = Tally()
        self.peers: dict[str, Peer] = {}
        self._parent = parent
        self._store = store
        self._term = term
        self._settings = settings
        self._key_of = key_of
        self._admit = admit
        self._specification = specification
        self._tenure = tenure
        self._revision = revision
        self._behind = behind
        self._hearing: set[int] = set()  # broker connections that are up
        self._unsent: set[str] = set()  # children whose assignment may differ from what they were sent
        self._scanned: float | None = None

    @property
    def lease(self) -> float:
        """Seconds that a child may be silent, for as many children as there are."""
        return self._settings.for_fleet(len(self.peers))[0]

    @property
    def soonest_stop(self) -> float:
        """As `Settings.soonest_stop`."""
        return self._settings.soonest_stop

    @property
    def deaf(self) -> bool:
        """Whether this parent could hear nobody now, being connected to no broker."""
        return not self._hearing

    # -- what the owner tells

    def expect(self, child: str, now: float) -> Peer | None:
        """Begin to count a known child's silence; None when it has no key."""
        peer = self.peers.get(child)
        if peer is None:
            key = self._key_of(child)
            if key is None:
                return None
            assignment = Source(
                ASSIGNMENT,
                specification_of=lambda entry: entry.specification if isinstance(entry, Attempt) else "",
                specification=self._specification,
            )
            mirrors = Replica(STATUS, Status), Replica(NODES, NodeView), Replica(CAPACITY, Capacity)
            peer = Peer(key, assignment, Source(PLAN), *mirrors, heard=now, counted=now)
            peer.lease, _ = self._settings.for_fleet(len(self.peers) + 1)
            self.peers[child] = peer
        return peer

    def forget(self, child: str) -> None:
        """A child was revoked: what it says no longer counts."""
        self.peers.pop(child, None)

    def assign(self, child: str, put: Mapping[str, Attempt], remove: frozenset[str]) -> None:
        """Change a child's assignment; `flush` sends it."""
        peer = self.peers[child]
        if peer.assign(put, remove):
            self._unsent.add(child)

    def plan(self, child: str, put: Mapping[str, msgspec.Struct], remove: Iterable[str]) -> None:
        """Change what a child's network has to know; `flush` sends it, if the child mirrors that."""
        peer = self.peers.get(child)
        if peer is not None and peer.plan.change(put, remove):
            self._unsent.add(child)

    def withhold(self, child: str, withheld: bool) -> None:
        """Send a child no assign, or again."""
        peer = self.peers.get(child)
        if peer is not None:
            peer.withheld = withheld
            self._unsent.add(child)

    def has_ended(self, child: str, attempt: str) -> bool:
        """Whether the child has applied an assignment without this attempt and no longer lists it as going on."""
        peer = self.peers.get(child)
        return peer is None or peer.has_ended(attempt)  # None: an operator has said that it is gone

    def may_stay(self, child: str, attempt: str) -> bool:
        """Whether a child that has come back with a withdrawn attempt was not told of the withdrawal, in this session
        or before: then the attempt can be assigned again, and never was stopped."""
        peer = self.peers.get(child)
        return peer is not None and peer.may_stay(attempt)

    def vouch_anew(self) -> None:
        """Our own parent has said in a new session what it wants, and that is in all assignments: from now on only who
        has applied them is told that we are heard."""
        for peer in self.peers.values():
            peer.vouched_from = peer.assignment.version

    def flush(self, now: float) -> None:
        """Send each child what it lacks. Call it when all that was decided is durable.

        Raises what `revision` and `specification` raise; the next call goes on where this one stopped.
        """
        for child in sorted(self._unsent):
            peer = self.peers.get(child)
            if peer is not None and peer.state == "live" and peer.applied is not None and not peer.withheld:
                self._send_what_lacks(child, peer, peer.applied, now)
                self._send_plan(child, peer, now)
            self._unsent.discard(child)  # only now: what a message needs may have to be read, and reading may fail

    def call(self, child: str, call: Call, on_reply: Callable[[Reply], None], now: float) -> None:
        """Ask a child. `on_reply` is called once, from `receive` or `tick`, with an error when no answer comes."""
        peer = self.peers.get(child)
        if peer is None or peer.state == "away" or peer.silent:
            on_reply(Reply(call.id, error="not connected", again=True))
        elif len(peer.calls) >= MAX_CALLS:
            on_reply(Reply(call.id, error="too many calls are waiting; try again later", again=True))
        else:
            peer.calls[call.id] = (now + call.timeout, on_reply)
            self._send(child, peer, CALL, call)

    def connected(self, via: int, now: float) -> None:
        """A broker connection is up. What was missed meanwhile is not held against anybody."""
        self._hearing.add(via)
        self._count_anew(now)

    def disconnected(self, via: int, now: float) -> None:
        """A broker connection broke; with several brokers the others go on.

        Who is at that broker may still be, and misses our acknowledgements for a lease before it comes by another one:
        it is not gone, and its silence counts from then on.
        """
        self._hearing.discard(via)
        for peer in self.peers.values():
            if peer.via == via or not self._hearing:
                peer.gone = None
                peer.counted = max(peer.counted, now + peer.lease)

    # -- what children say

    def receive(self, child: str, kind: str, payload: bytes, via: int, now: float) -> None:
        """A message came; whatever it is, nothing is raised."""
        try:
            self._receive(child, kind, payload, via, now)
        except (BadMessage, msgspec.DecodeError, msgspec.ValidationError) as error:
            self.dropped += 1
            self.newest_drop = f"{child[:40]} {kind[:20]}: {error}"
            self.tally.drop(str(error))

    def _receive(self, child: str, kind: str, payload: bytes, via: int, now: float) -> None:
        if kind not in UP_KINDS:
            raise BadMessage("a kind that does not go up")
        peer = self.peers.get(child) or self.expect(child, now)
        if peer is None:
            raise BadMessage("an unknown child")
        header, message = unseal(peer.key, topic_of(self._parent, child, "up", kind), payload)
        self.tally.heard[kind] += 1
        if isinstance(message, Hello):
            self._greet(child, peer, header, message, via, now)
            return
        if header.session != peer.session:
            if isinstance(message, Beat):
                self._send(child, peer, ACK, Ack(header.sequence, unknown=True), session=header.session, via=via)
            raise BadMessage("of another session")
        if not peer.lanes.admit(kind, header):
            raise BadMessage("old or repeated")
        if isinstance(message, Gone):
            peer.gone = now
            self.events.append(Suspect(child))
            return
        self._heard(child, peer, now)
        if isinstance(message, Beat):
            self._beaten(child, peer, header, message, now)
        elif isinstance(message, Report):
            self._reported(child, peer, message)
        elif isinstance(message, Reply):
            waiting = peer.calls.pop(message.id, None)
            if waiting is not None:
                waiting[1](message)

    def _greet(self, child: str, peer: Peer, header: Header, hello: Hello, via: int, now: float) -> None:
        repeated = header.session == peer.session
        if not repeated:
            reason = self._reason_to_refuse(child, hello)
            if reason == OLD_HELLO:
                self._send(child, peer, ACK, Ack(header.sequence, unknown=True), session=header.session, via=via)
                raise BadMessage(reason)
            if reason:
                self.events.append(Refused(child, reason))
                self._send(child, peer, WELCOME, Welcome(False, reason), session=header.session, via=via)
                return
            peer.begin(header.session, via, hello)
            self.events.append(Greeted(child, hello))
        self._heard(child, peer, now)
        peer.lease, peer.period = self._settings.for_fleet(len(self.peers))
        behind = self._behind_for(peer, hello.holds, now)
        welcome = Welcome(True, "", peer.lease, peer.period, self._settings.usage, behind)
        self._send(child, peer, WELCOME, welcome)

    def _reason_to_refuse(self, child: str, hello: Hello) -> str:
        if hello.store and hello.store != self._store:
            return (
                f"this child belongs to the store {hello.store}, and this parent has {self._store}: "
                "restore the old store, or let the child leave and join again"
            )
        if hello.term > self._term:
            return (
                f"this child has obeyed term {hello.term}, and this parent is at {self._term}: its store is an old copy"
            )
        return self._admit(child, hello)

    def _heard(self, child: str, peer: Peer, now: float) -> None:
        peer.heard = peer.counted = now
        peer.silent, peer.gone = False, None

    def _beaten(self, child: str, peer: Peer, header: Header, beat: Beat, now: float) -> None:
        self._applied(child, peer, beat.applied, beat.sent)
        held = {CAPACITY: peer.capacity.digest, STATUS: peer.status.digest, NODES: peer.nodes.digest}
        known = {name: held[name] for name in beat.sent if name in held}
        ack = Ack(header.sequence, known, behind=self._behind_for(peer, beat.applied, now))
        lease, period = self._settings.for_fleet(len(self.peers))
        if period > peer.period:
            # The fleet has grown: who came early is to beat as slowly as who comes now. Said each time: acks get lost.
            peer.lease, ack = max(peer.lease, lease), msgspec.structs.replace(ack, lease=lease, period=period)
        self._send(child, peer, ACK, ack)

    def _behind_for(self, peer: Peer, applied: Mark, now: float) -> float:
        """In whole milliseconds: short in a message, and never less than it is."""
        if applied.version < peer.vouched_from:
            return UNHEARD
        return math.ceil(min(self._behind(now), UNHEARD) * 1000) / 1000

    def _reported(self, child: str, peer: Peer, report: Report) -> None:
        for step in report.steps:
            replica = self._replica(peer, step.channel)
            if replica is None:
                raise BadMessage(f"an unknown channel {step.channel[:20]!r}")
            applied = replica.receive(step)
            if applied is None:
                continue
            if step.channel == CAPACITY:
                self.events += [CapacityChanged(child, capacity) for capacity in peer.capacity.entries.values()]
                continue
            first = peer.state == "greeted" and step.channel == STATUS and applied.complete
            if first:
                peer.state = "live"
            elif peer.state == "live" and step.channel == STATUS and applied.complete:
                # It waits for the assign that begins its session, which was lost, though it may hold what that led to.
                peer.asks = True
                self._unsent.add(child)
            self.events.append(Reported(child, step.channel, applied, first))
        if report.usage:
            self.events.append(Measured(child, report.usage))
        self._applied(child, peer, report.applied, report.sent)

    def _replica(self, peer: Peer, channel: str) -> Replica[Any] | None:
        mirrors: dict[str, Replica[Any]] = {STATUS: peer.status, NODES: peer.nodes, CAPACITY: peer.capacity}
        return mirrors.get(channel)

    def _applied(self, child: str, peer: Peer, mark: Mark, sent: Mapping[str, str]) -> None:
        """Note which assignment the child has applied, and whether the mirrored statuses already reflect it."""
        holds_another, confirms = peer.apply(mark, sent)
        if holds_another:
            self._unsent.add(child)
        if confirms:
            self.events.append(Confirmed(child))

    # -- time

    def tick(self, now: float) -> None:
        """Count silence and deadlines; looks at the children only as often as `next_wake` asks."""
        if self._scanned is not None and now < self._scanned + self._scan_period:
            return
        stalled = self._scanned is not None and now - self._scanned > self._settings.lease / 2
        self._scanned = now
        if stalled:
            self._count_anew(now)
        for child, peer in self.peers.items():
            if self._hearing and not peer.silent and now - peer.counted > self._silence(peer):
                peer.silent = True
                peer.state = "away"
                peer.session = ""
                self.events.append(Silent(child))
            if peer.assigned is not None and peer.assigned != peer.applied:
                self._unsent.add(child)
            if peer.plan_sent and peer.plan_sent != peer.plan_held:
                self._unsent.add(child)
            for id, (deadline, on_reply) in list(peer.calls.items()):
                if now >= deadline:
                    del peer.calls[id]
                    on_reply(Reply(id, error="no answer in time", again=True))

    def next_wake(self, now: float) -> float:
        """When `tick` and `flush` want to be called at the latest."""
        return now if self._scanned is None else self._scanned + self._scan_period

    @property
    def _scan_period(self) -> float:
        """A twentieth of a lease: silence is noticed that much late at most, and a large fleet is not walked often; but
        a second at most, since deadlines of calls and repairs are looked at too."""
        return min(self._settings.lease / 20, 1.0)

    def _silence(self, peer: Peer) -> float:
        """Seconds without a word after which a child counts as silent: its lease by the slowest clock allowed."""
        return peer.lease * (1 + self._settings.clock_error)

    def _count_anew(self, now: float) -> None:
        for peer in self.peers.values():
            peer.counted = now

    # -- sending

    def _send_what_lacks(self, child: str, peer: Peer, applied: Mark, now: float) -> None:
        target = peer.assignment.mark
        if peer.assigned is None or peer.asks:
            self._send_assignment(child, peer, applied.digest, now)
        elif applied != target and now - peer.awaited >= REPAIR_AFTER:
            # However often it changes meanwhile: what builds on a message that was lost leads nowhere.
            self._send_assignment(child, peer, applied.digest, now)
        elif peer.assigned != target:
            # Build on what was sent last: the child has it, or will say that it has not.
            awaited = now if applied == peer.assigned else peer.awaited
            self._send_assignment(child, peer, peer.assigned.digest, awaited)

    def _send_assignment(self, child: str, peer: Peer, base: str, awaited: float) -> None:
        for step in peer.assignment.steps_from(base):
            self._send(child, peer, ASSIGN, Assign(step, self._tenure, self._revision()))
        peer.assigned, peer.awaited, peer.asks = peer.assignment.mark, awaited, False

    def _send_plan(self, child: str, peer: Peer, now: float) -> None:
        target, held = peer.plan.digest, peer.plan_held
        if held is None or target == held == (peer.plan_sent or held):
            return
        # It says with its next beat what it holds now.
        patience = REPAIR_AFTER + 1.15 * peer.period
        if not peer.plan_sent or (held != target and now - peer.plan_awaited >= patience):
            base, peer.plan_awaited = held, now
        elif peer.plan_sent != target:
            base = peer.plan_sent
            if held == base:
                peer.plan_awaited = now
        else:
            return
        for step in peer.plan.steps_from(base):
            self._send(child, peer, ASSIGN, Assign(step, self._tenure, self._revision()))
        peer.plan_sent = target

    def _send(
        self,
        child: str,
        peer: Peer,
        kind: str,
        payload: msgspec.Struct,
        *,
        session: str | None = None,
        via: int | None = None,
    ) -> None:
        peer.sequence += 1
        self.tally.sent[kind] += 1
        header = Header(PROTOCOL, peer.session if session is None else session, peer.sequence, self._store, self._term)
        data = seal(peer.key, topic_of(self._parent, child, "down", kind), header, payload)
        self.effects.append(Send(child, kind, data, QOS[kind], peer.via if via is None else via))
