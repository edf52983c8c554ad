"""A parent whose store was brought back from a copy adopts what its children run and the store does not know.

An old copy lacks what was decided after it was made. For a set time nothing of that is stopped. What a child lists and
the store does not know is asked for by `call`, and until the answer is there that child is sent no assignment. What is
an instance that the store wants, given away later than the store knows, becomes that instance's attempt. All else is
kept, assigned to its child as it is, and listed until an operator, or the end of the time, says what becomes of it.
What is exclusive is kept only while it runs, since its time may be over and another have its place; and of two that
run, the one that was given away later.

Until the children that the store knows had one lease to report, nothing is decided: an instance that seems to be
nowhere may be about to be adopted.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec

from mangrove.base.clock import Clock
from mangrove.link import parent_events as link
from mangrove.link.messages import STATUS, Reply
from mangrove.link.parent import ParentLink
from mangrove.model.attempt import Attempt
from mangrove.model.documents import ADOPTED, SPECIFICATIONS, Adopted
from mangrove.model.specification import Specification
from mangrove.placement.fleet import Fleet
from mangrove.reconcile.view import stands
from mangrove.roles.child import HELD
from mangrove.roles.chronicle import Ask
from mangrove.roles.journal import Journal
from mangrove.roles.ledger import Ledger
from mangrove.roles.slots import Slots
from mangrove.store.interface import Delete, Put, Store

log = logging.getLogger(__name__)

#: Seconds for an answer, of 100 kB over 1 Mbit/s, and until a child that did not give one is asked again.
_TIMEOUT, _RETRY = 5.0, 1.0
#: Seconds for which nothing is decided for want of an answer: ten questions that were lost.
PATIENCE = 60.0
#: Seconds after the end of adopting for which what is exclusive is not believed to have stopped without its time: a
#: child that comes back only now may have some left. As long as the longest lease, beyond which nobody waits for one.
_WARY = 3600.0
_RIVAL = "it is exclusive, and another attempt has its place"
#: Ids in one question.
_ASKED = 200


class Found(msgspec.Struct, frozen=True):
    """A child's answer: of the attempts asked for, those that it was assigned, and what they are to run."""

    attempts: tuple[Attempt, ...] = ()
    specifications: dict[str, Specification] = {}


class Adopting:
    """until: wall-clock seconds at which it ends. on_adopted: called with a child and an attempt of it that became an
    instance's."""

    def __init__(
        self,
        store: Store,
        parent_link: ParentLink,
        fleet: Fleet,
        slots: Slots,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        *,
        until: float,
        ask: Ask,
        name: Callable[[str], str],
        on_adopted: Callable[[str, str], None],
    ) -> None:
        self._link = parent_link
        self._fleet = fleet
        self._slots = slots
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._until = until
        self._ask = ask
        self._name = name
        self._on_adopted = on_adopted
        self._known: dict[str, Adopted] = {}
        self._dropped: set[str] = set()  # attempts that are being stopped
        self._seen = (0, -1)  # how many are known, and the state of what is wanted, when they were last compared
        self._wanting: dict[str, list[str]] = {}  # child → attempts that it is yet to tell of
        self._due: dict[str, float] = {}  # child → when to ask it
        self._unreported: set[str] = set()  # children that were welcomed, and have not yet said what they run
        #: Since when all who were heard have told what they run (`Clock.now`): what others run stops, if exclusive.
        self._known_since = clock.now() if self._wary else -math.inf
        if self._wary:
            slots.doubt()
        for stored in store.load(ADOPTED):
            self._take(stored.read(Adopted))

    @property
    def known(self) -> Mapping[str, Adopted]:
        """What is kept, by attempt."""
        return self._known

    @property
    def active(self) -> bool:
        """Whether the time has not come to its end."""
        return self._until > 0.0 and self._clock.wall() < self._until

    @property
    def _wary(self) -> bool:
        """Whether something exclusive that the store does not know may still run, on who has not been heard since."""
        return self._until > 0.0 and self._clock.wall() < self._until + _WARY

    @property
    def asking(self) -> bool:
        """Whether a child has not yet said what it runs."""
        return bool(self._wanting)

    @property
    def unknown(self) -> float:
        """Seconds for which nobody was heard who may run what the store does not know of; infinite unless it was
        brought back."""
        return self._clock.now() - self._known_since

    def heed(self, events: Iterable[link.Event]) -> None:
        """The link has learnt something. Call it before anything is sent in answer."""
        for event in events:
            if isinstance(event, link.Greeted):
                self._unreported.add(event.child)
            elif isinstance(event, link.Silent):
                self._unreported.discard(event.child)
            elif isinstance(event, link.Reported) and event.first and event.channel == STATUS:
                self._unreported.discard(event.child)
                self._slots.reported(event.child)
                if self.active:
                    self._look(event.child)
                else:
                    self._link.withhold(event.child, False)
        self._unreported &= self._link.peers.keys()
        if self._wary and (self._unreported or self._wanting):
            self._known_since = self._clock.now()

    def _look(self, child: str) -> None:
        statuses = self._link.peers[child].status.entries
        unknown = [
            id
            for id, status in sorted(statuses.items())
            if not status.ended and self._slots.slot_of(id) is None and id not in self._known
        ]
        if unknown:
            self._wanting[child] = unknown
            self._due[child] = self._clock.now()
        else:
            self._done(child)
        self._link.withhold(child, bool(unknown))

    def changed(self, id: str, adopted: Adopted | None) -> None:
        """An operator has written: what is to be dropped is assigned no more."""
        before = self._known.get(id)
        if adopted is None or before is None or not adopted.dropped or before.dropped:
            return
        self._drop(adopted, "an operator dropped it")

    def ask(self) -> None:
        """Ask who is due."""
        now = self._clock.now()
        for child in [child for child, due in self._due.items() if due <= now]:
            del self._due[child]
            params: dict[str, object] = {"attempts": self._wanting[child][:_ASKED]}
            self._ask(child, HELD, params, _TIMEOUT, partial(self._replied, child))

    def settle(self) -> None:
        """Take for instances what is wanted as such, and let go what is over."""
        for id in [id for id in self._dropped if self._link.has_ended(self._known[id].child, id)]:
            self._fleet.release(id)
            self._forget(id)
        over, seen = not self.active, (len(self._known), self._slots.wishes)
        if not over and seen == self._seen:
            return
        newest: dict[tuple[str, int], tuple[int, str]] = {}
        for adopted in self._known.values():
            if adopted.exclusive and not adopted.dropped:
                newest[_slot(adopted)] = max(newest.get(_slot(adopted), (0, "")), _age(adopted))
        for id, adopted in list(self._known.items()):
            if adopted.dropped and not adopted.exclusive:
                continue
            became = self._slots.adopt(
                adopted.child,
                adopted.attempt,
                adopted.resources,
                exclusive=adopted.exclusive,
                stands=not adopted.dropped,
            )
            if became:
                self._forget(id)
                self._on_adopted(adopted.child, id)
                if became == "leaving" and not adopted.dropped:
                    self._tell_dropped(adopted, _RIVAL)
            elif adopted.dropped:
                continue
            elif _age(adopted) < newest.get(_slot(adopted), (0, "")):
                self._drop(msgspec.structs.replace(adopted, dropped=True), _RIVAL)
            elif over or adopted.child not in self._link.peers:
                self._drop(msgspec.structs.replace(adopted, dropped=True), "nobody kept it in time")
        self._seen = (len(self._known), self._slots.wishes)

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest (`Clock.now` seconds)."""
        wake = min(self._due.values(), default=float("inf"))
        if len(self._known) > len(self._dropped) and self.active:
            wake = min(wake, self._clock.now() + self._until - self._clock.wall())
        return wake

    def _replied(self, child: str, reply: Reply) -> None:
        wanting = self._wanting.get(child)
        if wanting is None:
            return
        peer = self._link.peers.get(child)
        if peer is None or peer.state != "live":
            self._done(child)  # it comes with a new report
            return
        try:
            found = None if reply.error else msgspec.convert(reply.result, Found)
        except msgspec.ValidationError as error:
            log.warning("what %s says that it was assigned cannot be read: %s", child, error)
            found = None
        if found is None:
            self._due[child] = self._clock.now() + _RETRY
            return
        told = {attempt.id: attempt for attempt in found.attempts}
        for id in wanting:
            specification = found.specifications.get(told[id].specification) if id in told else None
            if specification is not None and specification.digest == told[id].specification:
                self._adopt(child, told[id], specification)
        # What a child was asked for and does not tell of is in no assignment that it holds: it stops that by itself.
        rest = [id for id in wanting if id not in told] if told else wanting[_ASKED:]
        if rest:
            self._wanting[child] = rest
            self._due[child] = self._clock.now()
        else:
            self._done(child)
            self._link.withhold(child, False)

    def _drop(self, adopted: Adopted, why: str) -> None:
        self._write(adopted)
        self._dropped.add(adopted.attempt.id)
        if adopted.child in self._link.peers:
            self._link.assign(adopted.child, {}, frozenset({adopted.attempt.id}))
        self._tell_dropped(adopted, why)

    def _tell_dropped(self, adopted: Adopted, why: str) -> None:
        text = f"{adopted.name} on {adopted.child_name} is stopped: {why}"
        self._journal.tell("dropped", _subject(adopted), text)

    def _adopt(self, child: str, attempt: Attempt, specification: Specification) -> None:
        self._ledger.write(Put(SPECIFICATIONS, specification.digest, msgspec.to_builtins(specification)))
        parts = specification.name.split(".")
        short = f"{parts[0]}.{parts[2]}" if len(parts) == 4 else specification.name
        name = f"{short}.{attempt.number}"
        wall = self._clock.wall()
        exclusive = specification.policy.exclusive
        idle = exclusive and not stands(self._link.peers[child].status.entries.get(attempt.id))
        adopted = Adopted(attempt, child, self._name(child), name, specification.resources, wall, idle, exclusive)
        self._take(adopted)
        self._write(adopted)
        self._seen = (0, -1)
        if idle:
            self._tell_dropped(adopted, "it is exclusive, and does not run")
            return
        text = f"{name} runs on {adopted.child_name}, which this store did not know: it is adopted"
        self._journal.tell("adopted", _subject(adopted), text)

    def _take(self, adopted: Adopted) -> None:
        id = adopted.attempt.id
        self._known[id] = adopted
        if adopted.dropped:
            self._dropped.add(id)
        self._fleet.reserve(id, adopted.child, adopted.resources)
        if not adopted.dropped and self._link.expect(adopted.child, self._clock.now()) is not None:
            self._link.assign(adopted.child, {id: adopted.attempt}, frozenset())

    def _write(self, adopted: Adopted) -> None:
        self._known[adopted.attempt.id] = adopted
        self._ledger.write(Put(ADOPTED, adopted.attempt.id, msgspec.to_builtins(adopted)))

    def _forget(self, id: str) -> None:
        del self._known[id]
        self._dropped.discard(id)
        self._ledger.write(Delete(ADOPTED, id))

    def _done(self, child: str) -> None:
        self._wanting.pop(child, None)
        self._due.pop(child, None)


def _subject(adopted: Adopted) -> str:
    return f"{adopted.attempt.service}.{adopted.attempt.number}"


def _slot(adopted: Adopted) -> tuple[str, int]:
    return adopted.attempt.service, adopted.attempt.number


def _age(adopted: Adopted) -> tuple[int, str]:
    """Of two attempts of a slot, the later one's is greater; of two copies' that are as late, one's, whichever."""
    return adopted.attempt.epoch, adopted.attempt.id
