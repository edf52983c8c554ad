"""The root's controller as its API sees it: an `api.fleet.Fleet` on a running Parent."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.errors import Conflict, MangroveError, Unavailable
from mangrove.base.ids import new_id
from mangrove.base.log import carrying, request_id
from mangrove.link.messages import Call, Reply
from mangrove.link.streams import WINDOW
from mangrove.model.attempt import Usage
from mangrove.model.documents import Refusal
from mangrove.model.specification import Specification
from mangrove.placement.engine import Judgement, judge
from mangrove.placement.fleet import Fleet as PlacementFleet
from mangrove.placement.trial import Trial, try_out
from mangrove.roles.bulk import ParentBulk
from mangrove.roles.loop import Loop
from mangrove.roles.parent import Parent
from mangrove.roles.rebalancing import Moved
from mangrove.roles.streams import Source
from mangrove.roles.system_services import Without
from root_orchestrator.api.fleet import Apology

#: Seconds within which a child says whether there will be a stream: a round trip over a slow link at each level. Less
#: than clients wait for an answer, so that they are told.
_ACCEPTED_WITHIN = 6.0

#: Seconds within which the loop comes to a question: a few rounds of a large burst.
_JUDGED_WITHIN = 10.0

_BUSY = "the root is busy; try again later"

_Answer = TypeVar("_Answer")


def measured(parent: Parent) -> Iterator[tuple[str, Sequence[Usage]]]:
    """What was measured of instances (by slot), clusters and nodes: oldest first. May be called from any thread."""
    for id, usages in list(parent.usage.items()):
        slot = parent.slot_of(id)
        if slot is not None or id in parent.children:
            yield slot or id, list(usages)
    now = parent.clock.wall()
    for peer in list(parent.link.peers.values()):
        for node in () if peer.silent else list(peer.nodes.entries.values()):
            if node.state == "live":
                # What a cluster says of a node stands until it says otherwise.
                yield node.id, [msgspec.structs.replace(node.usage, measured=now)]


class LiveFleet:
    """Reads the loop's memory from other threads: single look-ups and copies, which the interpreter does as a whole."""

    def __init__(self, parent: Parent, loop: Loop, clock: Clock, bulk: ParentBulk, bulk_loop: Loop) -> None:
        """bulk, bulk_loop: the parent's second connection, for streams, and what drives it."""
        self._parent = parent
        self._loop = loop
        self._clock = clock
        self._bulk = bulk
        self._bulk_loop = bulk_loop

    def usage(self, ids: Iterable[str]) -> Mapping[str, Sequence[Usage]]:
        found = ((id, self._parent.usage.get(id)) for id in ids)
        return {id: list(measured) for id, measured in found if measured}

    def soonest_stop(self) -> float:
        return self._parent.link.soonest_stop

    def ages(self) -> Mapping[str, float]:
        now = self._clock.now()
        return {child: max(0.0, now - peer.heard) for child, peer in list(self._parent.link.peers.items())}

    def judge(self, specification: Specification, refused: Mapping[str, Refusal]) -> Judgement:
        return self._of_fleet(lambda fleet: judge(fleet, specification, refused=refused))

    def without(self, service: str) -> Sequence[Without]:
        return self._of_fleet(lambda _: self._parent.without(service))

    def try_out(self, wanted: Sequence[tuple[Specification, int]]) -> Sequence[Trial]:
        return try_out(self._of_fleet(PlacementFleet.snapshot), wanted)

    def rebalance(self, dry_run: bool) -> Sequence[Moved]:
        return self._in_loop(lambda: self._parent.rebalance(dry_run=dry_run))

    def _of_fleet(self, question: Callable[[PlacementFleet], _Answer]) -> _Answer:
        """Asked in the loop's thread, which alone may look at all of the fleet."""
        return self._in_loop(lambda: question(self._parent.fleet))

    def _in_loop(self, question: Callable[[], _Answer]) -> _Answer:
        """What a question asked in the loop's thread is answered with, or the MangroveError that it raises."""
        answer: queue.SimpleQueue[_Answer | MangroveError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answer.put(question())
            except MangroveError as error:
                answer.put(error)

        if not self._loop.post(ask):
            raise Unavailable(_BUSY)
        try:
            told = answer.get(timeout=_JUDGED_WITHIN)
        except queue.Empty:
            raise Unavailable(_BUSY) from None
        if isinstance(told, MangroveError):
            raise told
        return told

    def call(self, child: str, method: str, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        answer: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        if not self._loop.post(carrying(lambda: self._parent.call(child, method, params, timeout, answer.put))):
            raise Unavailable(_BUSY)
        try:
            reply = answer.get(timeout=timeout + 1.0)
        except queue.Empty:
            raise Unavailable(f"{self._parent.name(child)}: no answer in time; try again later") from None
        if reply.error:
            raise Unavailable(f"{self._parent.name(child)}: {reply.error}")
        return reply.result

    def stream(self, child: str, method: str, params: dict[str, Any], apology: Apology) -> Source:
        call = Call(new_id(), method, params, _ACCEPTED_WITHIN, request_id(), WINDOW)
        pulled = Pulled(self._bulk, self._bulk_loop, call.id, apology)

        def replied(reply: Reply) -> None:
            pulled.replied(reply)
            if reply.error:
                self._bulk_loop.post(lambda: self._bulk.refused(call.id, reply.error))

        def ask() -> None:
            self._loop.post(carrying(lambda: self._parent.ask(child, call, replied)))

        self._bulk_loop.post(lambda: self._bulk.begin(child, call, pulled.put, pulled.ended, ask))
        try:
            reply = pulled.reply.get(timeout=_ACCEPTED_WITHIN + 2.0)
        except queue.Empty:
            reply = Reply(call.id, error="no answer in time; try again later", again=True)
        if reply.error:
            pulled.close()
            error = Unavailable if reply.again else Conflict
            raise error(f"{self._parent.name(child)}: {reply.error}")
        return pulled


class Pulled:
    """A stream of a child as a source of pieces: as many are under way as the reader can take. See `streams.Source`."""

    def __init__(self, bulk: ParentBulk, loop: Loop, id: str, apology: Apology) -> None:
        #: Whether there will be a stream.
        self.reply: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._bulk = bulk
        self._loop = loop
        self._id = id
        self._apology = apology
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._taken = 0
        self._allowed = WINDOW
        self._over = False

    # In the loops of link and streams.

    def replied(self, reply: Reply) -> None:
        """What the child said to the question."""
        self.reply.put(reply)

    def put(self, data: bytes, position: str) -> None:
        """A piece came."""
        if data:
            self._pieces.put(data)

    def ended(self, error: str) -> None:
        """There will be no more."""
        self.reply.put(Reply(self._id, error=error, again=True))  # if there was none before
        if error:
            self._pieces.put(self._apology(error))
        self._pieces.put(None)

    # In the reader's thread.

    def next(self, timeout: float) -> bytes | None:
        if self._over:
            return None
        try:
            piece = self._pieces.get(timeout=timeout)
        except queue.Empty:
            return b""
        if piece is None:
            self._over = True
            return None
        self._taken += len(piece)
        if self._taken + WINDOW - self._allowed >= WINDOW // 4:  # not for every piece
            self._allowed = allowed = self._taken + WINDOW
            self._loop.post(lambda: self._bulk.allow(self._id, allowed))
        return piece

    def close(self) -> None:
        self._loop.post(lambda: self._bulk.cancel(self._id, "nobody reads it any more"))
