"""What instances print: kept in one file, bounded by copying the file away and emptying it.

The instance writes to the file itself (opened for appending), so it never waits for the engine and goes on writing
while the engine is away. What it prints between the copy and the emptying is lost; that is the price.
"""

from __future__ import annotations

import os
from pathlib import Path

#: An output file is rotated beyond this size in bytes, and one old file is kept. 10 MiB is the common size of a log
#: file (logrotate's and Docker's examples); two of them a hundred times are 2 GiB, which a device can bear.
ROTATE_AT = 10 * 1024 * 1024
#: Most bytes of output given at once: what fits into a few messages of the link.
TAIL_BYTES = 64 * 1024


def rotate(output: Path, limit: int = ROTATE_AT) -> bool:
    """Move the newest `limit` bytes of `output` to `<name>.1` and empty it, if it is larger; returns whether it was.

    Raises OSError; the file is emptied even when the copy did not fit on the disk, for then room is needed most.
    """
    try:
        size = output.stat().st_size
    except FileNotFoundError:
        return False
    if size <= limit:
        return False
    old = output.with_name(f"{output.name}.1")
    try:
        with output.open("rb") as source, old.open("wb") as target:
            offset = size - limit
            while offset < size:
                copied = os.sendfile(target.fileno(), source.fileno(), offset, size - offset)
                if not copied:
                    break
                offset += copied
    finally:
        os.truncate(output, 0)
    return True


def last_lines(data: bytes, lines: int) -> bytes:
    """The last `lines` lines of `data`, at most TAIL_BYTES."""
    if lines <= 0:
        return b""
    data = data[-TAIL_BYTES:]
    position = len(data) - 1 if data.endswith(b"\n") else len(data)
    for _ in range(lines):
        position = data.rfind(b"\n", 0, max(position, 0))
        if position < 0:
            return data
    return data[position + 1 :]


def tail(output: Path, lines: int) -> bytes:
    """The last `lines` lines that were printed, at most TAIL_BYTES; empty when nothing was."""
    data = _end_of(output, TAIL_BYTES)
    if len(data) < TAIL_BYTES:
        data = _end_of(output.with_name(f"{output.name}.1"), TAIL_BYTES - len(data)) + data
    return last_lines(data, lines)


def _end_of(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size)
    except FileNotFoundError:
        return b""
