"""The child's end of the link: a state machine without I/O or clock.

Feed it transport events (`connected`, `disconnected`, `receive`) and time (`tick`); take what it wants done from
`effects` and what it has learnt from `events`.

    closed --open--> opening --connected/hello--> greeting --welcome/report--> reporting --assign--> settled
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from mangrove.link.child_events import (
    Asked,
    Assigned,
    Close,
    Effect,
    Event,
    Open,
    Planned,
    Send,
    TurnedAway,
    Welcomed,
)
from mangrove.link.envelope import BadMessage, Header, Lanes, seal, topic_of, unseal
from mangrove.link.messages import (
    ASSIGNMENT,
    BEAT,
    CAPACITY,
    DOWN_KINDS,
    GONE,
    HELLO,
    PLAN,
    PROTOCOL,
    QOS,
    REPLY,
    REPORT,
    Ack,
    Assign,
    Beat,
    Call,
    Gone,
    Hello,
    Mark,
    Reply,
    Report,
    Sync,
    Welcome,
)
from mangrove.link.round_trip import RoundTrip
from mangrove.link.sync import Replica, Source
from mangrove.link.tally import Tally
from mangrove.model.attempt import Attempt, Usage
from mangrove.model.child import Capacity

#: No welcome within this time means that this broker does not lead to the parent (design: 5 s).
WELCOME_TIMEOUT = 5.0
#: A hello is said again on the same connection after this time, then after twice as long, and so on: it was lost, or
#: came before the parent had subscribed. Longer than a round trip over a slow uplink; with a short lease sooner.
HELLO_AGAIN = 1.0
#: A TCP connection to a broker that takes longer is not usable for beats anyway.
OPEN_TIMEOUT = 10.0
#: How long to wait before sending state again that the other side does not confirm: longer than a round trip over a
#: slow uplink, shorter than the shortest lease in common use.
REPAIR_AFTER = 2.0
#: Between attempts to connect, doubling from the first to the last, each with up to 30 % of jitter.
RETRY_FIRST, RETRY_LAST = 0.5, 15.0
#: No pause is longer than this part of the lease: a parent that comes back after hours allows its children one lease to
#: come back too, and whatever runs on those who do not is started elsewhere.
RETRY_OF_LEASE = 0.25
#: A parent that said no is asked again this often: an operator may have changed its mind.
REFUSED_RETRY = 30.0
#: A child that the parent never told a lease uses this one (design: default 10 s).
DEFAULT_LEASE = 10.0

State = Literal["closed", "opening", "greeting", "reporting", "settled"]


@dataclass(frozen=True, slots=True)
class ChildIdentity:
    """Who this child is to its parent. incarnation: raised and synced at each start; boot: id of the machine's boot."""

    parent: str
    child: str
    key: bytes
    name: str
    software: str
    incarnation: int
    boot: str

    def __repr__(self) -> str:
        return f"ChildIdentity({self.name!r}, child={self.child!r}, parent={self.parent!r})"


class ChildLink:
    """One child's link to its parent.

    store, term, tenure, revision: of the parent last obeyed. assignment: what is held. All of it as loaded from disk.
    channels: what is mirrored upwards, `status` among them. capacity: what can be allocated now. plan: the mirror of
    what the network has to know, of who takes part in one.
    """

    def __init__(
        self,
        identity: ChildIdentity,
        brokers: int,
        *,
        new_session: Callable[[], str],
        rng: random.Random,
        assignment: Replica[Attempt],
        channels: Sequence[Source],
        capacity: Callable[[], Capacity],
        plan: Replica[Any] | None = None,
        store: str = "",
        term: int = 0,
        tenure: str = "",
        revision: int = 0,
    ) -> None:
        self.identity = identity
        self.effects: list[Effect] = []
        self.events: list[Event] = []
        self.dropped = 0
        self.newest_drop = ""
        self.tally = Tally()
        self.state: State = "closed"
        self.store = store
        self.term = term
        self.tenure = tenure
        self.revision = revision
        self.lease = DEFAULT_LEASE
        self.lease_until = 0.0  # until then the parent does not replace what runs here
        #: The newest moment of which it is known that the root, or whoever is at the top, heard of this child since.
        self.vouched = -math.inf
        self.usage_period = 5.0
        self.turned_away = ""
        self._assignment = assignment
        self._capacity = capacity
        self._plan = plan
        self._told_capacity = Source(CAPACITY)
        # Capacity first: a refusal is to be read with the room that it was refused by.
        self._channels = {source.channel: source for source in (self._told_capacity, *channels)}
        self._brokers = brokers
        self._broker = 0
        self._new_session = new_session
        self._rng = rng
        self._session = ""
        self.welcomed_in = 0  # the parent's term when it accepted this session
        self._connect = 0
        self._sequence = 0
        self._lanes = Lanes()
        self._deadline = 0.0
        self._patience = 0.0
        self._greeted = 0.0  # when the first hello of this session was sent
        self._greet_again = 0.0
        self._retry = RETRY_FIRST
        self._beat_period = 2.0
        self._hurry = math.inf  # no less often than that, for what is held
        self._next_beat = 0.0
        self._beats: dict[int, float] = {}
        self.round_trip = RoundTrip()
        self._sent: dict[str, tuple[str, float]] = {}  # channel → (digest that the newest step leads to, when)
        self._lags: dict[str, tuple[str, float]] = {}  # channel → (digest at which the parent stands, since when)
        self._sent_applied: Mark | None = None

    # -- what the transport says

    def connected(self, now: float) -> None:
        """The transport is connected and subscribed."""
        if self.state != "opening":
            return
        self.state = "greeting"
        self._greeted = now
        self._deadline = now + WELCOME_TIMEOUT
        self._greet(now)

    def _greet(self, now: float) -> None:
        """Say hello, again if no welcome comes soon. The lease counts from the first, whichever was heard."""
        pause = max(now - self._greeted, min(HELLO_AGAIN, RETRY_OF_LEASE * self.lease))
        self._greet_again = now + pause
        who = self.identity
        hello = Hello(
            name=who.name,
            incarnation=who.incarnation,
            connect=self._connect,
            boot=who.boot,
            software=who.software,
            store=self.store,
            term=self.term,
            tenure=self.tenure,
            revision=self.revision,
            holds=self._assignment.mark,
        )
        self._send(HELLO, hello)

    def disconnected(self, now: float) -> None:
        """The transport's connection broke or could not be made."""
        if self.state != "closed":
            self._close(now)

    def receive(self, kind: str, payload: bytes, now: float) -> None:
        """A message came; whatever it is, nothing is raised."""
        if self.state in ("closed", "opening"):
            return
        try:
            self._receive(kind, payload, now)
        except (BadMessage, msgspec.DecodeError, msgspec.ValidationError) as error:
            self.dropped += 1
            self.newest_drop = f"{kind}: {error}"
            self.tally.drop(str(error))

    def _receive(self, kind: str, payload: bytes, now: float) -> None:
        if kind not in DOWN_KINDS:
            raise BadMessage("a kind that does not come down")
        topic = topic_of(self.identity.parent, self.identity.child, "down", kind)
        header, message = unseal(self.identity.key, topic, payload)
        self.tally.heard[kind] += 1
        if header.session != self._session:
            raise BadMessage("of another session")
        if not self._lanes.admit(kind, header):
            raise BadMessage("old or repeated")
        if not self._obey(header, now):
            return
        if self.state in ("reporting", "settled") and header.term != self.welcomed_in:
            # The parent has started anew. What it knows of this session, it does not know from us: an old hello that
            # somebody sent again may have told it that we hold less than we do.
            self._begin_anew(now)
        elif isinstance(message, Welcome):
            self._welcomed(message, header, now)
        elif isinstance(message, Ack):
            self._acknowledged(message, now)
        elif isinstance(message, Assign):
            self._assigned(message, header)
        elif isinstance(message, Call) and self.state in ("reporting", "settled"):
            self.events.append(Asked(message))

    def _obey(self, header: Header, now: float) -> bool:
        """Whether the speaker's store may still tell this child what to do."""
        if self.store and header.store != self.store:
            self._turn_away(
                "the parent answers from another store than the one this child belongs to "
                f"({header.store} instead of {self.store}): restore the old one, or join anew",
                now,
            )
            return False
        if header.term < self.term:
            raise BadMessage("of a term that is over")
        return True

    def _turn_away(self, reason: str, now: float) -> None:
        self.turned_away = reason
        self.events.append(TurnedAway(reason))
        self._close(now, retry=REFUSED_RETRY)

    # -- the conversation

    def _welcomed(self, message: Welcome, header: Header, now: float) -> None:
        if self.state != "greeting":
            return
        if not message.accepted:
            self._turn_away(message.reason, now)
            return
        self.turned_away = ""
        self.welcomed_in = header.term
        self.lease = message.lease
        self._beat_period = message.beat
        self.usage_period = message.usage
        self.state = "reporting"
        self._retry = RETRY_FIRST
        self._beats.clear()
        self._next_beat = now
        self.lease_until = self._greeted + self.lease
        self.vouched = max(self.vouched, self._greeted - message.behind)
        self._patience = now + self.lease
        self.events.append(Welcomed(message))
        self._report_all(now)

    def _acknowledged(self, message: Ack, now: float) -> None:
        if message.unknown:
            if self.state == "greeting":  # the hello came late: the parent had given this session up, or started anew
                self._close(now)
            else:
                self._begin_anew(now)
            return
        sent = self._beats.get(message.beat)
        if sent is None or self.state not in ("reporting", "settled"):
            return
        if message.period > self._beat_period:
            self.lease, self._beat_period = max(self.lease, message.lease), message.period
        # The lease runs from the moment this beat was sent, which is before the parent heard it.
        self.lease_until = max(self.lease_until, sent + self.lease)
        self.vouched = max(self.vouched, sent - message.behind)
        self._patience = now + self.lease
        self.round_trip.note(now - sent)
        self._beats = {sequence: at for sequence, at in self._beats.items() if sequence > message.beat}
        if self.state == "settled":
            self._repair(message.held, sent, now)

    def _repair(self, held: Mapping[str, str], asked: float, now: float) -> None:
        """Send again what the parent, when it heard the beat sent at `asked`, should have had and had not."""
        steps: list[Sync] = []
        for name, source in self._channels.items():
            digest = held.get(name, "")
            if digest == source.digest:
                self._lags.pop(name, None)
                continue
            _, when = self._sent.get(name, ("", 0.0))
            known, since = self._lags.get(name, ("", asked))
            self._lags[name] = (digest, since if digest == known else asked)
            # It stands still however often this side changes: what builds on a message that was lost leads nowhere.
            stands = digest == known and asked - since >= REPAIR_AFTER
            if stands or (asked > when and now - when >= REPAIR_AFTER):
                steps += source.steps_from(digest)
                self._sent[name] = (source.digest, now)
                del self._lags[name]
        self._report(steps)

    def _assigned(self, message: Assign, header: Header) -> None:
        if self.state not in ("reporting", "settled"):
            return
        if message.step.channel == PLAN and self._plan is not None:
            changed = self._plan.receive(message.step)
            if changed is not None:
                self.events.append(Planned(changed))
        if message.step.channel != ASSIGNMENT:
            return
        applied = self._assignment.receive(message.step)
        if applied is None:
            return
        self.store, self.term = header.store, header.term
        self.tenure, self.revision = message.tenure, message.revision
        first = self.state == "reporting"
        self.state = "settled"
        self.events.append(Assigned(applied, first))

    # -- time

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.state == "closed":
            if now >= self._deadline:
                self._open(now)
        elif self.state in ("opening", "greeting"):
            if now >= self._deadline:
                self._close(now)
            elif self.state == "greeting" and now >= self._greet_again:
                self._greet(now)
        else:
            if now >= self._patience:
                # Connected, but the parent does not hear us or we do not hear it: try another way.
                self._close(now)
                return
            if self.state == "reporting" and now >= self._deadline:
                self._report_all(now)
            if self.state == "settled":
                self._report_changes(now)
            if now >= self._next_beat:
                self._beat(now)

    def next_wake(self) -> float:
        """When `tick` wants to be called at the latest."""
        if self.state in ("closed", "opening"):
            return self._deadline
        if self.state == "greeting":
            return min(self._deadline, self._greet_again)
        wake = min(self._next_beat, self._patience)
        return min(wake, self._deadline) if self.state == "reporting" else wake

    def beat_within(self, seconds: float, now: float) -> None:
        """Let no two beats be further apart, however slowly the parent would have them; infinite: as it likes."""
        self._hurry = seconds
        self._next_beat = min(self._next_beat, now + seconds)

    def send_usage(self, usage: dict[str, Usage]) -> None:
        """Report what was measured; lost with the connection, since the next one says more."""
        if self.state == "settled" and usage:
            self._send(REPORT, Report(self._assignment.mark, self._digests(), usage=usage))

    @property
    def settled_session(self) -> str:
        """Id of the session in which the parent has said what shall run; empty while there is none."""
        return self._session if self.state == "settled" else ""

    def reply(self, reply: Reply) -> None:
        """Answer a call of this session."""
        if self.state in ("reporting", "settled"):
            self._send(REPLY, reply)

    def rejoin(self, now: float) -> None:
        """Begin a new session, for example because the brokers changed."""
        self._close(now, retry=0.0)

    def _begin_anew(self, now: float) -> None:
        """A new connection, because the last will names the session. Jitter keeps a fleet from coming all at once."""
        self._close(now, retry=0.5 * self._rng.random())

    def _open(self, now: float) -> None:
        self.state = "opening"
        self._session = self._new_session()
        self._connect += 1
        self._sequence = 0
        self._lanes = Lanes()
        self._sent = {}
        self._lags = {}
        self._sent_applied = None
        self._deadline = now + OPEN_TIMEOUT
        self.effects.append(Open(self._broker, self._sealed(GONE, Gone())))

    def _close(self, now: float, retry: float | None = None) -> None:
        self.effects.append(Close())
        self.state = "closed"
        if retry is None:
            pause = min(self._retry, RETRY_OF_LEASE * self.lease)
            retry = pause * (1 + 0.3 * self._rng.random())
            self._retry = min(self._retry * 2, RETRY_LAST)
            self._broker = (self._broker + 1) % self._brokers
        self._deadline = now + retry

    def _beat(self, now: float) -> None:
        self._send(BEAT, Beat(self._assignment.mark, self._digests()))
        self._beats[self._sequence] = now
        if len(self._beats) > 64:  # more than a lease's worth at any beat period
            del self._beats[next(iter(self._beats))]
        self._next_beat = now + min(self._beat_period, self._hurry) * (0.85 + 0.3 * self._rng.random())

    def _report_all(self, now: float) -> None:
        """The complete report that begins a session, in as many messages as it takes; repeated until an assign comes.

        The first `assign` waits for it, so it is on its way before anything else.
        """
        self._told_capacity.change({"": self._capacity()})
        steps = [step for source in self._channels.values() for step in source.complete()]
        for source in self._channels.values():
            self._sent[source.channel] = (source.digest, now)
        self._report(steps)
        self._deadline = now + REPAIR_AFTER

    def _report_changes(self, now: float) -> None:
        self._told_capacity.change({"": self._capacity()})
        steps: list[Sync] = []
        for name, source in self._channels.items():
            digest, _ = self._sent.get(name, ("", 0.0))
            if digest != source.digest:
                steps += source.steps_from(digest)
                self._sent[name] = (source.digest, now)
        self._report(steps)

    def _report(self, steps: list[Sync]) -> None:
        """One message a step, so that none outgrows the largest payload; an empty one when only `applied` is news."""
        applied, sent = self._assignment.mark, self._digests()
        for step in steps:
            self._send(REPORT, Report(applied, sent, (step,)))
        if not steps and self.state == "settled" and applied != self._sent_applied:
            self._send(REPORT, Report(applied, sent))
        self._sent_applied = applied

    def _digests(self) -> dict[str, str]:
        digests = {name: source.digest for name, source in self._channels.items()}
        if self._plan is not None:
            digests[PLAN] = self._plan.digest
        return digests

    def _send(self, kind: str, payload: msgspec.Struct) -> None:
        self.tally.sent[kind] += 1
        self.effects.append(Send(kind, self._sealed(kind, payload), QOS[kind]))

    def _sealed(self, kind: str, payload: msgspec.Struct) -> bytes:
        self._sequence += 1
        topic = topic_of(self.identity.parent, self.identity.child, "up", kind)
        return seal(self.identity.key, topic, Header(PROTOCOL, self._session, self._sequence), payload)
