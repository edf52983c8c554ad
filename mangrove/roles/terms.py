"""Where each term began in the store's life: by this a parent notices that its store went back in time.

A child keeps the term, the tenure and the store's revision of what it was told. Whatever was told in term t was in the
store before term t+1 began; so a child that was told more in term t than the store had when t+1 began knows a future
that this store does not have: the store is an old copy, however often it was started since. Two copies may both come to
term t+1, but each gave it a tenure of its own: a child that knows another one was told by another copy.
"""

from __future__ import annotations

import msgspec

from mangrove.model.documents import META
from mangrove.store.interface import Lease, Put, StaleLease, Store

_ID = "terms"
#: Terms remembered. Older ones are believed: no child is away for a thousand restarts of its parent.
_KEPT = 1000


#: Terms by which a restore goes ahead: a parent that is started once a second comes to as many in eleven days.
_STRIDE = 1_000_000


class _Begun(msgspec.Struct, frozen=True):
    """tenure: id of the holding of the lease that began; revision: of the store then."""

    tenure: str
    revision: int


class _Document(msgspec.Struct):
    """begun: by term. accepted: terms up to this are not judged. adopt: seconds from the next start on in which the
    parent adopts (see `adopting`); until: wall-clock seconds at which that ends, once it has begun."""

    begun: dict[str, _Begun] = {}
    accepted: int = 0
    adopt: float = 0.0
    until: float = 0.0


class Terms:
    """The terms of one store. tenure: of the term that has just begun. adopting_until: wall-clock seconds; 0 when the
    store was not brought back by an operator."""

    def __init__(self, begun: dict[int, _Begun], accepted: int, tenure: str, adopting_until: float = 0.0) -> None:
        self.tenure = tenure
        self.adopting_until = adopting_until
        self._begun = begun
        self._accepted = accepted

    @classmethod
    def begin(cls, store: Store, lease: Lease, tenure: str, wall: float = 0.0) -> Terms:
        """Note durably that the lease's term begins now, at `wall` (wall-clock seconds)."""
        known = _read(store)
        begun = {int(term): one for term, one in known.begun.items()}
        begun[lease.term] = _Begun(tenure, store.revision())
        begun = dict(sorted(begun.items())[-_KEPT:])
        until = known.until or (wall + known.adopt if known.adopt else 0.0)
        document = _Document({str(term): one for term, one in begun.items()}, known.accepted, known.adopt, until)
        _write(store, lease, document)
        return cls(begun, known.accepted, tenure, until)

    def may_have_said(self, term: int, tenure: str, revision: int) -> bool:
        """Whether a parent with this store, or with what it was copied from, told something at `revision` in `term`."""
        if term <= self._accepted or term < min(self._begun):
            return True
        own = self._begun.get(term)
        if own is None or own.tenure != tenure:
            return False
        later = [one.revision for begun, one in self._begun.items() if begun > term]
        return not later or revision <= min(later)


def go_on_with(store: Store, name: str, holder: str, *, above: int | None = None, adopt: float = 0.0) -> int:
    """An operator says that this store is the one to go on with, though children have obeyed up to term `above`; the
    new term. Without `above`, it is raised by as much as no parent can have been started in between.

    What children were told by another copy is no longer held against this one, and for `adopt` seconds from its start
    on the parent adopts what it does not know. No controller may run on the store meanwhile. Raises StaleLease.
    """
    if above is None:
        known = store.lease(name)
        above = (known.term if known is not None else 0) + _STRIDE
    lease = store.acquire(name, holder, above=above)
    if lease is None:
        raise StaleLease("another controller holds the store's lease: stop it first")
    _write(store, lease, _Document({}, lease.term, adopt))
    return lease.term


def _read(store: Store) -> _Document:
    stored = store.get(META, _ID)
    return _Document() if stored is None else stored.read(_Document)


def _write(store: Store, lease: Lease, document: _Document) -> None:
    store.apply([Put(META, _ID, msgspec.to_builtins(document))], lease=lease)
