"""What a container prints, as its engine keeps it: both streams, each line with the time at which the engine got it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from node_engine.runtimes.docker_client import DockerClient, NotThere
from node_engine.runtimes.interface import RuntimeFault
from node_engine.runtimes.printed import LONGEST, Line, Reading, Wish, cut, gap

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    import docker

#: Bytes of lines that wait for their reader; then the engine waits, but never the container.
_WAITING = 256 * 1024
#: Lines in one batch: some kilobytes of usual ones.
_BATCH = 500
#: Seconds before an engine, or a container that starts again, is asked for more.
_AGAIN = 0.5
#: What the engine's frames say of the stream they belong to.
_STREAMS = {1: "stdout", 2: "stderr"}
#: Bytes before each frame: stream, three zeros, length.
_HEADER = 8


def read(client: DockerClient, name: str, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
    """The lines of the container `name`. Raises RuntimeFault; nothing when there is no such container."""
    position, began = wish.position, False
    while not reading.stopped:
        over = reading.over() or not wish.follow
        with contextlib.suppress(NotThere):
            since = wish if not began else Wish(position=position, follow=wish.follow)
            for batch in _once(client, name, since, reading):
                position = batch[-1].position
                yield batch
        if over or not reading.wait(_AGAIN):
            return
        began = bool(position)  # it ended, and may be started again in place


def _once(client: DockerClient, name: str, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
    """One answer of the engine. A thread reads it, so that lines are passed on together, or alone when no more come."""
    from docker.types.daemon import CancellableStream

    with client.connected() as api:
        answer = _ask(api, name, wish)
        pump = _Pump(CancellableStream(answer.iter_content(None), answer))
    reading.on_stop(pump.close)
    reader = threading.Thread(target=pump.run, name="docker-logs", daemon=True)
    reader.start()
    try:
        lines = _Lines(wish.position)
        while frames := pump.take():
            batch = [line for kind, payload in frames for line in lines.add(kind, payload)]
            for start in range(0, len(batch), _BATCH):
                yield batch[start : start + _BATCH]
    finally:
        pump.close()
        reader.join(_AGAIN)


def _ask(api: docker.APIClient, name: str, wish: Wish) -> Any:
    parameters: dict[str, Any] = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": int(wish.follow)}
    if wish.tail is not None:
        parameters["tail"] = wish.tail
    if wish.position:
        seconds, nanoseconds = divmod(_parsed(wish.position)[0], 1_000_000_000)
        parameters["since"] = f"{seconds}.{nanoseconds:09d}"
    elif wish.since is not None:
        parameters["since"] = f"{wish.since:.9f}"
    answer = api.get(
        f"{api.base_url}/v{api.api_version}/containers/{name}/logs", params=parameters, stream=True, timeout=(3, None)
    )
    if answer.status_code == 404:
        answer.close()
        raise NotThere(f"no container {name}")
    answer.raise_for_status()
    return answer


class _Lines:
    """Makes lines of frames. position: what stands up to it was given before."""

    def __init__(self, position: str) -> None:
        self._given = _parsed(position) if position else None
        self._met = False  # whether the line at `position` is still there
        self._newest = (0, 0)
        self._partial: dict[int, tuple[bytes, int]] = {}  # by stream: a line without its end, and what is left out

    def add(self, kind: int, payload: bytes) -> Iterator[Line]:
        stamp, _, text = payload.partition(b" ")
        begun, dropped = self._partial.pop(kind, (b"", 0))
        text = begun + text
        if not text.endswith(b"\n"):
            self._partial[kind] = text[:LONGEST], dropped + max(0, len(text) - LONGEST)
            return
        at = _nanoseconds(stamp.decode())
        self._newest = (at, self._newest[1] + 1 if at == self._newest[0] else 1)
        position = f"{at}.{self._newest[1]}"
        if self._given is not None:
            if self._newest <= self._given:
                self._met = self._met or self._newest == self._given
                return
            if not self._met:
                yield gap(None, at / 1e9, f"{self._given[0]}.{self._given[1]}")
            self._given = None
        yield Line(at / 1e9, _STREAMS.get(kind, "stdout"), cut(text[:-1], dropped), position)


class _Pump:
    """Takes frames out of an answer, as fast as somebody takes them from here."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self._room = threading.Condition()
        self._frames: list[tuple[int, bytes]] = []
        self._bytes = 0
        self._ended = False

    def run(self) -> None:
        buffer = b""
        try:
            for data in self._answer:
                buffer += data
                start = 0
                while len(buffer) >= start + _HEADER:
                    end = start + _HEADER + int.from_bytes(buffer[start + 4 : start + _HEADER], "big")
                    if len(buffer) < end:
                        break
                    self._put(buffer[start], buffer[start + _HEADER : end])
                    start = end
                buffer = buffer[start:]
                if self._ended:
                    return
        except Exception:  # however the answer ends, the next one goes on behind the last line
            _log.debug("a container's output ended", exc_info=True)
        finally:
            with self._room:
                self._ended = True
                self._room.notify_all()

    def take(self) -> list[tuple[int, bytes]]:
        """What is there, waiting for something; empty at the end."""
        with self._room:
            self._room.wait_for(lambda: self._frames or self._ended)
            frames, self._frames, self._bytes = self._frames, [], 0
            self._room.notify_all()
            return frames

    def close(self) -> None:
        """Take no more."""
        with self._room:
            self._ended = True
            self._room.notify_all()
        try:
            self._answer.close()
        except Exception:  # what the driver makes of being closed while its other thread reads
            _log.debug("closing a container's output", exc_info=True)

    def _put(self, kind: int, payload: bytes) -> None:
        with self._room:
            self._room.wait_for(lambda: self._bytes < _WAITING or self._ended)
            self._frames.append((kind, payload))
            self._bytes += len(payload)
            self._room.notify_all()


def _parsed(position: str) -> tuple[int, int]:
    at, _, count = position.partition(".")
    try:
        return int(at), int(count or 0)
    except ValueError:
        raise RuntimeFault(f"since: {position[:40]!r} is no position in the output of a container") from None


def _nanoseconds(stamp: str) -> int:
    """Of `2026-11-22T17:00:00.123456789Z`, since 1970."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)
