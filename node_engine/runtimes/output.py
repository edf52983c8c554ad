"""What processes print: kept in one file each, of which the beginning is given back to the disk when it grows.

The instance writes to the file itself (opened for appending), so it never waits for the engine and goes on writing
while the engine is away. Giving back punches a hole: what is left keeps its place, so a position in the output is
simply an offset in the file, for as long as the file is there. Both of the instance's streams go into it, in the order
in which they were written.

When something was printed is known from marks beside the file: how far it reached when it was looked at.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from mangrove.base.files import write_atomically
from node_engine.runtimes.interface import RuntimeFault
from node_engine.runtimes.printed import LONGEST, Line, Reading, Wish, cut, gap

#: Bytes of output that are kept at least; at twice that, what is older is given back. 10 MiB is the common size of a
#: log file (logrotate's and Docker's examples); two of them a hundred times are 2 GiB, which a device can bear.
ROTATE_AT = 10 * 1024 * 1024
#: Bytes from the end beyond which nothing is looked for, though it may not be given back yet: the file is the
#: instance's own, which can make it as long as it likes by a hole that takes no room.
_MOST_READ = 4 * ROTATE_AT
#: Bytes read at a time: some hundred lines, a few messages of the link.
_BLOCK = 64 * 1024
#: Seconds between two looks for more while somebody follows: below what a person notices, and 5 looks cost 50 µs.
_LOOK = 0.2
#: Marks of one file; beyond that every other one is forgotten. 64 KiB on disk, an hour at full resolution.
_MOST_MARKS = 4096
_MARK = struct.Struct("<qd")  # offset, wall-clock seconds
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02  # fallocate(2)

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def look(output: Path, wall: float, limit: int = ROTATE_AT) -> None:
    """Mark how far the output reaches at `wall` (seconds), and give back what is too old. Raises OSError."""
    try:
        file = os.open(output, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        size, floor = os.fstat(file).st_size, _floor(file)
        _mark(_marks_of(output), size, wall, floor)
        if size - floor > 2 * limit:
            _give_back(file, size - limit)
    finally:
        os.close(file)


def read(output: Path, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
    """The lines that are wished for, in batches. Raises OSError, FileNotFoundError when nothing was ever printed,
    RuntimeFault for a position that is none."""
    while wish.follow and not output.exists() and not reading.over():  # it has not been started yet
        if not reading.wait(_LOOK):
            return
    with output.open("rb", buffering=0) as file:
        yield from _Reader(file.fileno(), _marks_of(output), wish).lines(reading)


class _Reader:
    """Where one reader stands: all before `_at` was given; `_partial` follows it, of a line whose end is not there yet,
    and `_dropped` bytes of that line which are left out."""

    def __init__(self, file: int, marks: Path, wish: Wish) -> None:
        self._file = file
        self._marks = marks
        self._follow = wish.follow
        self._partial = b""
        self._dropped = 0
        self._missing: int | None = 0  # bytes that are to be told of as gone; None: nobody knows how many
        self._times = _read_marks(marks)
        size, floor = os.fstat(file).st_size, _floor(file)
        at = floor
        if wish.position:
            if not wish.position.isdecimal():
                raise RuntimeFault(f"since: {wish.position[:40]!r} is no position in the output of a process")
            wanted = int(wish.position)
            at = wanted if wanted <= size else floor
            self._missing = None if wanted > size else 0
        elif wish.since is not None:
            before = bisect_left([time for _, time in self._times], wish.since)
            at = max(floor, self._times[before - 1][0] if before else 0)
            at = self._line_start(min(at, size), floor)
        if wish.tail is not None:
            at = max(at, self._last(wish.tail, size, floor))
        if at == floor and floor and not wish.position:
            at = self._next_line(floor)  # what is left of a line is no line
        self._at = at

    def lines(self, reading: Reading) -> Iterator[Sequence[Line]]:
        """All there is, and then, if that is wished for, what comes."""
        while not reading.stopped:
            over = reading.over() or not self._follow  # asked before reading, so that nothing is printed in between
            batch = self._batch()
            if batch:
                yield batch
            elif batch is None and over:
                if self._partial:
                    yield [self._line(cut(self._partial, self._dropped), len(self._partial) + self._dropped)]
                return
            elif batch is None and not reading.wait(_LOOK):
                return

    def _batch(self) -> list[Line] | None:
        """The next lines; empty when there is only a part of one; None when there is nothing."""
        begin = self._at + len(self._partial) + self._dropped
        data = os.pread(self._file, _BLOCK, begin)
        floor = _floor(self._file)
        if os.fstat(self._file).st_size < begin:  # emptied, on a disk that knows no holes
            self._at, self._partial, self._dropped, self._missing = 0, b"", 0, None
            return []
        if data and floor > self._at:  # what was read may be a hole by now
            resumed = self._next_line(floor)
            self._missing = None if self._missing is None else self._missing + resumed - self._at
            self._at, self._partial, self._dropped = resumed, b"", 0
            return []
        if not data:
            return None
        told = []
        written = os.fstat(self._file).st_mtime
        if self._missing != 0:
            told.append(gap(self._missing, written, str(self._at)))
            self._missing = 0
        *texts, partial = (self._partial + data).split(b"\n")
        marked = self._times[-1][0] if self._times else 0
        for text in texts:
            end = self._at + len(text) + self._dropped + 1
            if self._dropped or len(text) > LONGEST:
                text = cut(text, self._dropped)
                self._dropped = 0
            time = written if end > marked else self._times[bisect_left(self._times, (end, 0.0))][1]
            told.append(Line(time, "stdout", text, str(end)))
            self._at = end
        self._dropped += max(0, len(partial) - LONGEST)
        self._partial = partial[:LONGEST]
        return told

    def _line(self, text: bytes, length: int) -> Line:
        self._at += length
        return Line(os.fstat(self._file).st_mtime, "stdout", text, str(self._at))

    def _line_start(self, at: int, floor: int) -> int:
        """The beginning of the line that byte `at` is in."""
        while at > floor:
            block = os.pread(self._file, min(_BLOCK, at - floor), max(floor, at - _BLOCK))
            newline = block.rfind(b"\n")
            if newline >= 0:
                return at - len(block) + newline + 1
            at -= len(block)
        return at

    def _next_line(self, at: int) -> int:
        """The beginning of the line behind the one that byte `at` is in; the end when there is none."""
        while block := os.pread(self._file, _BLOCK, at):
            newline = block.find(b"\n")
            if newline >= 0:
                return at + newline + 1
            at += len(block)
        return at

    def _last(self, count: int, size: int, floor: int) -> int:
        """Where the last `count` lines begin."""
        if count <= 0:
            return size
        at, wanted = size, count
        if size > floor and os.pread(self._file, 1, size - 1) == b"\n":
            wanted += 1
        while at > floor:
            begin = max(floor, at - _BLOCK)
            block = os.pread(self._file, at - begin, begin)
            there = block.count(b"\n")
            if there >= wanted:
                place = len(block)
                for _ in range(wanted):
                    place = block.rfind(b"\n", 0, place)
                return begin + place + 1
            wanted -= there
            at = begin
        return floor


def _floor(file: int) -> int:
    """The offset of the oldest byte that counts as there."""
    size = os.fstat(file).st_size
    try:
        return max(os.lseek(file, 0, os.SEEK_DATA), size - _MOST_READ)
    except OSError as error:
        if error.errno == errno.ENXIO:  # there is none
            return size
        raise


def _give_back(file: int, until: int) -> None:
    """Let the disk have what stands before `until`, by whole blocks."""
    until -= until % os.fstat(file).st_blksize
    if _fallocate(file, _PUNCH_HOLE | _KEEP_SIZE, 0, until) == 0:
        return
    error = ctypes.get_errno()
    if error not in (errno.EOPNOTSUPP, errno.ENOSYS):
        raise OSError(error, os.strerror(error))
    os.ftruncate(file, 0)  # a disk that knows no holes, such as FAT: then all of it, for it must not grow for ever


def _marks_of(output: Path) -> Path:
    return output.with_suffix(".times")


def _read_marks(marks: Path) -> list[tuple[int, float]]:
    try:
        content = marks.read_bytes()
    except FileNotFoundError:
        return []
    return list(_MARK.iter_unpack(content[: len(content) - len(content) % _MARK.size]))


def _mark(marks: Path, size: int, wall: float, floor: int) -> None:
    file = os.open(marks, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        known = os.fstat(file).st_size // _MARK.size
        newest = _MARK.unpack(os.pread(file, _MARK.size, (known - 1) * _MARK.size))[0] if known else 0
        if size > newest and known < _MOST_MARKS:
            os.write(file, _MARK.pack(size, wall))
    finally:
        os.close(file)
    if size < newest or (size > newest and known >= _MOST_MARKS):
        kept = [] if size < newest else [mark for mark in _read_marks(marks)[::2] if mark[0] > floor]
        write_atomically(marks, b"".join(_MARK.pack(*mark) for mark in (*kept, (size, wall))))
