"""What happened in the clusters, taken over into the root's events: also what happened while the root was away.

A cluster keeps events of its own. The root asks a live cluster, by `call`, for those behind the newest that it has of
it, soon after the cluster reported anything and now and then besides. A page of events and the place up to which they
were read are one batch, so an event is taken over once, whoever is killed when. Ids are the root's own, in the order in
which it learnt of them; the time is the cluster's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.ids import is_id
from mangrove.link import parent_events as link
from mangrove.link.messages import Call, Reply
from mangrove.model.documents import EVENTS, EVENTS_READ, Event
from mangrove.model.events import KINDS
from mangrove.roles.journal import Journal
from mangrove.store.interface import Delete, Lease, Operation, Put, Store, StoreUnavailable

log = logging.getLogger(__name__)

#: The call by which a cluster is asked. params: `after`, an event's id. result: see `Told`.
METHOD = "events"
#: Events in one answer: some 30 kB, well below the largest payload.
PAGE = 100
#: Characters of an event's text: reasons are bounded to 400, names to fewer.
_TEXT = 1000
#: Seconds between two questions to one cluster: what happens in a burst is one answer, and a root with a thousand busy
#: clusters asks as often as it hears beats.
_PAUSE = 2.0
#: Seconds after which a cluster is asked though it reported nothing: not every event changes a status.
_NOW_AND_THEN = 60.0
#: Seconds for an answer, over a slow link.
_TIMEOUT = 10.0

#: Asks a child: method, params, seconds, and who takes the reply.
Ask = Callable[[str, str, dict[str, object], float, Callable[[Reply], None]], None]


class Told(msgspec.Struct, frozen=True):
    """A cluster's answer. more: whether there are more behind these."""

    events: tuple[Event, ...] = ()
    more: bool = False


def answer(store: Store, call: Call) -> Reply:
    """A cluster's answer to `METHOD`: its events behind `after`, the oldest first."""
    try:
        found = store.page(EVENTS, after=str(call.params.get("after", "")), limit=PAGE)
    except StoreUnavailable as error:
        return Reply(call.id, error=str(error), again=True)
    events = tuple(stored.read(Event) for stored in found)
    told = tuple(msgspec.structs.replace(event, text=event.text[:_TEXT]) for event in events)
    return Reply(call.id, msgspec.to_builtins(Told(told, len(found) == PAGE)))


class Chronicle:
    """The root's side. name: what people call a child. is_its: whether an event's subject is its to tell of."""

    def __init__(
        self,
        store: Store,
        lease: Lease,
        journal: Journal,
        clock: Clock,
        *,
        ask: Ask,
        name: Callable[[str], str],
        is_its: Callable[[str, Event], bool],
    ) -> None:
        self._store = store
        self._lease = lease
        self._journal = journal
        self._clock = clock
        self._ask = ask
        self._name = name
        self._is_its = is_its
        self._read = {stored.id: str(stored.document["after"]) for stored in store.load(EVENTS_READ)}
        self._due: dict[str, float] = {}  # child → when to ask it
        self._asked: dict[str, float] = {}  # child → when it was asked last
        self._asking: set[str] = set()
        self._pages: list[tuple[str, Told]] = []
        self._forgotten: set[str] = set()  # removed, with a place in the store

    def heed(self, events: Iterable[link.Event]) -> None:
        """The link has learnt something: who reported is asked soon."""
        now = self._clock.now()
        for event in events:
            if isinstance(event, link.Reported):
                soon = max(now, self._asked.get(event.child, now - _PAUSE) + _PAUSE)
                self._due[event.child] = min(self._due.get(event.child, soon), soon)

    def forget(self, child: str) -> None:
        """A cluster was removed: nothing of it is read any more. The place goes with the next `save`."""
        for known in (self._due, self._asked):
            known.pop(child, None)
        self._asking.discard(child)
        self._pages = [(whose, told) for whose, told in self._pages if whose != child]
        if child in self._read:
            self._forgotten.add(child)

    def work(self) -> None:
        """Ask whoever is due."""
        now = self._clock.now()
        for child in [child for child, due in self._due.items() if due <= now and child not in self._asking]:
            del self._due[child]
            self._asked[child] = now
            self._asking.add(child)
            params: dict[str, object] = {"after": self._read.get(child, "")}
            self._ask(child, METHOD, params, _TIMEOUT, partial(self._replied, child))

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest (`Clock.now` seconds)."""
        return min((due for child, due in self._due.items() if child not in self._asking), default=float("inf"))

    def _replied(self, child: str, reply: Reply) -> None:
        if child not in self._asking:
            return  # it was removed since
        self._asking.discard(child)
        if reply.error:
            return  # it is asked again when it reports, as it does when it is connected again
        try:
            told = msgspec.convert(reply.result, Told)
        except msgspec.ValidationError as error:
            log.warning("what %s tells of its events cannot be read: %s", child, error)
            return
        self._pages.append((child, told))
        self._due.setdefault(child, self._asked[child] + (_PAUSE if told.more else _NOW_AND_THEN))

    def save(self) -> None:
        """Keep what was told, each page in one batch. Call it when no event waits to be saved: ids are in order.

        Raises StoreUnavailable, and it is asked for again; StaleLease.
        """
        for child in sorted(self._forgotten):
            self._store.apply([Delete(EVENTS_READ, child)], lease=self._lease)
            self._read.pop(child, None)
            self._forgotten.discard(child)
        pages, self._pages = self._pages, []
        for child, told in pages:
            fresh = [event for event in told.events if is_id(event.id) and event.id > self._read.get(child, "")]
            if not fresh:
                continue
            operations: list[Operation] = [
                self._journal.retold(msgspec.structs.replace(event, text=event.text[:_TEXT], cluster=self._name(child)))
                for event in fresh
                if self._is_meant(child, event)
            ]
            newest = max(event.id for event in fresh)
            operations.append(Put(EVENTS_READ, child, {"after": newest}))
            self._store.apply(operations, lease=self._lease)
            self._read[child] = newest

    def _is_meant(self, child: str, event: Event) -> bool:
        kind = KINDS.get(event.kind)
        return kind is not None and kind.subject in ("instance", "node") and self._is_its(child, event)
