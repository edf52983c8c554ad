"""Mirroring a keyed set: `Source` on the side that owns it, `Replica` on the other.

Both know the set's digest (see base/digest.py). A step says from which digest to which it leads, and is applied only
when it fits exactly; whoever sees that the other's digest is not the wanted one sends the step that leads there, or the
complete set when the other's state is not remembered. Loss, repetition and disorder therefore heal by themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

from mangrove.base.digest import EMPTY, hex_of
from mangrove.link.messages import Mark, Sync
from mangrove.model.specification import Specification

_encoder = msgspec.json.Encoder(order="deterministic")
_specification = msgspec.json.Decoder(Specification)

#: Steps remembered by a source, to bring a replica up to date without the complete set. Enough for what happens while
#: a child is away for a short time; beyond it the complete set is cheaper anyway.
_HISTORY = 256

#: Bytes of entries in one message: half of the largest payload, which leaves room for specifications and envelope.
_PART_BYTES = 96 * 1024


def entry_hash(id: str, raw: bytes) -> int:
    """128-bit hash of an entry under its id."""
    hasher = blake2b(id.encode(), digest_size=16)
    hasher.update(b"\0")
    hasher.update(raw)
    return int.from_bytes(hasher.digest(), "big")


class Source:
    """A keyed set that the other side shall mirror.

    specification_of: names the specification that an entry needs, and `specifications` gives its JSON by digest.
    """

    def __init__(
        self,
        channel: str,
        *,
        specification_of: Callable[[msgspec.Struct], str] | None = None,
        specification: Callable[[str], bytes] | None = None,
    ) -> None:
        self.channel = channel
        self.version = 0
        self._entries: dict[str, bytes] = {}
        self._needs: dict[str, str] = {}
        self._sum = 0
        self._specification_of = specification_of
        self._specification = specification
        self._steps: deque[tuple[str, frozenset[str]]] = deque(maxlen=_HISTORY)  # (digest before, ids changed)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: str) -> bool:
        return id in self._entries

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(self._entries)

    @property
    def digest(self) -> str:
        return hex_of(self._sum)

    @property
    def mark(self) -> Mark:
        return Mark(self.version, self.digest)

    def raise_version(self, version: int) -> None:
        """Go on counting above `version`, which the other side has seen from an earlier life of this side."""
        self.version = max(self.version, version)

    def change(self, put: Mapping[str, msgspec.Struct], remove: Iterable[str] = ()) -> bool:
        """Make these changes as one step; False when nothing differs from what is there."""
        before = self.digest
        touched: set[str] = set()
        for id in remove:
            raw = self._entries.pop(id, None)
            if raw is not None:
                self._sum -= entry_hash(id, raw)
                self._needs.pop(id, None)
                touched.add(id)
        for id, entry in put.items():
            raw = _encoder.encode(entry)
            old = self._entries.get(id)
            if raw == old:
                continue
            if old is not None:
                self._sum -= entry_hash(id, old)
            self._entries[id] = raw
            self._sum += entry_hash(id, raw)
            if self._specification_of is not None:
                self._needs[id] = self._specification_of(entry)
            touched.add(id)
        if not touched:
            return False
        self.version += 1
        self._steps.append((before, frozenset(touched)))
        return True

    def steps_from(self, digest: str) -> list[Sync]:
        """Messages that lead a replica from `digest` to the present: one delta if that state is remembered and the
        delta fits into one message, else the complete set."""
        if digest == self.digest:
            return [Sync(self.channel, self.mark, base=digest)]
        touched: set[str] = set()
        for before, ids in reversed(self._steps):
            touched |= ids
            if before == digest:
                delta = self._delta(digest, touched)
                return [delta] if delta is not None else self.complete()
        return self.complete()

    def _delta(self, base: str, touched: Iterable[str]) -> Sync | None:
        put = {id: msgspec.Raw(self._entries[id]) for id in sorted(touched) if id in self._entries}
        remove = tuple(sorted(id for id in touched if id not in self._entries))
        specifications = self._specifications(put)
        size = sum(len(raw) for raw in put.values()) + sum(len(raw) for raw in specifications.values())
        if size + 40 * (len(remove) + len(put)) > 2 * _PART_BYTES:
            return None
        return Sync(self.channel, self.mark, base=base, put=put, remove=remove, specifications=specifications)

    def complete(self) -> list[Sync]:
        """The whole set in order, in as many parts as needed."""
        groups: list[list[str]] = [[]]
        size = 0
        known: set[str] = set()
        for id, raw in sorted(self._entries.items()):
            need = self._needs.get(id)
            cost = len(raw) + 40
            if need is not None and need not in known and self._specification is not None:
                cost += len(self._specification(need))
            if size + cost > _PART_BYTES and groups[-1]:
                groups.append([])
                size, known = 0, set()
            groups[-1].append(id)
            size += cost
            if need is not None:
                known.add(need)
        parts = []
        for number, ids in enumerate(groups):
            put = {id: msgspec.Raw(self._entries[id]) for id in ids}
            parts.append(
                Sync(
                    self.channel,
                    self.mark,
                    part=number,
                    parts=len(groups),
                    put=put,
                    specifications=self._specifications(put),
                )
            )
        return parts

    def _specifications(self, ids: Iterable[str]) -> dict[str, msgspec.Raw]:
        if self._specification is None:
            return {}
        return {digest: msgspec.Raw(self._specification(digest)) for digest in {self._needs[id] for id in ids}}


EntryT = TypeVar("EntryT", bound=msgspec.Struct)


class Applied(msgspec.Struct, frozen=True):
    """What a step changed in a replica: ids that are new or different, and ids that are no longer there."""

    changed: frozenset[str]
    removed: frozenset[str]
    complete: bool


class Replica(Generic[EntryT]):
    """The mirror of a Source. `specifications` holds what entries name, as JSON by digest."""

    def __init__(
        self, channel: str, type_: type[EntryT], *, specification_of: Callable[[EntryT], str] | None = None
    ) -> None:
        self.channel = channel
        self.version = 0
        self.entries: dict[str, EntryT] = {}
        self.specifications: dict[str, bytes] = {}
        self._raw: dict[str, bytes] = {}
        self._sum = 0
        self._decoder = msgspec.json.Decoder(type_)
        self._specification_of = specification_of
        self._parts: dict[int, Sync] = {}
        self._collecting: tuple[Mark, int] | None = None

    @property
    def digest(self) -> str:
        return hex_of(self._sum)

    @property
    def mark(self) -> Mark:
        return Mark(self.version, self.digest)

    def load(self, version: int, entries: Mapping[str, EntryT], specifications: Mapping[str, bytes]) -> None:
        """Begin with what was kept on disk."""
        self.version = version
        self._install({id: _encoder.encode(entry) for id, entry in entries.items()}, dict(entries))
        self.specifications = dict(specifications)

    def receive(self, step: Sync) -> Applied | None:
        """Apply a step if it fits; None when it does not, or when parts are still missing.

        Raises msgspec.DecodeError for entries that are not what they should be; nothing has changed then.
        """
        if step.base is None:
            return self._complete(step)
        if step.base != self.digest:
            return None
        entries, raw, total = self._changed(step)
        if hex_of(total) != step.to.digest:
            return None
        specifications = self._with_specifications(entries.values(), step.specifications)
        if specifications is None:
            return None
        removed = frozenset(id for id in step.remove if id in self.entries)
        for id in removed:
            del self.entries[id], self._raw[id]
        self.entries.update(entries)
        self._raw.update(raw)
        self._sum = total
        self.version = step.to.version
        self.specifications.update(specifications)
        self._forget_specifications()
        return Applied(frozenset(entries), removed, complete=False)

    def _changed(self, step: Sync) -> tuple[dict[str, EntryT], dict[str, bytes], int]:
        total = self._sum
        for id in step.remove:
            if id in self._raw:
                total -= entry_hash(id, self._raw[id])
        entries, raw = {}, {}
        for id, value in step.put.items():
            raw[id] = bytes(value)
            entries[id] = self._decoder.decode(raw[id])
            if id in self._raw:
                total -= entry_hash(id, self._raw[id])
            total += entry_hash(id, raw[id])
        return entries, raw, total

    def _complete(self, step: Sync) -> Applied | None:
        if self._collecting != (step.to, step.parts):
            self._parts.clear()
            self._collecting = (step.to, step.parts)
        if not 0 <= step.part < step.parts:
            return None
        self._parts[step.part] = step
        if len(self._parts) < step.parts:
            return None
        parts, self._collecting = list(self._parts.values()), None
        self._parts = {}
        raw = {id: bytes(value) for part in parts for id, value in part.put.items()}
        if hex_of(sum(entry_hash(id, value) for id, value in raw.items())) != step.to.digest:
            return None
        entries = {id: self._decoder.decode(value) for id, value in raw.items()}
        offered = {digest: value for part in parts for digest, value in part.specifications.items()}
        specifications = self._with_specifications(entries.values(), offered)
        if specifications is None:
            return None
        changed = frozenset(id for id, value in raw.items() if self._raw.get(id) != value)
        removed = frozenset(self._raw.keys() - raw.keys())
        self._install(raw, entries)
        self.version = step.to.version
        self.specifications.update(specifications)
        self._forget_specifications()
        return Applied(changed, removed, complete=True)

    def _install(self, raw: dict[str, bytes], entries: dict[str, EntryT]) -> None:
        self._raw = raw
        self.entries = entries
        self._sum = sum(entry_hash(id, value) for id, value in raw.items())

    def _with_specifications(
        self, entries: Iterable[EntryT], offered: Mapping[str, msgspec.Raw]
    ) -> dict[str, bytes] | None:
        """The specifications that `entries` need and the message brings; None when one is not to be had.

        Raises msgspec.DecodeError for one that makes no sense, so that nobody stumbles over it later.
        """
        if self._specification_of is None:
            return {}
        needed = {self._specification_of(entry) for entry in entries}
        if any(digest not in offered and digest not in self.specifications for digest in needed):
            return None
        brought = {digest: bytes(offered[digest]) for digest in needed if digest in offered}
        for raw in brought.values():
            _specification.decode(raw)
        return brought

    def _forget_specifications(self) -> None:
        if self._specification_of is not None and len(self.specifications) > 2 * len(self.entries) + 16:
            needed = {self._specification_of(entry) for entry in self.entries.values()}
            self.specifications = {d: raw for d, raw in self.specifications.items() if d in needed}


__all__ = ["EMPTY", "Applied", "Replica", "Source", "entry_hash"]
