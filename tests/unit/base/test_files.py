"""Folders that keep others out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mangrove.base.files import private_folder


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_folder_is_open_to_its_owner_alone(tmp_path: Path) -> None:
    made = private_folder(tmp_path / "beside" / "mine")
    assert made == tmp_path / "beside" / "mine"
    assert (mode(made), mode(made.parent)) == (0o700, 0o755)


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o750)
    assert mode(private_folder(shared)) == 0o750
