"""Which queries there are."""

from __future__ import annotations

from mangrove.store.interface import INDEXES


def check_query(collection: str, field: str, limit: int | None) -> None:
    """Raises ValueError unless `collection` can be queried by `field`, and `limit` is a number of documents."""
    if field not in INDEXES.get(collection, ()):
        raise ValueError(f"{collection}.{field}: is not declared as an index; add it to INDEXES")
    if limit is not None:
        check_limit(limit)


def check_limit(limit: int) -> None:
    """Raises ValueError unless `limit` is a number of documents."""
    if limit < 0:
        raise ValueError(f"limit: {limit} is negative; give a number of documents")
