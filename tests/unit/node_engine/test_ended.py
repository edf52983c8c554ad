"""The end of what instances printed is kept for a while after they are gone, within bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from node_engine import ended
from node_engine.ended import Ended
from node_engine.runtimes.interface import RuntimeFault
from node_engine.runtimes.printed import Line, Reading, Wish
from node_engine.runtimes.simulated import SimulatedRuntime


class Printing(SimulatedRuntime):
    """Whose instances have printed `count` lines each."""

    def __init__(self, count: int, length: int = 5) -> None:
        super().__init__()
        self.count = count
        self.length = length

    def logs(self, attempt: str, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
        for number in range(self.count):
            yield [Line(100.0 + number, "stderr", f"{number:05}".encode() + b"x" * (self.length - 5), str(number + 1))]


class Broken(SimulatedRuntime):
    def logs(self, attempt: str, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
        raise RuntimeFault("away")


def texts(kept: Ended, wish: Wish | None = None) -> list[str]:
    return [line.text.decode() for lines in kept.logs("a1", wish or Wish(), Reading()) for line in lines]


def test_all_is_as_it_was(tmp_path: Path) -> None:
    kept = Ended(tmp_path)
    assert not kept.has("a1")
    kept.keep("a1", Printing(3), 1000.0)
    assert kept.has("a1")
    assert texts(kept) == ["00000", "00001", "00002"]
    assert texts(kept, Wish(tail=1)) == ["00002"]
    assert texts(kept, Wish(position="2")) == ["00002"]
    assert texts(kept, Wish(since=101.0)) == ["00001", "00002"]
    [line, *_] = next(kept.logs("a1", Wish(), Reading()))
    assert line == Line(100.0, "stderr", b"00000", "1")


def test_a_position_that_is_not_kept_is_told_as_a_gap(tmp_path: Path) -> None:
    kept = Ended(tmp_path)
    kept.keep("a1", Printing(2), 1000.0)
    assert texts(kept, Wish(position="77")) == [
        "… some lines were rotated away before they were read",
        "00000",
        "00001",
    ]


def test_only_the_end_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended, "LARGEST", 1000)
    kept = Ended(tmp_path)
    kept.keep("a1", Printing(50, length=100), 1000.0)
    assert [text[:5] for text in texts(kept)] == [f"{number:05}" for number in range(40, 50)]


def test_the_newest_are_kept_and_none_for_ever(tmp_path: Path) -> None:
    kept = Ended(tmp_path)
    for number in range(ended.KEPT + 5):
        kept.keep(f"a{number}", Printing(1), 1000.0)
        os.utime(tmp_path / f"a{number}", (number, number))
    there = {file.name for file in tmp_path.iterdir()}
    assert there == {f"a{number}" for number in range(5, ended.KEPT + 5)}
    kept.keep("late", Printing(1), ended.KEPT_FOR + 100)
    assert {file.name for file in tmp_path.iterdir()} == {"late"}


def test_what_cannot_be_read_holds_no_removal_up(tmp_path: Path) -> None:
    kept = Ended(tmp_path)
    kept.keep("a1", Broken(), 1000.0)
    kept.keep("a2", Printing(0), 1000.0)
    assert not kept.has("a1")
    assert not kept.has("a2")
    assert not kept.has("../escape")
