"""Whether what a child reports of itself can be true. Who reports what cannot is not believed, and gets nothing new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mangrove.model.child import Capacity
from mangrove.model.position import on_earth
from mangrove.model.resources import Resources
from mangrove.model.validation import shown

#: Of any amount: in MiB an exbibyte, and as much as placement counts with.
_MOST = 2**40
#: Nodes behind a cluster: a hundred times the largest fleet that placement was measured with.
_NODES = 10_000_000
#: Milliseconds there and back: three hours. No acknowledgement is waited for that long.
_SLOWEST = 1e7
#: Characters of a label, an add-on or the like: five times what the options of a node take.
_LONGEST = 1000


def nonsense_in(capacity: Capacity) -> str:
    """What of it cannot be true, as `field is value`; empty when all of it can."""
    return next(_nonsense(capacity), "")


def _nonsense(said: Capacity) -> Iterator[str]:
    for key, amount in _amounts(said.allocatable):
        if not 0 <= amount <= _MOST:
            yield f"{key} is {shown(amount)}"
    names = [each.name for each in said.allocatable.counted]
    if len(set(names)) < len(names):
        yield "a resource is counted twice"
    if not 0 <= said.nodes <= _NODES:
        yield f"nodes is {shown(said.nodes)}"
    if said.largest and not said.nodes:
        yield "nodes is 0, and there are rooms on single nodes"
    whole = dict(_amounts(said.allocatable))
    for room in said.largest:
        for key, amount in _amounts(room):
            if amount > max(0, whole.get(key, 0)):
                yield f"{key} of a single node is {shown(amount)}, more than all nodes have"
    if said.position is not None and not on_earth(said.position):
        yield f"position is {said.position.latitude:g},{said.position.longitude:g},{said.position.radius:g}"
    if not 0 <= said.round_trip <= _SLOWEST:
        yield f"round_trip is {shown(said.round_trip)}"
    for field, words in _words(said):
        if any(len(word) > _LONGEST for word in words):
            yield f"{field} has a word of more than {_LONGEST} characters"


def _amounts(resources: Resources) -> Iterator[tuple[str, int]]:
    return ((key.removeprefix("#"), amount) for key, amount in resources.amounts())


def _words(said: Capacity) -> Iterator[tuple[str, Iterable[str]]]:
    yield "labels", (word for pair in said.labels.items() for word in pair)
    yield "labels", said.label_values
    yield "labels", (word for values in said.label_values.values() for word in values if word is not None)
    for field in ("architectures", "operating_systems", "runtimes", "addons", "taints", "vague_labels"):
        yield field, getattr(said, field)
