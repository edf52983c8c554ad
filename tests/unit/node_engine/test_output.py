"""What instances print is kept, bounded, and given from its end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from node_engine.runtimes.output import TAIL_BYTES, last_lines, rotate, tail


def test_nothing_printed_is_nothing_to_rotate_or_show(tmp_path: Path) -> None:
    assert not rotate(tmp_path / "output.log")
    assert tail(tmp_path / "output.log", 10) == b""


def test_a_small_file_stays(tmp_path: Path) -> None:
    output = tmp_path / "output.log"
    output.write_bytes(b"0123456789")

    assert not rotate(output, limit=10)
    assert output.read_bytes() == b"0123456789"


def test_a_large_file_is_moved_away_and_the_writer_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "output.log"
    with output.open("ab", buffering=0) as writer:
        writer.write(b"lost " + b"0123456789")
        assert rotate(output, limit=10)
        writer.write(b"more")

    assert output.read_bytes() == b"more"
    assert (tmp_path / "output.log.1").read_bytes() == b"0123456789", "the newest part, and no more than the limit"


def test_a_full_disk_empties_the_file_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "output.log"
    output.write_bytes(b"0" * 20)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "sendfile", full)
    with pytest.raises(OSError, match="No space left"):
        rotate(output, limit=10)
    assert output.stat().st_size == 0


@pytest.mark.parametrize(
    ("data", "lines", "expected"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\n", 9, b"a\nb\n"),
        (b"a\n\n\n", 2, b"\n\n"),
        (b"\n", 1, b"\n"),
        (b"abc", 1, b"abc"),
        (b"a\nb\n", 0, b""),
        (b"", 3, b""),
    ],
)
def test_last_lines(data: bytes, lines: int, expected: bytes) -> None:
    assert last_lines(data, lines) == expected


def test_the_tail_reaches_back_into_the_old_file(tmp_path: Path) -> None:
    output = tmp_path / "output.log"
    (tmp_path / "output.log.1").write_bytes(b"one\ntwo\n")
    output.write_bytes(b"three\n")

    assert tail(output, 2) == b"two\nthree\n"


def test_the_tail_is_bounded(tmp_path: Path) -> None:
    output = tmp_path / "output.log"
    output.write_bytes(b"x" * (2 * TAIL_BYTES))

    assert len(tail(output, 1_000_000)) == TAIL_BYTES
