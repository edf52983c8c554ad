"""The stores that are held to the contract. A further one is one function and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from mangrove.store.interface import Store
from mangrove.store.memory import MemoryStore
from mangrove.store.mongo import MongoStore
from mangrove.store.sqlite import SqliteStore
from tests.mongo_server import database

#: Gives the store as a process finds it that starts now: new at the first call; the one before is closed.
Open = Callable[[], Store]


@contextmanager
def _memory(folder: Path) -> Iterator[Open]:
    store = MemoryStore()

    def open_it() -> Store:
        store.close()
        return store.reopen()

    yield open_it
    store.close()


@contextmanager
def _reopening(make: Callable[[], Store]) -> Iterator[Open]:
    opened: list[Store] = []

    def open_it() -> Store:
        for store in opened:
            store.close()
        opened[:] = [make()]
        return opened[0]

    yield open_it
    for store in opened:
        store.close()


def _sqlite(folder: Path) -> AbstractContextManager[Open]:
    return _reopening(lambda: SqliteStore(folder / "store.db"))


@contextmanager
def _mongo(folder: Path) -> Iterator[Open]:
    with database() as uri, _reopening(lambda: MongoStore(uri)) as open_it:
        yield open_it


IMPLEMENTATIONS: dict[str, Callable[[Path], AbstractContextManager[Open]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "mongo": _mongo,
}
