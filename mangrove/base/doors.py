"""One question over a Unix socket, and the answer: between programs of one machine."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TypeVar

import msgspec

from mangrove.base.errors import Unavailable

_Shape = TypeVar("_Shape")

#: Bytes of a question or an answer: a view of a node with thousands of services has a tenth of this.
LARGEST = 16 * 1024 * 1024


def ask(path: Path, question: object, shape: type[_Shape], *, patience: float, who: str) -> _Shape:
    """The answer of `who` listens at `path`. patience: seconds to wait for each part of it.

    Raises Unavailable.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(question))
            connection.shutdown(socket.SHUT_WR)
            return msgspec.json.decode(read_all(connection), type=shape)
    except TimeoutError:
        raise Unavailable(f"{who} gave no answer within {patience:.0f} s at {path}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise Unavailable(f"{who} does not answer at {path}: {getattr(error, 'strerror', None) or error}") from None


def read_all(connection: socket.socket) -> bytes:
    """All that the other side sends until it ends. Raises OSError, also when it is too much."""
    parts, size = [], 0
    while part := connection.recv(65536):
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise OSError(f"more than {LARGEST} bytes were sent")
    return b"".join(parts)
