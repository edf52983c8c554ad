"""Amounts that are reserved. Whole numbers, so that what is reserved and given back sums to exactly zero."""

from __future__ import annotations

import msgspec


class Resources(msgspec.Struct, frozen=True, omit_defaults=True):
    """An amount of everything that placement counts.

    cpu: thousandths of a core; memory, disk, vram: MiB; gpus: devices.
    """

    cpu: int = 0
    memory: int = 0
    disk: int = 0
    gpus: int = 0
    vram: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu + other.cpu,
            self.memory + other.memory,
            self.disk + other.disk,
            self.gpus + other.gpus,
            self.vram + other.vram,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu - other.cpu,
            self.memory - other.memory,
            self.disk - other.disk,
            self.gpus - other.gpus,
            self.vram - other.vram,
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
        )


NOTHING = Resources()
