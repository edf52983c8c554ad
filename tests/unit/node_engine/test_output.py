"""What processes print is kept, bounded, and given line by line from wherever one wants, with what is missing told."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_engine.runtimes import output
from node_engine.runtimes.interface import RuntimeFault
from node_engine.runtimes.output import look, read
from node_engine.runtimes.printed import LONGEST, Line, Reading, Wish

#: More than a block of the disk many times over.
LIMIT = 64 * 1024


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "output.log"


def lines(log: Path, wish: Wish | None = None) -> list[Line]:
    return [line for batch in read(log, wish or Wish(), Reading()) for line in batch]


def texts(log: Path, wish: Wish | None = None) -> list[str]:
    return [line.text.decode() for line in lines(log, wish)]


def append(log: Path, content: bytes) -> None:
    with log.open("ab") as file:
        file.write(content)


def test_nothing_printed_is_nothing_to_look_at(log: Path) -> None:
    look(log, 1.0)
    assert not list(log.parent.iterdir())
    log.touch()
    look(log, 1.0)
    assert lines(log) == []


@pytest.mark.parametrize(
    ("content", "tail", "expected"),
    [
        (b"a\nb\nc\n", None, ["a", "b", "c"]),
        (b"a\nb\nc\n", 2, ["b", "c"]),
        (b"a\nb\nc", 2, ["b", "c"]),
        (b"a\nb\n", 9, ["a", "b"]),
        (b"a\n\n\n", 2, ["", ""]),
        (b"\n", 1, [""]),
        (b"abc", 1, ["abc"]),
        (b"a\nb\n", 0, []),
    ],
)
def test_the_last_lines(log: Path, content: bytes, tail: int | None, expected: list[str]) -> None:
    log.write_bytes(content)
    assert texts(log, Wish(tail=tail)) == expected


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 3 * LONGEST), max_size=30), st.data())
def test_reading_goes_on_behind_any_line(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    log = tmp_path_factory.mktemp("log") / "output.log"
    log.write_bytes(b"".join(b"x" * size + b"\n" for size in sizes))
    every = lines(log)
    assert [len(line.text) for line in every if len(line.text) <= LONGEST] == [
        size for size in sizes if size <= LONGEST
    ]
    assert len(every) == len(sizes)
    place = data.draw(st.integers(0, len(sizes)))
    behind = every[place - 1].position if place else "0"
    assert lines(log, Wish(position=behind)) == every[place:]
    count = data.draw(st.integers(0, len(sizes)))
    assert lines(log, Wish(tail=count)) == every[len(every) - count :]


def test_what_is_too_old_is_given_back_and_the_writer_goes_on(log: Path) -> None:
    with log.open("ab", buffering=0) as writer:
        for number in range(20_000):
            writer.write(b"line %06d\n" % number)
        look(log, 1.0, LIMIT)
        writer.write(b"more\n")

    assert os.stat(log).st_blocks * 512 < 2 * LIMIT
    kept = texts(log)
    assert kept[-2:] == ["line 019999", "more"]
    assert len(kept) * 12 >= LIMIT
    assert kept[0] == f"line {20_000 - len(kept) + 1:06}", "nothing in between is missing, and no line is half there"


def test_a_gap_between_what_was_read_and_what_is_there_is_told(log: Path) -> None:
    append(log, b"".join(b"line %06d\n" % number for number in range(10)))
    seen = lines(log)[-1]
    append(log, b"".join(b"line %06d\n" % number for number in range(10, 20_000)))
    look(log, 1.0, LIMIT)

    gap, first, *_ = lines(log, Wish(position=seen.position))
    missing = 12 * (int(first.text[5:]) - 10)
    assert gap.text.decode() == f"… {missing:,} bytes were rotated away before they were read"
    assert gap.stream == "mangrove"
    assert int(gap.position) + 12 == int(first.position)


def test_a_reader_that_is_overtaken_is_told(log: Path) -> None:
    append(log, b"".join(b"line %06d\n" % number for number in range(20_000)))
    batches = read(log, Wish(), Reading())
    first = next(batches)
    look(log, 1.0, LIMIT)

    rest = [line for batch in batches for line in batch]
    missing = (int(rest[1].text[5:]) - int(first[-1].text[5:]) - 1) * 12
    assert rest[0].text.decode() == f"… {missing:,} bytes were rotated away before they were read"
    assert rest[-1].text == b"line 019999"


def test_a_disk_without_holes_loses_all_of_it_and_says_so(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        ctypes.set_errno(errno.EOPNOTSUPP)
        return -1

    monkeypatch.setattr(output, "_fallocate", refuse)
    append(log, b"x" * 79 + b"\n")
    seen = lines(log)[-1]
    append(log, b"y" * (3 * LIMIT) + b"\n")
    look(log, 1.0, LIMIT)
    assert log.stat().st_size == 0
    append(log, b"after\n")

    assert texts(log, Wish(position=seen.position)) == ["… some lines were rotated away before they were read", "after"]


def test_times_are_those_of_the_looks_and_of_the_newest_write(log: Path) -> None:
    append(log, b"one\n")
    look(log, 100.0)
    look(log, 150.0)
    append(log, b"two\nthree\n")
    look(log, 200.0)
    append(log, b"four\n")
    os.utime(log, (250.0, 250.0))

    assert [line.time for line in lines(log)] == [100.0, 200.0, 200.0, 250.0]
    assert texts(log, Wish(since=150.0)) == ["two", "three", "four"]
    assert texts(log, Wish(since=50.0)) == ["one", "two", "three", "four"]
    assert texts(log, Wish(since=300.0)) == ["four"], "what came after the last look may be newer"
    assert texts(log, Wish(since=150.0, tail=1)) == ["four"]


def test_marks_are_bounded(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_MOST_MARKS", 8)
    for number in range(100):
        append(log, b"x\n")
        look(log, float(number))

    assert log.with_suffix(".times").stat().st_size <= 16 * 9
    times = [line.time for line in lines(log)]
    assert times == sorted(times)
    assert times[-1] == 99.0


def test_following_waits_for_whole_lines_until_the_end(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_LOOK", 0.001)
    log.write_bytes(b"one\nhal")
    over = threading.Event()
    batches = read(log, Wish(follow=True), Reading(over.is_set))
    assert [line.text for line in next(batches)] == [b"one"]
    append(log, b"f\n")
    assert [line.text for line in next(batches)] == [b"half"]
    append(log, b"no end")
    over.set()
    assert [[line.text for line in batch] for batch in batches] == [[b"no end"]]


def test_following_waits_for_what_was_not_started_yet(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def over() -> bool:
        nonlocal looks
        looks += 1
        if looks == 3:
            log.write_bytes(b"begun\n")
        return looks > 5

    monkeypatch.setattr(output, "_LOOK", 0.001)
    assert [line.text for batch in read(log, Wish(follow=True), Reading(over)) for line in batch] == [b"begun"]


def test_a_reader_that_stopped_is_given_no_more(log: Path) -> None:
    log.write_bytes(b"one\n")
    reading = Reading(lambda: False)
    woken: list[Callable[[], object]] = []
    reading.on_stop(lambda: woken.append(reading.stop))
    batches = read(log, Wish(follow=True), reading)
    next(batches)
    reading.stop()
    assert list(batches) == []
    assert len(woken) == 1


def test_a_line_that_is_too_long_is_cut_and_says_so(log: Path) -> None:
    log.write_bytes(b"a" * 1_000_000 + b"\nshort\n" + b"b" * LONGEST + b"\n")
    first, second, third = texts(log)
    assert first == "a" * LONGEST + f" … {1_000_000 - LONGEST:,} more bytes of this line are left out"
    assert (second, third) == ("short", "b" * LONGEST)


@pytest.mark.parametrize("position", ["77.2", "-1", "x"])
def test_a_position_of_another_runtime_is_refused(tmp_path: Path, position: str) -> None:
    file = tmp_path / "output"
    file.write_bytes(b"one\n")
    with pytest.raises(RuntimeFault, match="no position in the output of a process"):
        list(read(file, Wish(position=position), Reading()))


def test_an_instance_that_makes_its_output_endless_holds_up_nobody(log: Path) -> None:
    append(log, b"begin\n")
    os.truncate(log, 2**40)
    append(log, b"\nend\n")
    for wish in (Wish(), Wish(tail=5), Wish(since=0.5), Wish(position="6")):
        assert texts(log, wish)[-1] == "end"
