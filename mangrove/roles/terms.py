"""Where each term began in the store's life: by this a parent notices that its store went back in time.

A child keeps the term and the store's revision of what it was told. Whatever was told in term t was in the store before
term t+1 began; so a child that was told more in term t than the store had when t+1 began knows a future that this store
does not have: the store is an old copy, however often it was started since.
"""

from __future__ import annotations

from mangrove.model.documents import META
from mangrove.store.interface import Lease, Put, Store

_ID = "terms"
#: Terms remembered. Older ones are believed: no child is away for a thousand restarts of its parent.
_KEPT = 1000


class Terms:
    """Term → revision at which it began."""

    def __init__(self, begun: dict[int, int]) -> None:
        self._begun = begun

    @classmethod
    def begin(cls, store: Store, lease: Lease) -> Terms:
        """Note durably that the lease's term begins now."""
        stored = store.get(META, _ID)
        begun = {int(term): int(revision) for term, revision in stored.document.items()} if stored is not None else {}
        begun[lease.term] = store.revision()
        begun = dict(sorted(begun.items())[-_KEPT:])
        store.apply([Put(META, _ID, {str(term): revision for term, revision in begun.items()})], lease=lease)
        return cls(begun)

    def may_have_said(self, term: int, revision: int) -> bool:
        """Whether a parent with this store can have told something at `revision` in `term`."""
        later = [begin for begun, begin in self._begun.items() if begun > term]
        return not later or revision <= min(later)
