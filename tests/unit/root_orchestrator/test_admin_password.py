"""Admin's first password: given in a file by who sets the root up."""

from __future__ import annotations

from pathlib import Path

import pytest

from mangrove.base.clock import VirtualClock
from mangrove.base.errors import InvalidInput
from mangrove.store.memory import MemoryStore
from root_orchestrator.auth.users import Users, ensure_admin, password_in
from tests.root_api import CHEAP


def test_the_password_that_is_given_is_taken_once() -> None:
    store, clock = MemoryStore(), VirtualClock()
    made = ensure_admin(store, clock, allow_default=False, given="correct horse", passwords=CHEAP)
    assert made == "correct horse"
    admin = Users(store).named("Admin")
    assert admin is not None
    assert CHEAP.matches(admin.password, "correct horse")
    assert ensure_admin(store, clock, allow_default=False, given="battery staple", passwords=CHEAP) is None
    assert Users(store).named("Admin") == admin


def test_it_is_the_line_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    assert password_in(file) == "correct horse"
    assert password_in(None) == ""


@pytest.mark.parametrize("content", [b"", b"short\n", b"two\nlines of text", b"\x00" * 12, b"x" * 1025])
def test_a_file_without_a_usable_password_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"--admin-password-file: .* 8 to 1024 printable"):
        password_in(file)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        password_in(tmp_path / "missing")
