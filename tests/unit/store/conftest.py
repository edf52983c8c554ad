"""Fixtures of the contract: each test that takes one runs on every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mangrove.store.interface import Store
from tests.unit.store.implementations import IMPLEMENTATIONS, Open


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the test's store, each time as a new process would."""
    with IMPLEMENTATIONS[request.param](tmp_path) as open_it:
        yield open_it


@pytest.fixture
def store(open_store: Open) -> Store:
    """A new, empty store."""
    return open_store()
