"""Sizes on disk are learnt seldom, and never without bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from mangrove.base.clock import VirtualClock
from node_engine.runtimes import disk


def test_sizes_are_remembered_for_a_while() -> None:
    clock = VirtualClock()
    answers = iter([{"a": 1}, {"a": 2}])
    sizes = disk.DiskSizes(lambda: next(answers), clock, period=60)

    assert sizes.now() == {"a": 1}
    clock.advance_to(59)
    assert sizes.now() == {"a": 1}
    clock.advance_to(60)
    assert sizes.now() == {"a": 2}


def test_a_folder_with_everything_below_it(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "one").write_bytes(b"x" * 100_000)
    (tmp_path / "deep/er/two").write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to("/usr")

    assert 200_000 <= disk.size_of(tmp_path) < 300_000
    assert disk.size_of(tmp_path / "none") == 0


def test_a_folder_of_very_many_files_is_not_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_MOST_FILES", 3)
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"x" * 4096)

    assert 0 < disk.size_of(tmp_path) <= 3 * 8192
