"""How documents change from one version of Mangrove to the next: pure functions, applied by each store as it opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mangrove.store.interface import Document, StoreUnavailable

#: What becomes of one document, given its id; None: it is removed. A function of these alone, for it may run again
#: where it was interrupted, and beside another program that opens the same store.
Change = Callable[[str, Document], Document | None]

#: By collection, for those that change.
Migration = Mapping[str, Change]

#: What brings documents of schema version n to n + 1, by n. A new version is a new entry; those that stand never
#: change. A field that is new and has a default needs none.
MIGRATIONS: tuple[Migration, ...] = ()


class NewerStore(StoreUnavailable):
    """A newer version of Mangrove has written this store; nothing was changed."""

    def __init__(self, name: str, schema: int, known: int) -> None:
        super().__init__(
            f"{name} was written by a newer version of Mangrove (schema {schema}, this one knows {known}); "
            "install that version again"
        )


def changed(migration: Migration, collection: str, id: str, document: Document) -> Document | None:
    """The document as the migration leaves it."""
    change = migration.get(collection)
    return document if change is None else change(id, document)
