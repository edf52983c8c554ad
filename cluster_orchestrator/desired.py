"""What the root wants of this cluster, kept as the cluster's own slots: the root's attempt is the cluster's slot."""

from __future__ import annotations

import logging

import msgspec

from mangrove.base.log import about
from mangrove.model import documents
from mangrove.model.attempt import Attempt
from mangrove.model.documents import Slot
from mangrove.model.specification import Specification
from mangrove.roles.child import Held
from mangrove.store.interface import Operation, Put, Store

log = logging.getLogger(__name__)

#: In the collection of what there is only one of: whose assignment the slots are.
_ASSIGNMENT = "assignment"


class SlotMemory:
    """A `roles.child.Memory` in the cluster's store: a change writes the slots that it concerns, in one batch."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Attempt] = {}
        self._specifications: set[str] = set()  # those in the store that slots of `_known` name

    def load(self) -> Held | None:
        stored = self._store.get(documents.META, _ASSIGNMENT)
        if stored is None:
            return None
        for entry in self._store.load(documents.SLOTS):
            slot = entry.read(Slot)
            if slot.desired == "run":
                self._known[slot.id] = _attempt(slot)
        needed = sorted({attempt.specification for attempt in self._known.values()})
        found = self._store.get_many(documents.SPECIFICATIONS, needed)
        specifications = {digest: one.read(Specification) for digest, one in found.items()}
        self._specifications = set(specifications)
        # What has lost its specification counts as not held: the root sees that, and sends both again.
        self._known = {id: attempt for id, attempt in self._known.items() if attempt.specification in specifications}
        return Held(attempts=dict(self._known), specifications=specifications, **stored.document)

    def save(self, held: Held, removed: frozenset[str]) -> None:
        operations: list[Operation] = [
            Put(
                documents.META,
                _ASSIGNMENT,
                {
                    "store": held.store,
                    "term": held.term,
                    "tenure": held.tenure,
                    "revision": held.revision,
                    "version": held.version,
                },
            )
        ]
        needed = {attempt.specification for attempt in held.attempts.values()}
        for digest in sorted((needed - self._specifications) & held.specifications.keys()):
            specification = held.specifications[digest]
            operations.append(Put(documents.SPECIFICATIONS, digest, msgspec.to_builtins(specification)))
        changed: list[tuple[Attempt, str]] = []
        for id, attempt in held.attempts.items():
            if self._known.get(id) != attempt:
                operations.append(_put(attempt, "run"))
                changed.append((attempt, "is wanted"))
        gone = self._known.keys() - held.attempts.keys()
        operations += [_put(self._known[id], "stop") for id in sorted(gone)]
        changed += [(self._known[id], "is no longer wanted") for id in sorted(gone)]
        self._store.apply(operations)
        for attempt, what in changed:
            with about(attempt.request):
                log.info("%s.%d %s by the root, as %s", attempt.service, attempt.number, what, attempt.id)
        self._known = dict(held.attempts)
        # No others: what no slot names, housekeeping removes.
        self._specifications = needed & (held.specifications.keys() | self._specifications)


def _attempt(slot: Slot) -> Attempt:
    return Attempt(slot.id, slot.service, slot.number, slot.epoch, slot.specification, slot.request, slot.pin)


def _put(attempt: Attempt, desired: str) -> Put:
    slot = Slot(
        id=attempt.id,
        service=attempt.service,
        number=attempt.number,
        specification=attempt.specification,
        epoch=attempt.epoch,
        request=attempt.request,
        pin=attempt.pin,
    )
    return Put(documents.SLOTS, slot.id, {**msgspec.to_builtins(slot), "desired": desired})
