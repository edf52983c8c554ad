"""What instances printed that are not there any more: the end of it is kept for a while, since a failed instance is
often replaced before anybody has looked."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from mangrove.base.files import private_folder
from node_engine.runtimes.interface import Runtime
from node_engine.runtimes.printed import Line, Reading, Wish, gap

_log = logging.getLogger(__name__)

#: Instances of which it is kept, newest first, and bytes of each: 20 MiB in all at most.
KEPT, LARGEST = 20, 1024 * 1024
#: Seconds after which it goes all the same: what failed on Friday evening is looked at on Monday morning.
KEPT_FOR = 3 * 24 * 3600.0
#: Lines that are taken of each, at most.
_LINES = 20_000
_BATCH = 500


class _Kept(msgspec.Struct):
    time: float
    stream: str
    line: bytes
    position: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Kept)


class Ended:
    """Files in `folder`, one for each attempt that was removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)

    def keep(self, attempt: str, runtime: Runtime, wall: float) -> None:
        """Keep the end of what an attempt printed that is about to be removed. Never fails."""
        try:
            self._forget(wall)
            kept, size = deque[Line](), 0
            for batch in runtime.logs(attempt, Wish(tail=_LINES), Reading()):
                kept.extend(batch)
                size += sum(len(line.text) for line in batch)
                while size > LARGEST:
                    size -= len(kept.popleft().text)
            if kept:
                content = _encoder.encode_lines([_Kept(*line) for line in kept])
                self._path(attempt).write_bytes(content)
        except Exception as error:  # its removal must not wait for that
            _log.warning("what %s printed could not be kept: %s", attempt, error)

    def has(self, attempt: str) -> bool:
        """Whether something is kept of it."""
        return attempt.isalnum() and self._path(attempt).exists()

    def logs(self, attempt: str, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
        """The lines that are wished for, in batches. Raises OSError."""
        with self._path(attempt).open("rb") as file:
            lines = [Line(*msgspec.structs.astuple(_decoder.decode(text))) for text in file]
        if wish.position:
            place = next((n for n, line in enumerate(lines) if line.position == wish.position), None)
            lines = lines[place + 1 :] if place is not None else [gap(None, lines[0].time, wish.position), *lines]
        elif wish.since is not None:
            lines = [line for line in lines if line.time >= wish.since]
        if wish.tail is not None:
            lines = lines[max(0, len(lines) - wish.tail) :]
        for start in range(0, len(lines), _BATCH):
            if reading.stopped:
                return
            yield lines[start : start + _BATCH]

    def _path(self, attempt: str) -> Path:
        return self._folder / attempt

    def _forget(self, wall: float) -> None:
        with contextlib.suppress(FileNotFoundError):
            files = sorted(self._folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
            for number, file in enumerate(files):
                if number >= KEPT - 1 or wall - file.stat().st_mtime > KEPT_FOR:
                    file.unlink()
