"""Amounts that are reserved. Whole numbers, so that what is reserved and given back sums to exactly zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec


class Counted(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """So many of something that a node's operator has named and counted: accelerators, cameras, Mbit/s."""

    name: str
    count: int


class Resources(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An amount of everything that placement counts.

    cpu: thousandths of a core; memory, disk, vram: MiB; gpus: devices; counted: what else nodes have, by name, each
    once and in the order of names.
    """

    cpu: int = 0
    memory: int = 0
    disk: int = 0
    gpus: int = 0
    vram: int = 0
    counted: tuple[Counted, ...] = ()

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu + other.cpu,
            self.memory + other.memory,
            self.disk + other.disk,
            self.gpus + other.gpus,
            self.vram + other.vram,
            _sum(self.counted, other.counted, 1) if self.counted or other.counted else (),
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu - other.cpu,
            self.memory - other.memory,
            self.disk - other.disk,
            self.gpus - other.gpus,
            self.vram - other.vram,
            _sum(self.counted, other.counted, -1) if self.counted or other.counted else (),
        )

    def at_most(self, other: Resources) -> Resources:
        """Of each amount the lesser one."""
        return self._each(min, other)

    def at_least(self, other: Resources) -> Resources:
        """Of each amount the greater one."""
        return self._each(max, other)

    def _each(self, choose: Callable[[int, int], int], other: Resources) -> Resources:
        names = {one.name for one in (*self.counted, *other.counted)}
        return Resources(
            choose(self.cpu, other.cpu),
            choose(self.memory, other.memory),
            choose(self.disk, other.disk),
            choose(self.gpus, other.gpus),
            choose(self.vram, other.vram),
            counted({name: choose(self.count(name), other.count(name)) for name in names}),
        )

    def fits_in(self, room: Resources) -> bool:
        """Whether each amount asked for here is there in `room`; what is not asked for does not count."""
        return all(
            asked <= 0 or asked <= there
            for asked, there in (
                (self.cpu, room.cpu),
                (self.memory, room.memory),
                (self.disk, room.disk),
                (self.gpus, room.gpus),
                (self.vram, room.vram),
            )
        ) and all(one.count <= 0 or one.count <= room.count(one.name) for one in self.counted)

    def count(self, name: str) -> int:
        """How many of a counted thing."""
        return next((one.count for one in self.counted if one.name == name), 0)

    def amounts(self) -> Iterator[tuple[str, int]]:
        """Every amount that is not zero by its key: the field, or `#name` for a counted thing."""
        for field in FIELDS:
            amount = getattr(self, field)
            if amount:
                yield field, amount
        for one in self.counted:
            if one.count:
                yield f"#{one.name}", one.count


#: The amounts that every node has, by field.
FIELDS = ("cpu", "memory", "disk", "gpus", "vram")

NOTHING = Resources()


def counted(amounts: dict[str, int]) -> tuple[Counted, ...]:
    """As `Resources.counted` wants it: in the order of names, without zeros."""
    return tuple(Counted(name, count) for name, count in sorted(amounts.items()) if count)


def _sum(one: tuple[Counted, ...], other: tuple[Counted, ...], sign: int) -> tuple[Counted, ...]:
    amounts = {each.name: each.count for each in one}
    for each in other:
        amounts[each.name] = amounts.get(each.name, 0) + sign * each.count
    return counted(amounts)
