"""Answers the cluster's question for what an instance printed, with a stream.

Each stream has a thread that reads and waits for credit; what it reads goes through the loop of the second connection.
Neither the engine nor the instance ever waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from mangrove.link.messages import Call, Reply
from mangrove.link.streams import CHUNK
from mangrove.model.phases import ENDED
from mangrove.reconcile.child import Record
from mangrove.roles.bulk import ChildBulk
from node_engine.ended import Ended
from node_engine.runtimes.interface import Runtime, RuntimeFault
from node_engine.runtimes.printed import Line, Reading, Wish

log = logging.getLogger(__name__)

#: Bytes that may wait for the uplink, of all streams together: a second of 8 Mbit/s. Then readers wait.
_WAITING = 1024 * 1024
#: Seconds between two looks whether the uplink has room again.
_LOOK = 0.02

#: Lets another thread's loop do something.
Post = Callable[[Callable[[], None]], object]


class LogParams(msgspec.Struct, frozen=True):
    """Parameters of the method `logs`. position, since, tail, follow: as in Wish. form: JSON lines, or only text."""

    attempt: str
    position: str = ""
    since: float | None = None
    tail: int | None = None
    follow: bool = False
    form: Literal["json", "text"] = "json"


class LogLine(msgspec.Struct):
    """A line as JSON. position: begins with `p`, so that it is taken for neither a time nor a length of time."""

    time: float
    stream: str
    line: str
    position: str


_encoder = msgspec.json.Encoder()


def encoded(lines: Sequence[Line], attempt: str, form: Literal["json", "text"]) -> bytes:
    """Lines of an attempt as they are answered; what is not UTF-8 is replaced."""
    if form == "text":
        return b"".join(line.text + b"\n" for line in lines).decode(errors="replace").encode()
    mark = _mark(attempt)
    return _encoder.encode_lines(
        [LogLine(line.time, line.stream, line.text.decode(errors="replace"), mark + line.position) for line in lines]
    )


def _mark(attempt: str) -> str:
    """What stands before positions in the output of this attempt: in another's they mean nothing."""
    return f"p{attempt[:8]}-"


class Logs:
    """The node's side of `logs`.

    record: what the engine knows of an attempt. to_loop, to_bulk: let the engine's loop, or that of the second
    connection, do something. term: of the parent, in this session. reply: answers a call, in the engine's loop.
    """

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        ended: Ended,
        bulk: ChildBulk,
        *,
        record: Callable[[str], Record | None],
        term: Callable[[], int],
        reply: Callable[[Reply], None],
        to_loop: Post,
        to_bulk: Post,
    ) -> None:
        self._runtimes = runtimes
        self._ended = ended
        self._bulk = bulk
        self._record = record
        self._term = term
        self._reply = reply
        self._to_loop = to_loop
        self._to_bulk = to_bulk

    def answer(self, call: Call) -> Reply | None:
        """In the engine's loop."""
        try:
            params = msgspec.convert(call.params, LogParams)
        except msgspec.ValidationError as error:
            return Reply(call.id, error=str(error))
        record = self._record(params.attempt)
        runtime = self._runtimes.get(record.specification.runtime) if record is not None else None
        if runtime is None and not self._ended.has(params.attempt):
            return Reply(call.id, error="nothing that this instance printed is kept here any more")
        term = self._term()
        self._to_bulk(lambda: self._begin(call, params, runtime, term))
        return None

    def _begin(self, call: Call, params: LogParams, runtime: Runtime | None, term: int) -> None:
        """In the loop of the second connection."""
        source = runtime.logs if runtime is not None else self._ended.logs
        position = params.position
        if not position.startswith(_mark(params.attempt)):
            position = ""  # of an attempt before this one: all of this one is new
        wish = Wish(position.rpartition("-")[2], params.since, params.tail, params.follow)
        reading = Reading(lambda: self._is_over(params.attempt))
        feed = _Feed(self._bulk, call, reading, self._to_bulk)
        problem = self._bulk.begin(call, term, feed.more, feed.stop)
        self._to_loop(lambda: self._reply(Reply(call.id, error=problem, again=bool(problem))))
        if not problem:
            pieces = (encoded(lines, params.attempt, params.form) for lines in source(params.attempt, wish, reading))
            thread = threading.Thread(target=feed.run, args=(pieces,), name="logs", daemon=True)
            thread.start()

    def _is_over(self, attempt: str) -> bool:
        record = self._record(attempt)
        return record is None or record.phase in ENDED


class _Feed:
    """Sends what one reader reads, as credit and uplink allow."""

    def __init__(self, bulk: ChildBulk, call: Call, reading: Reading, to_bulk: Post) -> None:
        self._bulk = bulk
        self._id = call.id
        self._reading = reading
        self._to_bulk = to_bulk
        self._room = threading.Condition()
        self._credit = call.credit
        self._sent = 0

    def more(self, credit: int) -> None:
        """So many bytes may be sent in all."""
        with self._room:
            self._credit = credit
            self._room.notify()

    def stop(self, reason: str) -> None:
        """Nobody reads any more."""
        self._reading.stop()
        with self._room:
            self._room.notify()

    def run(self, pieces: Iterator[bytes]) -> None:
        """In a thread of its own, to the end."""
        error = ""
        try:
            for data in pieces:
                for start in range(0, len(data), CHUNK):
                    self._send(data[start : start + CHUNK])
                    if self._reading.stopped:
                        return
        except (RuntimeFault, OSError) as fault:
            error = str(fault)
        except Exception as fault:
            log.exception("reading what an instance printed")
            error = f"{type(fault).__name__}: {fault}"
        self._to_bulk(lambda: self._bulk.end(self._id, error))

    def _send(self, data: bytes) -> None:
        with self._room:
            self._room.wait_for(lambda: self._sent + len(data) <= self._credit or self._reading.stopped)
        while self._bulk.waiting > _WAITING and self._reading.wait(_LOOK):
            pass
        if not self._reading.stopped:
            self._sent += len(data)
            self._to_bulk(lambda: self._pass_on(data))

    def _pass_on(self, data: bytes) -> None:
        if not self._bulk.send(self._id, data, ""):
            self.stop("")
