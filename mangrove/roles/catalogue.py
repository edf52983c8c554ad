"""Specifications by their digest, read from the store when first needed. They never change, so they are never stale."""

from __future__ import annotations

import msgspec

from mangrove.model.documents import SPECIFICATIONS
from mangrove.model.specification import Specification
from mangrove.store.interface import Store

#: Kept in memory; a tree rarely knows more services, and what is pushed out is read again.
_KEPT = 10_000


class Catalogue:
    """The specifications that a parent's slots name."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[Specification, bytes]] = {}

    def __getitem__(self, digest: str) -> Specification:
        """A specification. Raises KeyError when the store has none of this digest."""
        return self._get(digest)[0]

    def __contains__(self, digest: str) -> bool:
        """Whether the store has it."""
        try:
            self._get(digest)
        except KeyError:
            return False
        return True

    def json(self, digest: str) -> bytes:
        """A specification as it goes over the link. Raises KeyError."""
        return self._get(digest)[1]

    def _get(self, digest: str) -> tuple[Specification, bytes]:
        known = self._known.get(digest)
        if known is None:
            stored = self._store.get(SPECIFICATIONS, digest)
            if stored is None:
                raise KeyError(f"specification {digest} is not in the store")
            specification = stored.read(Specification)
            known = (specification, msgspec.json.encode(specification))
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[digest] = known
        return known
