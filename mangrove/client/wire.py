"""An answer's bytes as they come from a socket, with an end in time and in size."""

from __future__ import annotations

import http.client
import io
import socket
from time import monotonic
from typing import Any

#: Bytes asked for at a time.
_CHUNK = 64 * 1024


class TooLarge(Exception):
    """The other side sends more than is read."""


class Silent(TimeoutError):
    """The other side began to answer, and said nothing more for too long."""


class Reader(io.RawIOBase):
    """What a connection's other side sends, with an end however steadily it drips in.

    deadline: by which the whole answer must be there. silence: seconds between two pieces; instead, once it is set.
    """

    def __init__(self, wire: socket.socket, deadline: float) -> None:
        self._wire = wire
        self._raw = wire.makefile("rb", buffering=0)
        self._deadline = deadline
        self.silence: float | None = None
        wire.settimeout(max(0.001, deadline - monotonic()))  # for what is sent

    def answer(self, method: str) -> http.client.HTTPResponse:
        """The head of the answer to `method`, read; its body is read through this reader too."""
        answer = http.client.HTTPResponse(self._wire, method=method)
        answer.fp.close()
        answer.fp = io.BufferedReader(self)
        answer.begin()
        return answer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - monotonic() if self.silence is None else self.silence
        if left <= 0:
            raise TimeoutError
        self._wire.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        except TimeoutError:
            raise (TimeoutError if self.silence is None else Silent) from None

    def close(self) -> None:
        self._raw.close()
        super().close()


def read_whole(answer: http.client.HTTPResponse, limit: int) -> bytes:
    """The whole body. Raises what reading raises, TooLarge when there are more than `limit` bytes."""
    content = bytearray()
    while chunk := answer.read1(_CHUNK):
        content += chunk
        if len(content) > limit:
            raise TooLarge
    if answer.length:
        raise http.client.IncompleteRead(bytes(content[:0]), answer.length)
    return bytes(content)
