"""Lists in pages: at most so many items behind a cursor, with bounded memory however much there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

from mangrove.store.interface import Store, Stored

_T = TypeVar("_T")

#: Documents read at a time.
CHUNK = 200

#: Documents looked at for one page, so that a filter that nearly nothing passes keeps no thread for long.
EXAMINED = 5000


class PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which page. limit: items at most; after: the `next` of the page before."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: Annotated[str, Meta(max_length=200)] = ""


class Listing(msgspec.Struct, Generic[_T], frozen=True):
    """One page. next: the cursor behind it, or null at the end. A page with a `next` may hold fewer items than asked
    for, even none, when a filter passed few of many."""

    items: list[_T]
    next: str | None


def page(candidates: Iterable[tuple[str, _T | None]], limit: int) -> Listing[_T]:
    """The first `limit` of what is there. candidates: each with its cursor, in the order of these; None: filtered out,
    which is looked at `EXAMINED` times at most."""
    items: list[_T] = []
    last, examined = "", 0
    for cursor, item in candidates:
        if len(items) >= limit or examined >= EXAMINED:
            return Listing(items, last)
        last, examined = cursor, examined + 1
        if item is not None:
            items.append(item)
    return Listing(items, None)


def behind(after: str, candidates: Iterable[tuple[str, _T]]) -> Iterator[tuple[str, _T]]:
    """Those of a short list whose cursor comes behind `after`, by cursor."""
    return iter(sorted((each for each in candidates if each[0] > after), key=lambda each: each[0]))


def chunks(store: Store, collection: str, after: str) -> Iterator[list[Stored]]:
    """A collection from the id behind `after` on, a few documents at a time."""
    while found := store.page(collection, after=after, limit=CHUNK):
        yield found
        after = found[-1].id


def chunks_of(store: Store, collection: str, field: str, values: Iterable[str], after: str) -> Iterator[list[Stored]]:
    """The same of those documents whose `field` has one of `values`, which the ids must begin with, in order."""
    for value in sorted(values):
        start = after
        while found := store.query(collection, field, value, after=start, limit=CHUNK):
            yield found
            start = found[-1].id
