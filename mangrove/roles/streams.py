"""Answers that last: events as they come, logs as they are written.

Each holds a thread of the HTTP server for as long as it lasts. So there is a fixed number of places for them, for which
the server has threads of their own: ordinary requests never wait for a stream.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Protocol

from flask import Response, request

from mangrove.base.clock import Clock, SystemClock
from mangrove.base.errors import Unavailable

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: Streams at once. Each costs a thread (some tens of kB while it waits) and at most `http_server.WAITING` bytes.
PLACES = 32

#: Streams of one asker at once, so that nobody who forgets to close theirs keeps all others out.
PLACES_OF_ONE = 8

#: Seconds without anything to say after which the beat is sent, so that nothing on the way takes the connection for
#: dead; proxies commonly wait for a minute, some for 30 s.
BEAT = 15.0

#: Seconds that a stream waits at a time before it looks whether its reader is still there.
_LOOK = 0.5


class Source(Protocol):
    """Where the pieces of a stream come from."""

    def next(self, timeout: float) -> bytes | None:
        """The next piece, waiting at most `timeout` seconds; empty when nothing came; None at the end."""

    def close(self) -> None:
        """No more is asked for. Called once, whatever happened."""


class _Lasting(Response):
    """An answer whose head goes out at once, however long the first piece takes."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def begin(*args: Any) -> Callable[[bytes], object]:
            write = start_response(*args)
            write(b"")
            return write

        try:
            return super().__call__(environ, begin)
        except BaseException:
            # The reader went away before the head was out: the server gets nothing that it could close.
            self.close()
            raise


class Streams:
    """The places for streams of one HTTP server."""

    def __init__(self, clock: Clock | None = None, *, places: int = PLACES, places_of_one: int = PLACES_OF_ONE) -> None:
        self.places = places
        self._clock = clock or SystemClock()
        self._places_of_one = places_of_one
        self._lock = Lock()
        self._taken: Counter[str] = Counter()  # by asker
        self._stopping = Event()

    def answer(self, asker: str, open_source: Callable[[], Source], mimetype: str, *, beat: bytes = b"") -> Response:
        """The answer to the current request, made of what a source gives until it ends, the reader went away, or the
        program stops.

        asker: who it is for. open_source: called once there is a place; what it raises is raised here. beat: sent when
        there was nothing else for `BEAT` seconds. Raises Unavailable (503) when all places are taken.
        """
        self._take(asker)
        try:
            source = open_source()
        except BaseException:
            self._give_back(asker)
            raise

        def end() -> None:
            self._give_back(asker)
            source.close()

        gone: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
        answer = _Lasting(self._pieces(source, gone, beat, self._clock.now()), mimetype=mimetype)
        answer.headers["X-Accel-Buffering"] = "no"  # nginx would otherwise keep pieces back until it has many
        answer.call_on_close(end)
        return answer

    def stop(self) -> None:
        """Let all streams end, within `_LOOK` seconds, and begin no more."""
        self._stopping.set()

    @property
    def taken(self) -> int:
        """How many last just now."""
        with self._lock:
            return self._taken.total()

    def _pieces(self, source: Source, gone: Callable[[], bool], beat: bytes, spoke: float) -> Iterator[bytes]:
        while not self._stopping.is_set() and not gone():
            piece = source.next(_LOOK)
            if piece is None:
                return
            if not piece and self._clock.now() - spoke >= BEAT:
                piece = beat
            if piece:
                spoke = self._clock.now()
                yield piece

    def _take(self, asker: str) -> None:
        with self._lock:
            if self._stopping.is_set():
                raise Unavailable("the program is ending; try again later")
            if self._taken[asker] >= self._places_of_one:
                raise Unavailable(f"you have {self._places_of_one} streams open already; end one of them first")
            if self._taken.total() >= self.places:
                raise Unavailable(f"all {self.places} places for streams are taken; try again later")
            self._taken[asker] += 1

    def _give_back(self, asker: str) -> None:
        with self._lock:
            self._taken[asker] -= 1
            self._taken += Counter()  # forgets those who have none
