"""The second connection of an identity, for streams: beats never wait behind what is long.

It is opened when a stream begins and closed when none was open for a while. Each end has one thread (a `Loop`) of its
own, so that streams never wait for decisions, nor decisions for streams. `relayed` joins a child's end with a parent's.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from mangrove.base.clock import Clock
from mangrove.link.child import ChildIdentity
from mangrove.link.messages import QOS, STREAM, Call
from mangrove.link.streams import (
    STREAMS_OF_CHILD,
    ChildStreams,
    OnData,
    OnEnd,
    ParentStreams,
)
from mangrove.link.transports.interface import (
    Broker,
    ChildTransport,
    Connected,
    Disconnected,
    ParentTransport,
    TransportEvent,
)
from mangrove.roles.drops import Drops

log = logging.getLogger(__name__)

#: Seconds without a stream after which the connection is closed: whoever looks at one log often looks at the next.
IDLE = 60.0
#: Seconds between attempts to connect. The asker gives up after `streams.GIVE_UP`.
RETRY = 1.0
#: Seconds after which a connection that takes no more is tried again: some pieces at full speed.
FULL = 0.02
#: Seconds for a parent's own second connection to come up: its broker runs beside it.
OPENING = 10.0


class ChildBulk:
    """A child's end. broker: the one by which the parent is heard now. limit: streams at once."""

    def __init__(
        self,
        identity: ChildIdentity,
        transport: ChildTransport,
        broker: Callable[[], Broker],
        clock: Clock,
        *,
        limit: int = STREAMS_OF_CHILD,
    ) -> None:
        self.streams = ChildStreams(identity, limit)
        #: Bytes that wait to be handed to the transport.
        self.waiting = 0
        self._transport = transport
        self._broker = broker
        self._clock = clock
        self._drops = Drops("from the parent, on streams")
        self._outbox: deque[bytes] = deque()
        self._open = self._up = False
        self._retry = 0.0
        self._used = 0.0

    def begin(self, call: Call, term: int, on_credit: Callable[[int], None], on_end: OnEnd) -> str:
        """See ChildStreams.begin."""
        return self.streams.begin(call, term, on_credit, on_end, self._clock.now())

    def send(self, id: str, data: bytes, position: str) -> bool:
        """See ChildStreams.send."""
        return self.streams.send(id, data, position, self._clock.now())

    def end(self, id: str, error: str = "") -> None:
        """See ChildStreams.end."""
        self.streams.end(id, error, self._clock.now())

    def broken(self, reason: str) -> None:
        """Streams cannot go on: what asked for them is not what it was, or we are ending."""
        self.streams.lost(reason, self._clock.now())

    def handle(self, event: TransportEvent) -> None:
        """Something happened on the transport."""
        now = self._clock.now()
        if isinstance(event, Connected):
            self._up = True
        elif isinstance(event, Disconnected):
            log.info("the connection for streams is down: %s", event.reason)
            self._open = self._up = False
            self._retry = now + RETRY
            self._outbox.clear()
            self.waiting = 0
            self.streams.lost(f"the connection for streams broke: {event.reason}", now)
        elif event.kind == STREAM:
            self.streams.receive(event.payload, now)

    def work(self) -> None:
        """Send what there is to send, and open or close the connection."""
        now = self._clock.now()
        self.streams.tick(now)
        self._drops.look(self.streams.dropped, self.streams.newest_drop, now)
        effects, self.streams.effects = self.streams.effects, []
        self._outbox += effects
        self.waiting += sum(map(len, effects))
        if self._outbox or self.streams.streams:
            if effects or self.streams.streams:
                self._used = now
            if not self._open and now >= self._retry:
                self._open = True
                self._transport.open(self._broker(), b"")
        if now >= self._used + IDLE and (self._open or self._outbox):
            self.close()
        while self._up and self._outbox and self._transport.send(STREAM, self._outbox[0], QOS[STREAM]):
            self.waiting -= len(self._outbox.popleft())

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest."""
        wake = self.streams.next_wake()
        if self._outbox and self._up:
            wake = min(wake, self._clock.now() + FULL)
        if (self._outbox or self.streams.streams) and not self._open:
            wake = min(wake, self._retry)
        return min(wake, self._used + IDLE) if self._open or self._outbox else wake

    def close(self) -> None:
        """Give the connection up, and what was not sent."""
        self._transport.close()
        self._open = self._up = False
        self._outbox.clear()
        self.waiting = 0


class ParentBulk:
    """A parent's end."""

    def __init__(self, streams: ParentStreams, transport: ParentTransport, clock: Clock) -> None:
        self.streams = streams
        self._transport = transport
        self._clock = clock
        self._drops = Drops("from children, on streams")
        self._open = False
        self._up: set[int] = set()
        self._waiting: dict[str, tuple[float, Callable[[], object]]] = {}  # until the connection is up: (deadline, ask)
        self._used = 0.0

    def begin(self, child: str, call: Call, on_data: OnData, on_end: OnEnd, ask: Callable[[], object]) -> None:
        """Get a stream from a child. ask: sends the call; a refusal, or no answer in time, is to be told to `refused`.

        on_end: called once, also when there will be none; not after `cancel`.
        """
        now = self._clock.now()
        problem = self.streams.begin(call.id, child, call.credit, on_data, on_end, now)
        if problem:
            on_end(problem)
        elif self._up:
            ask()
        else:
            self._waiting[call.id] = (now + OPENING, ask)

    def allow(self, id: str, credit: int) -> None:
        """Let the child send so many bytes in all."""
        self.streams.allow(id, credit, self._clock.now())

    def cancel(self, id: str, reason: str = "") -> None:
        """Nobody wants more of it."""
        self._waiting.pop(id, None)
        self.streams.cancel(id, reason, self._clock.now())

    def refused(self, id: str, error: str) -> None:
        """The child will not answer this call, or has not answered in time."""
        self.streams.fail(id, error, self._clock.now())

    def broken(self, child: str, reason: str) -> None:
        """The child's link broke, or began anew: its streams are not what they were."""
        self.streams.fail_all(reason, self._clock.now(), child=child)

    def handle(self, event: TransportEvent) -> None:
        """Something happened on the transport."""
        now = self._clock.now()
        if isinstance(event, Connected):
            self._up.add(event.via)
            waiting, self._waiting = self._waiting, {}
            for _, ask in waiting.values():
                ask()
        elif isinstance(event, Disconnected):
            self._up.discard(event.via)
            begun = [stream for stream in self.streams.streams.values() if stream.id not in self._waiting]
            for stream in begun:
                if stream.via == event.via:
                    self.streams.fail(stream.id, f"the connection for streams broke: {event.reason}", now)
        elif event.kind == STREAM:
            self.streams.receive(event.child, event.payload, event.via, now)

    def work(self) -> None:
        """Send what there is to send, and open or close the connection."""
        now = self._clock.now()
        self.streams.tick(now)
        self._drops.look(self.streams.dropped, self.streams.newest_drop, now)
        for id, (deadline, _) in list(self._waiting.items()):
            if now >= deadline:
                del self._waiting[id]
                self.streams.fail(id, "the broker does not let us connect for streams; try again later", now)
        if self.streams.streams:
            self._used = now
            if not self._open:
                self._open = True
                self._transport.open()
        effects, self.streams.effects = self.streams.effects, []
        for effect in effects:
            self._transport.send(effect.child, STREAM, effect.payload, QOS[STREAM], effect.via)
        if self._open and now >= self._used + IDLE:
            self.close()

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest."""
        wake = min((deadline for deadline, _ in self._waiting.values()), default=float("inf"))
        wake = min(wake, self.streams.next_wake())
        return min(wake, self._used + IDLE) if self._open else wake

    def close(self) -> None:
        """Give the connection up."""
        self._transport.close()
        self._open = False
        self._up.clear()


class Relay:
    """Both ends of a parent that is a child itself, to be driven by one loop."""

    def __init__(self, up: ChildBulk, down: ParentBulk) -> None:
        self.up = up
        self.down = down

    def pass_on(self, call: Call, term: int, child: str, below: Call, ask: Callable[[], object]) -> str:
        """Answer `call` of our own parent, in this term, by what `child` answers to `below`; why not, or empty.

        ask: sends `below`. Pieces go up as they come, and credit goes down as it is given: nothing is held here.
        """
        up, down = self.up, self.down

        def pass_up(data: bytes, position: str) -> None:
            if data and not up.send(call.id, data, position):
                down.cancel(below.id, "what was sent could not be passed on")
                up.end(call.id, "what was sent could not be passed on")

        problem = up.begin(
            call, term, lambda credit: down.allow(below.id, credit), lambda reason: down.cancel(below.id, reason)
        )
        if not problem:
            down.begin(child, below, pass_up, lambda error: up.end(call.id, error), ask)
        return problem

    def work(self) -> None:
        """Do all that is due."""
        self.down.work()
        self.up.work()
        self.down.work()  # what the way up has just given up

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest."""
        return min(self.up.next_wake(), self.down.next_wake())

    def close(self) -> None:
        """Give both connections up."""
        self.up.close()
        self.down.close()
