"""Answers in pieces: logs today, whatever is too long for one reply. State machines without I/O or clock.

A stream begins with a `call` that gives credit, and the reply to it that accepts; from then on all of it travels on the
second connection. Data goes up in pieces, credit comes down, and either side may end it. The stream is its own session:
its id, made by the asker, stands in the header, so nothing of another stream or another time is taken in.

A stream is not durable. Whatever is lost, repeated or late shows at once, since each piece says at which byte it
begins; then the stream ends with an error, and the asker begins another one at the position that it has reached.
What relays a stream holds nothing of it: it passes pieces up and credit down (roles/bulk.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mangrove.link.child import ChildIdentity
from mangrove.link.envelope import BadMessage, Header, Lanes, seal, topic_of, unseal
from mangrove.link.messages import PROTOCOL, STREAM, Call, Piece

#: Largest piece of data in bytes: one takes 0.25 s on an uplink of 1 Mbit/s, so other streams wait no longer than that.
CHUNK = 32 * 1024
#: Bytes that may be under way to an asker: 2 MB/s over 100 ms of round trip. All streams of a node together use at
#: most a sixth of what its engine may.
WINDOW = 256 * 1024
#: Streams at once: of one child, and of one parent. A node has a thread for each of its own.
STREAMS_OF_CHILD, STREAMS_OF_PARENT = 16, 128
#: Seconds after which a side that has nothing to say shows that it is there, and after which the other gives it up. A
#: broken connection shows at once; this finds what dies without a word.
SHOW, GIVE_UP = 10.0, 30.0
#: Most characters of an error: it is a line for a person.
_LONGEST = 400

#: Called with the bytes that may be sent in all.
OnCredit = Callable[[int], None]
#: Called once, when a stream has ended, with why in one line; empty at a good end.
OnEnd = Callable[[str], None]


@dataclass(slots=True)
class Outflow:
    """A stream as its child sees it. sent, credit: bytes in all."""

    id: str
    term: int
    credit: int
    on_credit: OnCredit
    on_end: OnEnd
    heard: float
    spoke: float
    sent: int = 0
    position: str = ""
    sequence: int = 0
    lanes: Lanes = field(default_factory=Lanes)


class ChildStreams:
    """The streams that the parent of a child has asked for. effects: what to send, as payloads of `up/bulk/stream`."""

    def __init__(self, identity: ChildIdentity, limit: int = STREAMS_OF_CHILD) -> None:
        self.effects: list[bytes] = []
        self.dropped = 0
        self.newest_drop = ""
        self.streams: dict[str, Outflow] = {}
        self._key = identity.key
        self._up = topic_of(identity.parent, identity.child, "up", STREAM)
        self._down = topic_of(identity.parent, identity.child, "down", STREAM)
        self._limit = limit

    def begin(self, call: Call, term: int, on_credit: OnCredit, on_end: OnEnd, now: float) -> str:
        """Begin to answer a call of a parent in this term; why not, or empty. on_end: not called after `end`."""
        if call.id in self.streams:
            return "there is a stream of this id already"
        if len(self.streams) >= self._limit:
            return f"{self._limit} streams are open here, which is the most: end one of them first"
        stream = Outflow(call.id, term, call.credit, on_credit, on_end, heard=now, spoke=now)
        self.streams[call.id] = stream
        self._send(stream, Piece(), now)
        return ""

    def send(self, id: str, data: bytes, position: str, now: float) -> bool:
        """Send data, at most CHUNK bytes; False when there is no such stream, or no credit for so much."""
        stream = self.streams.get(id)
        if stream is None or len(data) > CHUNK or stream.sent + len(data) > stream.credit:
            return False
        self._send(stream, Piece(stream.sent, data, position), now)
        stream.sent += len(data)
        stream.position = position
        return True

    def end(self, id: str, error: str, now: float) -> None:
        """That was all; or, with `error`, it cannot go on."""
        stream = self.streams.pop(id, None)
        if stream is not None:
            piece = Piece(stream.sent, position=stream.position, end=True, error=error[:_LONGEST])
            self._send(stream, piece, now)

    def lost(self, reason: str, now: float) -> None:
        """The connection broke, and what was on it may be lost: all streams end, and this is said on the next one."""
        self.effects.clear()
        for stream in list(self.streams.values()):
            self.end(stream.id, reason, now)
            stream.on_end(reason)

    def receive(self, payload: bytes, now: float) -> None:
        """A message came; whatever it is, nothing is raised."""
        try:
            self._receive(payload, now)
        except BadMessage as error:
            self.dropped += 1
            self.newest_drop = f"{STREAM}: {error}"

    def _receive(self, payload: bytes, now: float) -> None:
        header, piece = unseal(self._key, self._down, payload)
        stream = self.streams.get(header.session)
        if not isinstance(piece, Piece) or stream is None or header.term != stream.term:
            raise BadMessage("of no stream that is open")
        if not stream.lanes.admit(STREAM, header):
            raise BadMessage("old or repeated")
        stream.heard = now
        if piece.end:
            del self.streams[stream.id]
            stream.on_end(piece.error[:_LONGEST] or "nobody wants more of it")
        elif piece.credit > stream.credit:
            stream.credit = piece.credit
            stream.on_credit(piece.credit)

    def tick(self, now: float) -> None:
        """Show that streams with nothing to say are alive, and give up those that nobody listens to."""
        for stream in list(self.streams.values()):
            if now - stream.heard >= GIVE_UP:
                reason = f"whoever asked was not heard for {GIVE_UP:g} s"
                self.end(stream.id, reason, now)
                stream.on_end(reason)
            elif now - stream.spoke >= SHOW:
                self._send(stream, Piece(stream.sent, position=stream.position), now)

    def next_wake(self) -> float:
        """When `tick` wants to be called at the latest."""
        return min((min(s.spoke + SHOW, s.heard + GIVE_UP) for s in self.streams.values()), default=float("inf"))

    def _send(self, stream: Outflow, piece: Piece, now: float) -> None:
        stream.sequence += 1
        stream.spoke = now
        self.effects.append(seal(self._key, self._up, Header(PROTOCOL, stream.id, stream.sequence), piece))


#: Called with data and the position that it leads to; with no data, when the stream shows that it lives.
OnData = Callable[[bytes, str], None]


@dataclass(slots=True)
class Inflow:
    """A stream as its parent sees it. got, credit: bytes in all. via: the broker it came by."""

    id: str
    child: str
    key: bytes
    credit: int
    on_data: OnData
    on_end: OnEnd
    heard: float
    spoke: float
    via: int = 0
    got: int = 0
    sequence: int = 0
    lanes: Lanes = field(default_factory=Lanes)


@dataclass(frozen=True, slots=True)
class SendDown:
    """Publish as `down/bulk/stream` of this child, on broker number `via`."""

    child: str
    payload: bytes
    via: int


class ParentStreams:
    """All streams that a parent has asked its children for. store, term: of the parent, for the headers.

    of_child: streams at once of one child.
    """

    def __init__(
        self,
        parent: str,
        store: str,
        term: int,
        key_of: Callable[[str], bytes | None],
        of_child: int = STREAMS_OF_CHILD,
    ) -> None:
        self.effects: list[SendDown] = []
        self.dropped = 0
        self.newest_drop = ""
        self.streams: dict[str, Inflow] = {}
        self._parent = parent
        self._store = store
        self._term = term
        self._key_of = key_of
        self._of_child = of_child

    def begin(self, id: str, child: str, credit: int, on_data: OnData, on_end: OnEnd, now: float) -> str:
        """Expect a stream of a child, which is asked for by a `Call` of this id and credit; why not, or empty.

        on_end: not called after `cancel`.
        """
        key = self._key_of(child)
        if key is None:
            return "it is not known here"
        if len(self.streams) >= STREAMS_OF_PARENT:
            return f"{STREAMS_OF_PARENT} streams are open, which is the most; try again later"
        if sum(stream.child == child for stream in self.streams.values()) >= self._of_child:
            return f"{self._of_child} streams of it are open, which is the most; try again later"
        self.streams[id] = Inflow(id, child, key, credit, on_data, on_end, heard=now, spoke=now)
        return ""

    def allow(self, id: str, credit: int, now: float) -> None:
        """Let the child send so many bytes in all."""
        stream = self.streams.get(id)
        if stream is not None and credit > stream.credit:
            stream.credit = credit
            self._send(stream, Piece(credit=credit), now)

    def cancel(self, id: str, reason: str, now: float) -> None:
        """Nobody wants more of it."""
        stream = self.streams.pop(id, None)
        if stream is not None:
            self._send(stream, Piece(end=True, error=reason[:_LONGEST]), now)

    def fail(self, id: str, reason: str, now: float) -> None:
        """It cannot go on, as far as the parent knows."""
        stream = self.streams.get(id)
        if stream is not None:
            self.cancel(id, reason, now)
            stream.on_end(reason)

    def fail_all(self, reason: str, now: float, *, child: str = "", via: int | None = None) -> None:
        """What came from this child, or by this broker, may have been lost."""
        for stream in list(self.streams.values()):
            if (not child or stream.child == child) and via in (None, stream.via):
                self.fail(stream.id, reason, now)

    def receive(self, child: str, payload: bytes, via: int, now: float) -> None:
        """A message came; whatever it is, nothing is raised."""
        try:
            self._receive(child, payload, via, now)
        except BadMessage as error:
            self.dropped += 1
            self.newest_drop = f"{child[:40]} {STREAM}: {error}"

    def _receive(self, child: str, payload: bytes, via: int, now: float) -> None:
        key = self._key_of(child)
        if key is None:
            raise BadMessage("an unknown child")
        header, piece = unseal(key, topic_of(self._parent, child, "up", STREAM), payload)
        stream = self.streams.get(header.session)
        if not isinstance(piece, Piece) or stream is None or stream.child != child:
            raise BadMessage("of no stream that is open")
        if not stream.lanes.admit(STREAM, header):
            raise BadMessage("old or repeated")
        stream.heard, stream.via = now, via
        if piece.end and piece.error:
            del self.streams[stream.id]
            stream.on_end(piece.error[:_LONGEST])
        elif piece.offset != stream.got:
            self.fail(stream.id, "a part of it was lost on the way", now)
        elif len(piece.data) > CHUNK or stream.got + len(piece.data) > stream.credit:
            self.fail(stream.id, "it sent more than it was allowed to", now)
        elif piece.end:
            del self.streams[stream.id]
            stream.on_end("")
        else:
            stream.got += len(piece.data)
            stream.on_data(piece.data, piece.position)

    def tick(self, now: float) -> None:
        """Show that the streams are listened to, and give up those of which nothing is heard."""
        for stream in list(self.streams.values()):
            if now - stream.heard >= GIVE_UP:
                self.fail(stream.id, f"it was not heard for {GIVE_UP:g} s", now)
            elif now - stream.spoke >= SHOW:
                self._send(stream, Piece(credit=stream.credit), now)

    def next_wake(self) -> float:
        """When `tick` wants to be called at the latest."""
        return min((min(s.spoke + SHOW, s.heard + GIVE_UP) for s in self.streams.values()), default=float("inf"))

    def _send(self, stream: Inflow, piece: Piece, now: float) -> None:
        stream.sequence += 1
        stream.spoke = now
        header = Header(PROTOCOL, stream.id, stream.sequence, self._store, self._term)
        payload = seal(stream.key, topic_of(self._parent, stream.child, "down", STREAM), header, piece)
        self.effects.append(SendDown(stream.child, payload, stream.via))
