"""Where each term began in the store's life: by this a parent notices that its store went back in time.

A child keeps the term and the store's revision of what it was told. Whatever was told in term t was in the store before
term t+1 began; so a child that was told more in term t than the store had when t+1 began knows a future that this store
does not have: the store is an old copy, however often it was started since.
"""

from __future__ import annotations

import msgspec

from mangrove.model.documents import META
from mangrove.store.interface import Lease, Put, StaleLease, Store

_ID = "terms"
#: Terms remembered. Older ones are believed: no child is away for a thousand restarts of its parent.
_KEPT = 1000


class _Document(msgspec.Struct):
    """begun: term → revision at which it began. accepted: terms up to this are not judged."""

    begun: dict[str, int] = {}
    accepted: int = 0


class Terms:
    """The terms of one store."""

    def __init__(self, begun: dict[int, int], accepted: int) -> None:
        self._begun = begun
        self._accepted = accepted

    @classmethod
    def begin(cls, store: Store, lease: Lease) -> Terms:
        """Note durably that the lease's term begins now."""
        known = _read(store)
        begun = {int(term): revision for term, revision in known.begun.items()}
        begun[lease.term] = store.revision()
        begun = dict(sorted(begun.items())[-_KEPT:])
        _write(store, lease, _Document({str(term): revision for term, revision in begun.items()}, known.accepted))
        return cls(begun, known.accepted)

    def may_have_said(self, term: int, revision: int) -> bool:
        """Whether a parent with this store can have told something at `revision` in `term`."""
        if term <= self._accepted:
            return True
        later = [begin for begun, begin in self._begun.items() if begun > term]
        return not later or revision <= min(later)


def go_on_with(store: Store, name: str, holder: str, *, above: int) -> None:
    """An operator says that this store is the one to go on with, though children have obeyed up to term `above`.

    The terms are raised above that, and what children were told by another copy is no longer held against this one.
    No controller may run on the store meanwhile.
    """
    lease = store.acquire(name, holder)
    while lease is not None and lease.term <= above:
        lease = store.acquire(name, holder)
    if lease is None:
        raise StaleLease("another controller holds the store's lease: stop it first")
    _write(store, lease, _Document({}, lease.term))


def _read(store: Store) -> _Document:
    stored = store.get(META, _ID)
    return _Document() if stored is None else msgspec.convert(stored.document, _Document)


def _write(store: Store, lease: Lease, document: _Document) -> None:
    store.apply([Put(META, _ID, msgspec.to_builtins(document))], lease=lease)
