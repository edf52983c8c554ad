"""The stores that are held to the contract. A further one is one function and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mangrove.store.interface import Store
from mangrove.store.memory import MemoryStore
from mangrove.store.sqlite import SqliteStore

#: Gives the store as a process finds it that starts now: new at the first call; the one before is closed.
Open = Callable[[], Store]


def _memory(folder: Path) -> Open:
    store = MemoryStore()

    def open_it() -> Store:
        store.close()
        return store.reopen()

    return open_it


def _sqlite(folder: Path) -> Open:
    opened: list[Store] = []

    def open_it() -> Store:
        for store in opened:
            store.close()
        opened[:] = [SqliteStore(folder / "store.db")]
        return opened[0]

    return open_it


IMPLEMENTATIONS: dict[str, Callable[[Path], Open]] = {"memory": _memory, "sqlite": _sqlite}
